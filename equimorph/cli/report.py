"""Make the page of a run folder anew."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser

from equimorph import reports


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    parser.add_argument("run", type=str, help="the run folder")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")


def run(options: Any) -> int:
    """Write RUN/report.html."""
    print(reports.write(options.run))
    return 0
