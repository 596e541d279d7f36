"""A folder with a subfolder for each class, or first train, val and test, and the classes in these."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from equimorph.data.decoding import SUFFIXES, FileSource
from equimorph.data.problems import Findings
from equimorph.data.readers._base import Listing, Reader, ReadOptions, part_named, path_of
from equimorph.errors import DataError

_CLUTTER = frozenset(("thumbs.db", "desktop.ini", "__macosx"))


class FolderReader(Reader):
    """`ROOT/cat/1.png`, or `ROOT/train/cat/1.png`; files may lie deeper in the folder of their class."""

    @property
    def form(self) -> str:
        """What it reads."""
        return "a folder with a subfolder of images for each class"

    def recognises(self, given: str) -> bool:
        """Whether it is a folder that has folders in it."""
        path = path_of(given)
        return path.is_dir() and any(_folders(path))

    def read(self, given: str, options: ReadOptions) -> Listing:
        """List the files by class.

        Raises:
            DataError: There are no images in it, it may not be read, or only some of its folders are parts.
        """
        root = path_of(given).absolute()
        try:
            return self._read(root, options)
        except PermissionError as error:
            raise DataError(f"data: the folder {error.filename} may not be read.") from None

    def _read(self, root: Path, options: ReadOptions) -> Listing:
        findings = Findings()
        paths: list[str] = []
        labels: list[str] = []
        parts: list[str] = []
        tops = {name: part_named(name) for name in _folders(root)}
        divided = _are_parts(tops, root)
        for folder in (root, *(root / top for top in tops if divided)):
            loose = _num_loose(folder)
            if loose:
                findings.left_out["files outside the folders of the classes"] += loose
        for top, part in tops.items():
            class_folders = (
                [(name, root / top / name) for name in _folders(root / top)] if divided else [(top, root / top)]
            )
            for label, folder in class_folders:
                found = list(_files(folder, findings, root))
                if not found:
                    findings.add(folder.relative_to(root).as_posix(), "a class folder without images")
                paths += found
                labels += [label] * len(found)
                parts += [part or ""] * len(found)
        if not paths and not findings.problems:
            raise DataError(f"data: there are no images in {root}; put those of each class into a folder of its own.")
        prefix = len(str(root / "_")) - 1
        return Listing(
            name=root.resolve().name,
            source=FileSource(paths, options.dim, options.channel_axis),
            ids=[path[prefix:].replace(os.sep, "/") for path in paths],
            labels=labels,
            parts=parts if divided else None,
            findings=findings,
        )


def _are_parts(tops: dict[str, str | None], root: Path) -> bool:
    """Whether the folders in a folder are parts of the data, rather than classes."""
    others = [name for name, part in tops.items() if part is None]
    if tops and not others:
        return True
    # A class may be called "train", but hardly will a second one be called "test".
    if len({part for part in tops.values() if part}) > 1 and "train" in tops.values():
        parts = ", ".join(f'"{name}"' for name, part in tops.items() if part)
        raise DataError(
            f'data: in {root} there are {parts} and also "{others[0]}"{" and others" if len(others) > 1 else ""}; '
            "leave there either parts alone, with the classes in them, or classes alone."
        )
    return False


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _folders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not _is_clutter(entry.name))


def _num_loose(path: Path) -> int:
    """How many samples lie in a folder itself."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in entries if not entry.is_dir()]
    return sum(Path(name).suffix.lower() in SUFFIXES and not _is_clutter(name) for name in names)


def _files(folder: Path, findings: Findings, root: Path) -> Iterator[str]:
    """The files that are samples, sorted, as texts, since there may be many."""
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        if _is_clutter(entry.name):
            continue
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if entry.is_symlink() and entry.is_dir() and folder.resolve().is_relative_to(Path(entry.path).resolve()):
            findings.left_out["links to a folder that they lie in"] += 1
        elif entry.is_dir():
            yield from _files(Path(entry.path), findings, root)
        elif suffix in SUFFIXES:
            yield entry.path
        else:
            findings.left_out[f"files that are no samples ({suffix or 'without a suffix'})"] += 1
