"""ISIC 2019 as it is published: a table with one column of zeros and ones for each diagnosis, beside a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from equimorph.data.problems import Findings, SampleError
from equimorph.data.readers._base import Listing, Reader, ReadOptions, path_of
from equimorph.data.readers.columns import DELIMITED, GROUPS, LABELS, PARTS, Table, read_table
from equimorph.data.readers.file_index import FileIndex
from equimorph.data.readers.rows import Rows, list_rows
from equimorph.data.readers.table import images_folder
from equimorph.errors import DataError

_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
_INPUT = "ISIC_2019_Training_Input"
_ENDING = "_GroundTruth"  # of a table's name, where that of its metadata has another
_PREFIX = "isic:"
_IMAGE = "image"
_ROWS_TRIED = 100  # to see whether columns are one-hot


class IsicReader(Reader):
    """The folder that holds `ISIC_2019_Training_GroundTruth.csv`, or any table of an image and one-hot columns."""

    @property
    def form(self) -> str:
        """What it reads."""
        return "isic:FOLDER with the files of ISIC 2019, or a .csv file with a column image and one-hot columns"

    def recognises(self, given: str) -> bool:
        """Whether it begins with `isic:`, is a folder with the table in it, or a table with one-hot columns."""
        path = path_of(given)
        if given.startswith(_PREFIX) or (path / _TRUTH).is_file():
            return True
        if path.suffix.lower() not in DELIMITED or not path.is_file():
            return False
        try:
            return _is_one_hot(read_table(path, Findings()))
        except DataError:
            return False  # whoever reads tables will tell

    def read(self, given: str, options: ReadOptions) -> Listing:
        """List the images; those of one lesion, where the metadata tell, are a group.

        Raises:
            DataError: The table is missing, or has no such columns.
        """
        path = path_of(given.removeprefix(_PREFIX))
        truth = path if path.is_file() else path / _TRUTH
        if not truth.is_file():
            raise DataError(
                f"data: there is no {_TRUTH} in {path}; it can be had from https://challenge.isic-archive.com/data/#2019."
            )
        findings = Findings()
        table = read_table(truth, findings)
        if _image_column(table) is None or len(table.names) < 3:
            raise DataError(f"data: {truth}: a column {_IMAGE} and one for each class are needed.")
        beside = truth.parent / _INPUT
        index = FileIndex(images_folder(options, beside if beside.is_dir() else truth.parent), deep=True)
        classes = _classes(table)
        files = table.column(_image_column(table) or "")
        rows = Rows(table.places, files, _labels(table, classes), _groups(truth, files, options))
        name = path.resolve().name if path.is_dir() else truth.stem
        is_own = index.folder != FileIndex(truth.parent).folder
        listing = list_rows(name, rows, index, options, findings, count_unnamed=is_own)
        present = set(listing.labels)
        if len(classes) > len(present):
            findings.left_out["classes without samples"] += len(classes) - len(present)
        return replace(listing, classes=tuple(name for name in classes if name in present))


def _image_column(table: Table) -> str | None:
    return next((name for name in table.names if name.lower() == _IMAGE), None)


def _classes(table: Table) -> tuple[str, ...]:
    return tuple(name for name in table.names if name and name.lower() != _IMAGE)


def _is_one_hot(table: Table) -> bool:
    classes = _classes(table)
    others = {name for names in (*LABELS, *GROUPS, *PARTS) for name in names}
    if _image_column(table) is None or len(classes) < 2 or others & {name.lower() for name in classes}:
        return False
    columns = [table.column(name)[:_ROWS_TRIED] for name in classes]
    tried = [_label(row, classes) for row in zip(*columns, strict=True)]
    return sum(isinstance(label, str) for label in tried) > len(tried) / 2


def _labels(table: Table, classes: tuple[str, ...]) -> list[str | SampleError]:
    return [_label(row, classes) for row in zip(*map(table.column, classes), strict=True)]


def _label(row: tuple[str, ...], classes: tuple[str, ...]) -> str | SampleError:
    """The class whose field is 1 where all others are 0."""
    try:
        values = [float(field) for field in row]
    except ValueError:
        values = []
    if values.count(1) == 1 and values.count(0) == len(values) - 1:
        return classes[values.index(1)]
    return SampleError("its row is not one-hot: exactly one 1 and else 0 are needed")


def _groups(truth: Path, files: list[str], options: ReadOptions) -> list[str] | None:
    """The lesion of each image, "" where it is not known, from the metadata beside the table."""
    path = truth.with_name(truth.name.replace(_ENDING, "_Metadata"))
    if path == truth or not path.is_file():
        if options.group_column is not None:
            raise DataError(
                f"data: there are no metadata beside {truth.name}, so no column {options.group_column} of groups; "
                "leave --group-column out."
            )
        return None
    # Rows that are odd here only leave an image without a group.
    metadata = read_table(path, Findings())
    image = metadata.find(None, "--path-column", [frozenset((_IMAGE,))], ())
    group = metadata.find(options.group_column, "--group-column", [frozenset(("lesion_id",)), *GROUPS], (image or "",))
    if image is None or group is None:
        return None
    of_image = dict(zip(metadata.column(image), metadata.column(group), strict=True))
    return [of_image.get(file, "") for file in files]
