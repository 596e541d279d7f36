"""The files that a table names: found by their path or by their name alone, each folder listed once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from equimorph.data.decoding import SUFFIXES
from equimorph.data.problems import SampleError


class FileIndex:
    """The files below a folder.

    A name without a suffix means the file of this name with any suffix of a sample. Paths are texts and nothing is
    asked of single files, since there may be very many.

    Args:
        folder: Where relative paths begin.
        deep: Whether a bare name may mean a file anywhere below the folder.
    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "ISIC_1.jpg").touch()
        ...     Path(FileIndex(Path(folder)).find("ISIC_1")).name
        'ISIC_1.jpg'
    """

    def __init__(self, folder: Path, *, deep: bool = False) -> None:
        self.folder = os.path.abspath(folder)  # noqa: PTH100, unlike Path.absolute it takes ".." out
        self.deep = deep
        self._listed: dict[str, dict[str, list[str]]] = {}
        self._below: dict[str, list[str]] | None = None

    def find(self, text: str) -> str:
        """The absolute path of the file that a text names.

        Raises:
            SampleError: There is none, or there are several.
        """
        if not text:
            raise SampleError("it names no file")
        found = self._fitting(text)
        if not found and "\\" in text:
            found = self._fitting(text.replace("\\", "/"))
        if len(found) > 1:
            raise SampleError("several files have this name, with other suffixes or in other folders")
        if not found:
            raise SampleError(f"no such file in {self.folder} (name another folder with --images)")
        return found[0]

    def num_unnamed(self, named: Iterable[str]) -> int:
        """How many samples lie below the folder that are not among these."""
        files = {path for paths in self._all_below().values() for path in paths}
        return sum(os.path.splitext(path)[1].lower() in SUFFIXES for path in files - set(named))  # noqa: PTH122

    def _fitting(self, text: str) -> list[str]:
        name = text.rpartition("/")[2]
        above = text[: len(text) - len(name)]
        if above not in self._listed:
            # Normalised, so that a file has one path however a table spells it.
            self._listed[above] = _names(_listing(os.path.normpath(os.path.join(self.folder, above))))  # noqa: PTH118
        found = self._listed[above].get(name, [])
        return found if found or above or not self.deep else self._all_below().get(name, [])

    def _all_below(self) -> dict[str, list[str]]:
        if self._below is None:
            paths = [os.path.join(top, name) for top, _, names in os.walk(self.folder) for name in names]  # noqa: PTH118
            self._below = _names(paths)
        return self._below


def _listing(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if not entry.is_dir()]
    except OSError:  # there is none, or none that may be read
        return []


def _names(paths: Iterable[str]) -> dict[str, list[str]]:
    """Paths by the name of the file, and samples by the name without suffix where no file is called that."""
    names: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    for path in paths:
        name = path.rpartition(os.sep)[2]
        if name.startswith("."):
            continue
        names.setdefault(name, []).append(path)
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() in SUFFIXES:
            stems.setdefault(stem, []).append(path)
    return stems | names
