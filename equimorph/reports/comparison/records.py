"""The rows of `comparison.csv`, one for each run, written whole and checked as they are read."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import NoReturn

from equimorph.errors import RunFolderError
from equimorph.reports.records import ERROR_RATE
from equimorph.training.metrics import METRICS


@dataclass(frozen=True)
class Row:
    """One run of a comparison: what was asked for, what was found, and what it cost.

    Attributes:
        data: The data's name.
        group: The group that the network starts from.
        network: The network in a few words, for instance "8 convolutions, fields 4,8, kernel 5".
        strategy: The method, for instance "evolutionary" or "static:C4".
        seed: What all of the run's random numbers came from; runs of one seed are compared with each other.
        split: Which division of the data into training, validation and test it saw.
        architecture: What was found, for instance "D4 ×3, C4 ×6".
        epochs: What the network that was chosen trained for.
        parameters: Of the network that was chosen.
        samples: Training samples that the whole search processed.
        seconds: Wall time of the whole search.
        validation_error: Of the metric, shares as fractions; None when the run diverged.
        test_error: The same; None when the run diverged.
        test_samples: How many images the test error was measured on.
        metric: What both errors are: shares of samples, or the name of another metric.
    """

    data: str
    group: str
    network: str
    strategy: str
    seed: int
    split: int
    architecture: str
    epochs: float
    parameters: int
    samples: int
    seconds: float
    validation_error: float | None
    test_error: float | None
    test_samples: int
    metric: str = ERROR_RATE


COLUMNS = tuple(field.name for field in fields(Row))
_OPTIONAL = ("metric",)  # which older files do not have

# What all rows of one comparison have in common, and what all rows of one seed have.
_COMMON = ("data", "group", "network", "metric")
_COMMON_TO_SEED = ("split",)


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write rows as a csv file with a line of column names; a reader never sees half of it.

    Args:
        path: The file, which is replaced.
        rows: In the order in which they shall be told.
    Raises:
        RunFolderError: Their errors are of different metrics; the file stays as it was.
    """
    path, rows = Path(path), tuple(rows)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if len(metrics) > 1:
        first, second = (json.dumps(metric, ensure_ascii=False)[:80] for metric in metrics[:2])
        raise RunFolderError(
            f"compare: {path}: rows of the metrics {first} and {second} cannot be compared; give each its own file."
        )
    # Written to a temporary name first, so that a file of the final name is whole.
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([_as_text(value) for value in astuple(row)] for row in rows)
    temporary.replace(path)


def read_rows(path: str | Path) -> tuple[Row, ...]:
    """Read what `write_rows` wrote; columns may be in any order, and without `metric` errors are shares of samples.

    Raises:
        RunFolderError: There is no such file, a column is missing or unknown, a value does not fit its column, a seed
            has two rows of one strategy, or rows do not belong to one comparison.
    """
    path = Path(path)
    rows: dict[tuple[str, int], tuple[Row, int]] = {}
    first_of_seed: dict[int, tuple[Row, int]] = {}
    for number, values in _read_lines(path):
        line = _Line(values, f"{path}, line {number}")
        row = _row(line)
        if (row.strategy, row.seed) in rows:
            earlier = rows[row.strategy, row.seed][1]
            line.refuse(f"{json.dumps(row.strategy)} has seed {row.seed} already, in line {earlier}")
        rows[row.strategy, row.seed] = (row, number)
        _check_equal(line, row, *next(iter(rows.values())), columns=_COMMON, what="one comparison")
        first = first_of_seed.setdefault(row.seed, (row, number))
        _check_equal(line, row, *first, columns=_COMMON_TO_SEED, what="one seed")
    return tuple(row for row, _ in rows.values())


