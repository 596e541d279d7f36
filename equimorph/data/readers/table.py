"""A table, CSV or Parquet, with a column of paths and one of labels."""

from __future__ import annotations

from pathlib import Path

from equimorph.data.decoding import SUFFIXES
from equimorph.data.problems import Findings, SampleError
from equimorph.data.readers._base import Listing, Reader, ReadOptions, part_named, path_of
from equimorph.data.readers.columns import DELIMITED, GROUPS, LABELS, PARQUET, PARTS, PATHS, Table, read_table
from equimorph.data.readers.file_index import FileIndex
from equimorph.data.readers.rows import Rows, list_rows
from equimorph.errors import DataError

_ROWS_TRIED = 20  # to see whether a column holds paths


class TableReader(Reader):
    """`labels.csv` with such columns as path, label, and perhaps patient and split."""

    @property
    def form(self) -> str:
        """What it reads."""
        return "a table (.csv, .tsv, .parquet) with a column of paths and one of labels"

    def recognises(self, given: str) -> bool:
        """Whether it is a file with the suffix of a table."""
        path = path_of(given)
        return path.suffix.lower() in DELIMITED | PARQUET and path.is_file()

    def read(self, given: str, options: ReadOptions) -> Listing:
        """List the files that the rows name.

        Raises:
            DataError: The table cannot be read, or which columns are meant cannot be told.
        """
        path = path_of(given)
        findings = Findings()
        table = read_table(path, findings)
        index = FileIndex(images_folder(options, path.parent), deep=options.images is not None)
        files, labels = _files_and_labels(table, options, index)
        groups = table.find(options.group_column, "--group-column", GROUPS, (files, labels))
        parts = table.find(options.split_column, "--split-column", PARTS, (files, labels, groups or ""))
        values = table.column(labels)
        rows = Rows(
            places=table.places,
            files=table.column(files),
            labels=values,
            groups=table.column(groups) if groups is not None else None,
            parts=_parts(table, parts, is_given=options.split_column is not None),
        )
        return list_rows(
            path.stem,
            rows,
            index,
            options,
            findings,
            classes=_by_size(values),
            count_unnamed=options.images is not None,
        )


def images_folder(options: ReadOptions, otherwise: Path) -> Path:
    """The folder that relative paths begin in.

    Raises:
        DataError: There is no such folder.
    """
    folder = path_of(options.images) if options.images is not None else otherwise
    if not folder.is_dir():
        raise DataError(f"data: there is no folder {folder}; name the one with the images with --images.")
    return folder


def _files_and_labels(table: Table, options: ReadOptions, index: FileIndex) -> tuple[str, str]:
    """The columns of paths and of labels; of two columns without usual names the first and the second."""
    files = table.find(options.path_column, "--path-column", PATHS, (options.label_column or "",))
    labels = table.find(options.label_column, "--label-column", LABELS, (files or "",))
    if len(table.names) == 2 and (files is None or labels is None):
        first = next(name for name in table.names if name != labels)
        second = next(name for name in table.names if name != (files or first))
        if files is not None or _holds_files(table, first, index):
            files, labels = files or first, labels or second
    if files is None or labels is None:
        if any(_is_sample(name, index) for name in table.names):
            raise DataError(
                f"data: {table.path} begins with a file instead of the names of its columns; put a first line such as "
                "path,label before it."
            )
        missing, option = ("paths", "--path-column") if files is None else ("labels", "--label-column")
        raise table.refusal(f"no column is known to hold the {missing}", option)
    return files, labels


def _holds_files(table: Table, name: str, index: FileIndex) -> bool:
    """Whether a column names files, and its own name is none."""
    return not _is_sample(name, index) and any(_is_file(text, index) for text in table.column(name)[:_ROWS_TRIED])


def _is_sample(name: str, index: FileIndex) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and _is_file(name, index)


def _is_file(text: str, index: FileIndex) -> bool:
    try:
        index.find(text)
    except SampleError:
        return False
    return True


def _parts(table: Table, name: str | None, *, is_given: bool) -> list[str] | None:
    """The values of the column of parts; one found by its name must name some part, since a "set" may be anything."""
    values = table.column(name) if name is not None else []
    return values if is_given or any(part_named(value) for value in set(values)) else None


def _by_size(labels: list[str]) -> tuple[str, ...] | None:
    """The classes by size where all are whole numbers; None where names are to be sorted as texts."""
    names = {label for label in labels if label}
    if all(label.isascii() and label.removeprefix("-").isdigit() for label in names):
        return tuple(sorted(names, key=lambda label: (int(label), label)))
    return None
