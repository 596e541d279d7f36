"""Where data files are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from equimorph.errors import DataError

ENVIRONMENT_VARIABLE = "EQUIMORPH_DATA"


def find_file(name: str, data_dir: str | Path | None, *, source: str) -> Path:
    """The path of a data file in the data folder: the given one, or else the one that EQUIMORPH_DATA names.

    Args:
        name: The file's name.
        data_dir: The data folder.
        source: Where the file can be had, for the message.
    Raises:
        DataError: No folder was given, or the file is not in it.
    """
    folder = data_dir if data_dir is not None else os.environ.get(ENVIRONMENT_VARIABLE)
    if not folder:
        raise DataError(
            f"data: {name} is needed and no data folder was given; name one with --data-dir or {ENVIRONMENT_VARIABLE}. "
            f"The file can be had from {source}."
        )
    path = Path(folder).expanduser() / name
    if not path.is_file():
        raise DataError(f"data: there is no {name} in {folder}; it can be had from {source}.")
    return path