class _Line:
    """The fields of one line, each taken with its type checked; `where` is told when one does not fit."""

    def __init__(self, values: Mapping[str, str], where: str) -> None:
        self.values = values
        self.where = where

    def text(self, column: str) -> str:
        value = self.values[column]
        return value if value.strip() else self._misfit(column, "a text")

    def whole(self, column: str, *, least: int | None = 0) -> int:
        try:
            value = int(self.values[column])
        except ValueError:
            self._misfit(column, "a whole number")
        if least is not None and value < least:
            self._misfit(column, f"at least {least}")
        return value

    def real(self, column: str, *, least: float = 0, most: float = math.inf) -> float:
        try:
            value = float(self.values[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._misfit(column, "a finite number")
        if not least <= value <= most:
            self._misfit(column, "at least 0" if most == math.inf else f"from 0 to {most:g}")
        return value

    def error_or_none(self, column: str, *, metric: str) -> float | None:
        # What the package measures is a fraction; a loss, or a metric of someone's own, need not be.
        least, most = (0, 1) if metric in METRICS else (-math.inf, math.inf)
        return self.real(column, least=least, most=most) if self.values[column].strip() else None

    def refuse(self, reason: str) -> NoReturn:
        raise RunFolderError(f"compare: {self.where}: {reason}.")

    def _misfit(self, column: str, needed: str) -> NoReturn:
        came = json.dumps(self.values[column], ensure_ascii=False)[:80] if self.values[column] else "nothing"
        self.refuse(f'"{column}" must be {needed}, got {came}')


def _row(line: _Line) -> Row:
    metric = line.text("metric") if "metric" in line.values else ERROR_RATE
    return Row(
        data=line.text("data"),
        group=line.text("group"),
        network=line.text("network"),
        strategy=line.text("strategy"),
        seed=line.whole("seed", least=None),
        split=line.whole("split", least=None),
        architecture=line.values["architecture"],
        epochs=line.real("epochs"),
        parameters=line.whole("parameters"),
        samples=line.whole("samples"),
        seconds=line.real("seconds"),
        validation_error=line.error_or_none("validation_error", metric=metric),
        test_error=line.error_or_none("test_error", metric=metric),
        test_samples=line.whole("test_samples"),
        metric=metric,
    )


def _check_equal(line: _Line, row: Row, other: Row, number: int, *, columns: Sequence[str], what: str) -> None:
    for column in columns:
        came, known = getattr(row, column), getattr(other, column)
        if came != known:
            told, before = (json.dumps(value, ensure_ascii=False)[:80] for value in (came, known))
            line.refuse(f'"{column}" is {told}, but {before} in line {number}; all rows of {what} must have the same')


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The values of each line by column, with the number of the line that they end in."""
    try:
        # A spreadsheet may have put a byte order mark in front.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            _check_columns(columns, path)
            for values in reader:
                if len(values) == len(columns):
                    yield reader.line_num, dict(zip(columns, values, strict=True))
                elif values:
                    raise RunFolderError(
                        f"compare: {path}, line {reader.line_num}: {len(values)} values for {len(columns)} columns."
                    )
    except FileNotFoundError as error:
        raise RunFolderError(f"compare: no file {path}; give the folder that `equimorph compare` wrote.") from error
    except csv.Error as error:
        raise RunFolderError(f"compare: {path}, line {reader.line_num}: not csv ({error}).") from error
    except UnicodeDecodeError as error:
        raise RunFolderError(f"compare: {path} cannot be read: {error}.") from error


def _check_columns(columns: Sequence[str], path: Path) -> None:
    missing = [name for name in COLUMNS if name not in (*columns, *_OPTIONAL)]
    unknown = [name for name in columns if name not in COLUMNS]
    twice = [name for name in COLUMNS if columns.count(name) > 1]
    for kind, names in (("lacks", missing), ("does not know", unknown), ("repeats", twice)):
        if names:
            listed = ", ".join(json.dumps(name, ensure_ascii=False)[:80] for name in names)
            raise RunFolderError(f"compare: {path}, line 1: {kind} {listed}; the columns are {', '.join(COLUMNS)}.")


def _as_text(value: str | float | None) -> str:
    if isinstance(value, float):
        return repr(float(value))  # a subclass, as NumPy has, would spell its own name
    return "" if value is None else str(value)
