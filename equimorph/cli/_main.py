"""The command as a whole: subcommands, and one clear line for whatever goes wrong."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from typing import TextIO

from jsonargparse import ArgumentParser, Namespace

from equimorph import __version__
from equimorph.cli import audit, compare, data, export, predict, report, search
from equimorph.data import TASKS
from equimorph.data.problems import DataProblemsError
from equimorph.errors import EquimorphError

_SUBCOMMANDS = {
    "search": search,
    "compare": compare,
    "report": report,
    "export": export,
    "predict": predict,
    "audit": audit,
    "data": data,
}


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
        options = _parsed(parser, given)
        chosen = options.subcommand
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status: int = _SUBCOMMANDS[chosen].run(options[chosen])
        return status
    except (ArgumentError, EquimorphError, UnicodeDecodeError) as error:
        if debug:
            traceback.print_exc()
        print(f"equimorph: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("equimorph: stopped.", file=sys.stderr)
        return 130


def _parsed(parser: ArgumentParser, given: list[str]) -> Namespace:
    """The options; those that suit a named data set are the defaults where the user gives none."""
    options = parser.parse_args(given)
    where, chosen, name = options.subcommand, options[options.subcommand], "data"
    if where == "data":
        where, chosen, name = f"data.{chosen.action}", chosen[chosen.action], "name"
    task = TASKS.get(chosen.get(name) or "")
    suited = {} if task is None else {key: value for key, value in task.settings.items() if key in chosen}
    if not suited:
        return options
    parser.set_defaults({f"{where}.{key}": value for key, value in suited.items()})
    return parser.parse_args(given)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="equimorph",
        description="Finds how much symmetry each layer of a neural network should have, while it trains.",
        version=__version__,
        exit_on_error=False,
        allow_abbrev=False,  # or else --seed would be taken for the --seeds of compare
    )
    subcommands = parser.add_subcommands(dest="subcommand")
    for name, module in _SUBCOMMANDS.items():
        subparser = ArgumentParser(description=module.__doc__, exit_on_error=False)
        subcommands.add_subcommand(name, subparser, help=(module.__doc__ or "").splitlines()[0])
        module.add_arguments(subparser)  # after it has its place: it may have subcommands of its own
    return parser


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning as one line, without where in the code it comes from."""
    print(f"equimorph: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "the --config file is not text in UTF-8."
    if isinstance(error, ArgumentError):
        return _in_options(" ".join(error.message.split()))
    if isinstance(error, DataProblemsError):
        return str(error)  # one line for each problem
    return " ".join(str(error).split())


def _in_options(message: str) -> str:
    """What the parser says of its keys and types, said of the options that a person typed."""
    found = re.fullmatch(r'Parser key "(?:\w+\.)?(\w+)": (.*?)\.? (?:Got|Given) value: (.*)', message)
    if found is None:
        keys = r"\b(?:search|compare|report|export|predict|audit|data\.(?:list|show|audit))\.(\w+)"
        return re.sub(keys, lambda key: _option(key[1]), message)
    key, expected, value = found.groups()
    choices = re.search(r"Literal\[(.*?)\]", expected)
    kinds = {"<class 'int'>": "a whole number", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}
    named = [kind for name, kind in kinds.items() if name in expected]
    wanted = f"one of {choices[1]}".replace("'", "") if choices else (named or ["text"])[0]
    return f'{_option(key)} is "{value}"; it must be {wanted}.'


def _option(key: str) -> str:
    return {"run": "RUN", "name": "NAME", "files": "IMAGES"}.get(key, f"--{key.replace('_', '-')}")
