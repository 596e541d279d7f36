"""The command called in-process, and a small run of it to be looked at."""

import contextlib
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from equimorph.cli import main

SMALL = {
    "data": "digits",
    "subgroups": "C1,D4",
    "fields": "1",
    "depth": "2",
    "kernel-size": "3",
    "head-units": "4",
    "epochs": "2",
    "evolutionary-start": "group",
    "selection": "pareto",
    "generations": "1",
    "population": "5",
    "children": "null",
    "batch-size": "250",
}


@dataclass(frozen=True)
class Called:
    """What a call of the command came to."""

    status: int
    out: str
    err: str

    @property
    def complaint(self):
        """The one line on standard error that tells what was wrong, when that is all there is."""
        assert self.status == 2 and self.out == ""
        assert len(self.err.splitlines()) == 1 and self.err.startswith("equimorph: ")
        return self.err.removeprefix("equimorph: ").rstrip("\n")


def call(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # --help and --version
            status = stopped.code
    return Called(status, out.getvalue(), err.getvalue())


def search(folder, **changes):
    """`equimorph search --out FOLDER` with small settings, some of them changed, left out by None, set by True."""
    options = SMALL | {name.replace("_", "-"): value for name, value in changes.items()}
    words = [
        [f"--{name}"] if value is True else [f"--{name}", value] for name, value in options.items() if value is not None
    ]
    return call("search", *itertools.chain(*words), "--out", folder)


@dataclass(frozen=True)
class Run:
    """A finished run folder."""

    path: Path
    called: Called

    @property
    def history(self):
        return [json.loads(line) for line in (self.path / "history.jsonl").read_text().splitlines()]


def finished_run(path):
    """A search on digits with one generation."""
    called = search(path)
    assert called.status == 0, called.err
    return Run(path, called)
