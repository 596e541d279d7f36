"""An `.npz` file with samples and labels: `x` and `y`, or `x_train`, `y_train` and so on; nothing is unpickled."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equimorph.data.problems import SampleError
from equimorph.data.readers._base import Listing, Reader, ReadOptions, path_of
from equimorph.data.readers.array_names import Block, blocks_of, class_array, quoted
from equimorph.data.readers.arrays import ArraySource, memory_available
from equimorph.data.readers.joining import Portion, join
from equimorph.data.readers.labels import label_values, text_of
from equimorph.data.readers.telling import shortly
from equimorph.errors import DataError

_MEMBER = ".npy"
_GIB = 2**30


class NpzReader(Reader):
    """Arrays `x` and `y`, or those of each part; also `classes`, and `ids` and `groups` of the samples."""

    @property
    def form(self) -> str:
        """What it reads."""
        return "an .npz file with x and y, or x_train, y_train, x_test and y_test"

    def recognises(self, given: str) -> bool:
        """Whether its name ends in `.npz`."""
        return path_of(given).suffix.lower() == ".npz"

    def read(self, given: str, options: ReadOptions) -> Listing:
        """Read the arrays into memory.

        Raises:
            DataError: It is no such file, is damaged, lacks samples or labels, holds Python objects, is larger than the
                memory, or its arrays do not fit together.
        """
        path = path_of(given)
        with _told(path), zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(_MEMBER) for name in archive.namelist() if name.endswith(_MEMBER)]
            blocks = blocks_of(names, options, path.name)
            classes = class_array(names)
            wanted = [name for block in blocks for name in (block.samples, *block.columns)]
            wanted += [classes] if classes is not None else []
            _check_members(archive, wanted, path)
        with _told(path), path.open("rb") as file, np.load(file, allow_pickle=False) as members:
            arrays = {name: members[name] for name in wanted}
        portions = [_portion(block, arrays, options, path) for block in blocks]
        class_names = tuple(text_of(each) for each in arrays[classes].ravel().tolist()) if classes is not None else None
        return join(path.stem, portions, class_names)


def _portion(block: Block, arrays: dict[str, NDArray[Any]], options: ReadOptions, path: Path) -> Portion:
    ids, groups = (
        [text_of(each) for each in arrays[name].ravel().tolist()] if name is not None else None
        for name in (block.ids, block.groups)
    )
    source = ArraySource(arrays[block.samples], options.dim, options.channel_axis)
    try:
        name = block.samples
        source.header(0)
        name = block.labels
        labels = label_values(arrays[name])
    except SampleError as error:
        raise DataError(f'data: {path.name}: array "{name}": {error}.') from None
    return Portion(block.samples, source, labels, block.part, ids, groups)


def _check_members(archive: zipfile.ZipFile, names: Iterable[str], path: Path) -> None:
    """Refuse, before anything is unpacked, Python objects and more than fits into memory."""
    declared, objects, single = 0, [], []
    for name in names:
        info = archive.getinfo(name + _MEMBER)
        with archive.open(info) as member:
            shape, dtype = _shape_and_dtype(member)
        objects += [name] if dtype.hasobject else []
        single += [name] if not shape else []
        declared += max(info.file_size, math.prod(shape) * dtype.itemsize)
    if objects:
        raise DataError(
            f"data: {path.name}: {quoted(objects)} hold Python objects, which are never unpickled; save numbers, or "
            "names as an array of texts (array.astype(str))."
        )
    if single:
        raise DataError(f"data: {path.name}: {quoted(single)} are single values; one entry for each sample is needed.")
    available = memory_available()
    if declared > available:
        raise DataError(
            f"data: {path.name}: its arrays would take {declared / _GIB:,.1f} GiB unpacked, and "
            f"{available / _GIB:,.1f} GiB of memory are available; put them into an HDF5 file, which is read in pieces."
        )


def _shape_and_dtype(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(member)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(member)
    else:
        raise ValueError(f"an array of format version {version[0]}.{version[1]}")
    return shape, dtype


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the file becomes one DataError."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"data: there is no file {path}.") from None
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, MemoryError),
        *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
    ) as error:
        reason = shortly(error, type(error).__name__)
        raise DataError(f"data: {path} is no .npz file, or is damaged ({reason}); save or fetch it again.") from None
