"""The contract of a named data set: what it is, whose it is, where its files are, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from equimorph.data._base import ImageData
from equimorph.data.download import Remote
from equimorph.data.readers import ReadOptions
from equimorph.data.scan import Progress


@dataclass(frozen=True)
class Request:
    """What a named data set is asked for.

    Attributes:
        data_dir: The folder with data files; the one that EQUIMORPH_DATA names when None.
        options: How samples are read; the named set decides what has only one right answer (splits, columns).
        progress: Is told while samples are looked at.
    """

    data_dir: str | Path | None
    options: ReadOptions
    progress: Progress


@dataclass(frozen=True)
class Task:
    """A named data set.

    Attributes:
        name: What the user calls it.
        what: What is in it, in one line.
        sample: Size and channels of one sample, in words.
        splits: The sizes of training, validation and test set, in words.
        symmetry: What the labels keep, in words.
        licence: As its makers state it.
        source: Where it is from, and how its file is to be had.
        load: Reads it.
        file: The file or folder in the data folder; None when it is built in.
        remote: Where the file can be fetched from; None when it cannot.
        settings: Options of the command that suit it, unless the user gives others.
        reduces: Whether `load` itself brings samples to `options.image_size`.
    """

    name: str
    what: str
    sample: str
    splits: str
    symmetry: str
    licence: str
    source: str
    load: Callable[[Request], ImageData]
    file: str | None = None
    remote: Remote | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    reduces: bool = False
