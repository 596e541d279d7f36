"""Data files: where they are looked for, and the arrays in them, read and checked."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from equimorph.errors import DataError

ENVIRONMENT_VARIABLE = "EQUIMORPH_DATA"


def find_file(name: str, data_dir: str | Path | None, *, source: str) -> Path:
    """The path of a data file in the data folder: the given one, or the one that EQUIMORPH_DATA names; or else in the
    folder that downloads go to.

    Args:
        name: The file's name.
        data_dir: The data folder.
        source: Where the file can be had, for the message.
    Raises:
        DataError: No folder was given, or the file is not in it.
    """
    return _find(name, data_dir, source, Path.is_file)


def find_folder(name: str, data_dir: str | Path | None, *, source: str) -> Path:
    """The path of a folder in the data folder, as `find_file`.

    Raises:
        DataError: No data folder was given, or there is no such folder in it.
    """
    return _find(name, data_dir, source, Path.is_dir)


def is_there(name: str, data_dir: str | Path | None) -> bool:
    """Whether a file would be found."""
    return any((folder / name).exists() for folder in _folders(data_dir))


def folder_for(data_dir: str | Path | None) -> Path:
    """The folder that a download goes to: the data folder, or one in the user's cache."""
    return _folders(data_dir)[0]


def _find(name: str, data_dir: str | Path | None, source: str, is_kind: Callable[[Path], bool]) -> Path:
    for folder in _folders(data_dir):
        if is_kind(folder / name):
            return folder / name
    given = data_dir or os.environ.get(ENVIRONMENT_VARIABLE)
    if not given:
        raise DataError(
            f"data: {name} is needed and no data folder was given; name one with --data-dir or {ENVIRONMENT_VARIABLE}. "
            f"The file can be had from {source}."
        )
    raise DataError(f"data: there is no {name} in {given}; it can be had from {source}.")


def _folders(data_dir: str | Path | None) -> list[Path]:
    """Where files are looked for: a folder that was named, or else the cache."""
    given = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT_VARIABLE)
    if given:
        return [Path(given).expanduser()]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [Path(cache).expanduser() / "equimorph"]


def read_arrays(path: Path, names: Iterable[str], *, source: str) -> dict[str, NDArray[Any]]:
    """The arrays of these names in an `.npz` file; nothing in it is ever unpickled.

    Args:
        path: The file.
        names: The arrays that are needed; others are not read.
        source: Where the file can be had, for the message.
    Raises:
        DataError: It is no `.npz` file, is damaged, or lacks one of the arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError),
        *(BadZipFile, zlib.error),
    ) as error:
        raise DataError(f"{path}: not the file that was expected ({error}); get it from {source}.") from None


def check_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    num_classes: int,
    source: str,
) -> None:
    """Refuse arrays that are not the images (`x_...`) and labels (`y_...`) that a file should hold.

    Args:
        path: The file, for the message.
        arrays: What was in it.
        shapes: The shape that each of the arrays must have.
        num_classes: Labels are whole numbers from 0 to one less.
        source: Where the file can be had, for the message.
    Raises:
        DataError: A shape is another, pixels are not uint8, labels are no whole numbers or out of range.
    """
    found = {name: arrays[name].shape for name in shapes}
    if found != dict(shapes):
        raise DataError(f"{path}: arrays of shapes {found}, expected {dict(shapes)}; get it from {source}.")
    pixels, labels = ([arrays[name] for name in shapes if name.startswith(letter)] for letter in "xy")
    if any(array.dtype != np.uint8 for array in pixels) or any(array.dtype.kind not in "iu" for array in labels):
        dtypes = {name: str(arrays[name].dtype) for name in shapes}
        raise DataError(f"{path}: arrays of {dtypes}, expected uint8 pixels and whole numbers; get it from {source}.")
    smallest, largest = (int(extreme([extreme(array) for array in labels])) for extreme in (np.min, np.max))
    if smallest < 0 or largest >= num_classes:
        raise DataError(
            f"{path}: labels from {smallest} to {largest}, expected 0 to {num_classes - 1}; get it from {source}."
        )
