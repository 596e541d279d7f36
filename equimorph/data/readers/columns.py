"""The columns of a table, CSV or Parquet: read as texts, and found by their usual names."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from equimorph.data.problems import Findings
from equimorph.errors import DataError

DELIMITED = frozenset((".csv", ".tsv"))
PARQUET = frozenset((".parquet", ".pq"))

# In each tuple the names of one set mean the same; a later set counts when there is none of an earlier one.
PATHS = (
    frozenset(
        ("path", "filepath", "file_path", "image_path", "img_path", "file", "filename", "file_name", "image_file")
    ),
    frozenset(("image", "img", "image_name", "image_id", "imageid", "img_id")),
    frozenset(("id", "name")),
)
LABELS = (frozenset(("label", "labels", "class", "class_name", "target", "y", "diagnosis", "dx", "category")),)
_GROUPED_BY = ("patient", "subject", "group", "object", "lesion")
GROUPS = (frozenset(name + ending for name in _GROUPED_BY for ending in ("", "_id", "id")),)
PARTS = (frozenset(("split", "part", "partition", "fold", "set", "subset")),)


class Table(ABC):
    """A table with named columns.

    Attributes:
        path: Where it lies.
        names: Of the columns, in order.
        places: What each row is called, as a spreadsheet counts: the names of the columns are row 1.
    """

    path: Path
    names: tuple[str, ...]
    places: Sequence[str]

    @abstractmethod
    def column(self, name: str) -> list[str]:
        """The texts of a column, without space around them; "" where there is nothing."""

    def find(self, given: str | None, option: str, usual: Iterable[frozenset[str]], used: Iterable[str]) -> str | None:
        """The name of the column that an option names, or else of the one with a usual name, large letters or small.

        Args:
            given: The option's value.
            option: What it is called on the command line.
            usual: Sets of names, the likelier ones first.
            used: Columns that serve for something else.
        Raises:
            DataError: The table has no such column, or several have a usual name.
        """
        if given is not None:
            fitting = [name for name in self.names if name == given] or self._called({given.lower()})
            if not fitting:
                raise self.refusal(f'there is no column "{given}"', option)
            return fitting[0]
        for names in usual:
            fitting = [name for name in self._called(names) if name not in set(used)]
            if len(fitting) > 1:
                raise self.refusal(f"{_quoted(fitting)} could each be meant", option)
            if fitting:
                return fitting[0]
        return None

    def refusal(self, reason: str, option: str) -> DataError:
        """The error that a column cannot be told."""
        return DataError(f"data: {self.path}: {reason}; its columns are {_quoted(self.names)}; name one with {option}.")

    def _called(self, names: Iterable[str]) -> list[str]:
        return [name for name in self.names if name.lower() in set(names)]


def read_table(path: Path, findings: Findings) -> Table:
    """Read a table, CSV with any of , ; and tab, or Parquet.

    Args:
        path: The file.
        findings: Rows that have too many or too few fields go there, and are left out.
    Raises:
        DataError: It cannot be read, has no rows, or two columns of one name; or pyarrow is needed.
    """
    table = _Parquet(path) if path.suffix.lower() in PARQUET else _Delimited(path, findings)
    named = [name.lower() for name in table.names if name]
    if len(set(named)) < len(named):
        raise DataError(f"data: {path}: two columns have the same name; its columns are {_quoted(table.names)}.")
    if not table.places and not findings.problems:
        raise DataError(f"data: {path}: there are no rows in it below the names of the columns.")
    return table


class _Delimited(Table):
    def __init__(self, path: Path, findings: Findings) -> None:
        self.path = path
        number = 0
        rows: list[list[str]] = []
        places: list[str] = []
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                delimiter = _delimiter(file.readline())
                file.seek(0)
                for number, fields in enumerate(csv.reader(file, delimiter=delimiter, strict=True), start=1):
                    if number == 1:
                        self.names = tuple(name.strip() for name in fields)
                    elif len(fields) == len(self.names):
                        rows.append(fields)
                        places.append(f"row {number}")
                    elif any(fields):
                        findings.add(f"row {number}", f"a row without exactly {len(self.names)} fields")
        except UnicodeDecodeError:
            raise DataError(f"data: {path} is not in UTF-8; save it as CSV in UTF-8.") from None
        except csv.Error as error:
            raise DataError(f"data: {path} cannot be read after row {number} ({error}); mend that row.") from None
        except OSError as error:
            raise DataError(f"data: {path} cannot be read ({error.strerror}).") from None
        if not number or not any(self.names):
            raise DataError(f"data: {path} is empty, or its first row is; the names of the columns are needed there.")
        self.places = places
        self._rows = rows

    def column(self, name: str) -> list[str]:
        """The texts of a column."""
        place = self.names.index(name)
        return [row[place].strip() for row in self._rows]


class _Parquet(Table):
    def __init__(self, path: Path) -> None:
        try:
            parquet = import_module("pyarrow.parquet")
        except ImportError:
            raise DataError('data: Parquet needs pyarrow; install it: pip install "equimorph[parquet]".') from None
        self.path = path
        try:
            self._file = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:  # what pyarrow raises are subclasses of these
            raise self._damaged(error) from None
        self.names = tuple(self._file.schema_arrow.names)
        self.places = [f"row {number}" for number in range(2, 2 + self._file.metadata.num_rows)]

    def column(self, name: str) -> list[str]:
        """The texts of a column; the others are not read."""
        kind = self._file.schema_arrow.field(name).type
        if kind.num_fields:
            raise DataError(f'data: {self.path}: column "{name}" holds {kind}, and texts or numbers are needed.')
        try:
            return [_text(value) for value in self._file.read(columns=[name]).column(name).to_pylist()]
        except (OSError, ValueError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"data: {self.path} is no Parquet file, or damaged ({type(error).__name__}).")


def _delimiter(line: str) -> str:
    """The one that makes the most fields of the names."""
    return max(",;\t", key=lambda mark: len(next(csv.reader([line], delimiter=mark), [])))


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace").strip()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
