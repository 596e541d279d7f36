"""The command `equimorph`. One file a subcommand: parse, call the library, print."""

from equimorph.cli._main import main

__all__ = ["main"]
