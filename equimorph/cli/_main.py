"""The command as a whole: subcommands, and one clear line for whatever goes wrong."""

from __future__ import annotations

import sys
import traceback
from argparse import ArgumentError
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from equimorph import __version__
from equimorph.cli import report, search
from equimorph.errors import EquimorphError

_SUBCOMMANDS = {"search": search, "report": report}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; that of the process when left out.
    Returns:
        The exit status: 0, or 2 after one line on standard error that says what was wrong.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    parser = _parser()
    try:
        if not given:
            parser.print_help()
            return 0
        options = parser.parse_args(given)
        chosen = options.subcommand
        status: int = _SUBCOMMANDS[chosen].run(options[chosen])
        return status
    except (ArgumentError, EquimorphError) as error:
        if debug:
            traceback.print_exc()
        print(f"equimorph: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("equimorph: stopped.", file=sys.stderr)
        return 130


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="equimorph",
        description="Finds how much symmetry each layer of a neural network should have, while it trains.",
        version=__version__,
        exit_on_error=False,
    )
    subcommands = parser.add_subcommands(dest="subcommand")
    for name, module in _SUBCOMMANDS.items():
        subparser = ArgumentParser(description=module.__doc__, exit_on_error=False)
        module.add_arguments(subparser)
        subcommands.add_subcommand(name, subparser, help=(module.__doc__ or "").splitlines()[0])
    return parser


def _one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, ArgumentError):
        text = error.message
    return " ".join(text.split())
