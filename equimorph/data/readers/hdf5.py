"""An HDF5 file with samples and labels, such as Galaxy10 DECaLS; samples are read from it when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equimorph.data.problems import SampleError
from equimorph.data.readers._base import Listing, Reader, ReadOptions, path_of
from equimorph.data.readers.array_names import CLASSES, Block, blocks_of, class_array
from equimorph.data.readers.arrays import memory_available
from equimorph.data.readers.joining import Portion, join
from equimorph.data.readers.labels import label_values, text_of
from equimorph.data.readers.telling import shortly
from equimorph.data.sources import ChannelAxis, Form, Header, Source, channels_first, header_of
from equimorph.errors import DataError

if TYPE_CHECKING:
    import h5py

_SUFFIXES = frozenset((".h5", ".hdf5", ".he5", ".hdf"))
_MOST_BYTES_AT_ONCE = 2**28  # of one row of chunks, kept beside the samples


class Hdf5Reader(Reader):
    """Datasets `images` and `ans`, `x` and `y`, or those of each part; also `classes`, `ids` and `groups`."""

    @property
    def form(self) -> str:
        """What it reads."""
        return "an HDF5 file with images and labels, or x_train, y_train, x_test and y_test"

    def recognises(self, given: str) -> bool:
        """Whether its name ends in `.h5`, `.hdf5` or `.he5`."""
        path = path_of(given)
        return path.suffix.lower() in _SUFFIXES and not path.is_dir()

    def read(self, given: str, options: ReadOptions) -> Listing:
        """Read labels, and where the samples are.

        Raises:
            DataError: h5py is missing, it is no such file, is damaged, lacks samples or labels, or its arrays do not
                fit together.
        """
        path = path_of(given)
        with _opened(path) as file:
            datasets = _datasets(file)
            blocks = blocks_of(datasets, options, path.name)
            portions = [_portion(block, datasets, options, path) for block in blocks]
            classes = _class_names(file, datasets, blocks)
        return join(path.stem, portions, classes)


class Hdf5Source(Source):
    """The entries of one dataset. Each process opens the file when it first needs it, after a fork once more.

    Where the dataset is stored in chunks that reach over several entries, all entries of these chunks are read at once
    and the last of them kept: to read in order is then fast, and in any other order slow.

    Args:
        dataset: An open dataset, shape (samples, *sides), with a further axis where there are channels; not kept.
        dim: Spatial axes of a sample.
        axis: Which axis of a sample counts channels.
    """

    def __init__(self, dataset: h5py.Dataset, dim: int, axis: ChannelAxis = "auto") -> None:
        self.path, self.name = str(Path(dataset.file.filename).resolve()), str(dataset.name)
        self.shape, self.dtype = tuple(dataset.shape), np.dtype(dataset.dtype)
        self.dim, self.axis = dim, axis
        entry_bytes = max(1, self.dtype.itemsize * int(np.prod(self.shape[1:])))
        self._at_once = max(1, min(dataset.chunks[0] if dataset.chunks else 1, _MOST_BYTES_AT_ONCE // entry_bytes))
        self._handle: tuple[int, h5py.File] | None = None
        self._block: tuple[int, NDArray[Any]] | None = None

    def __len__(self) -> int:
        return int(self.shape[0])

    def header(self, index: int) -> Header:
        """What shape and dtype of the dataset say."""
        return header_of(self.shape[1:], self.dtype, self.dim, self.axis)

    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The entry, read from the file."""
        start = index - index % self._at_once
        block = self._block
        if block is None or block[0] != start:
            try:
                block = (start, self._dataset()[start : start + self._at_once])
            except (OSError, RuntimeError, KeyError, ValueError):
                raise SampleError("the file is damaged where it is stored, or no longer there") from None
            self._block = block
        return channels_first(block[1][index - start], self.dim, self.axis)

    @property
    def is_alike(self) -> bool:
        """They are, in one dataset."""
        return True

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None, "_block": None}

    def _dataset(self) -> h5py.Dataset:
        import h5py

        if self._handle is not None and self._handle[0] != os.getpid():
            # Closed first: HDF5 would give the same descriptor again, whose position both processes would move.
            self._handle[1].close()
            self._handle = None
        if self._handle is None:
            self._handle = (os.getpid(), h5py.File(self.path, "r"))
        return self._handle[1][self.name]


def _portion(block: Block, datasets: dict[str, h5py.Dataset], options: ReadOptions, path: Path) -> Portion:
    source = Hdf5Source(datasets[block.samples], options.dim, options.channel_axis)
    try:
        name = block.samples
        source.header(0)
        name = block.labels
        labels = label_values(_column(datasets[name]))
        ids, groups = (
            [text_of(each) for each in _column(datasets[each]).ravel().tolist()] if each is not None else None
            for each in (block.ids, block.groups)
        )
    except SampleError as error:
        raise DataError(f'data: {path.name}: dataset "{name}": {error}.') from None
    return Portion(block.samples, source, labels, block.part, ids, groups)


def _column(dataset: h5py.Dataset) -> NDArray[Any]:
    if dataset.ndim not in (1, 2) or dataset.nbytes > memory_available():
        raise SampleError(f"its shape is {dataset.shape}, and one entry for each sample is needed")
    return np.asarray(dataset[()])


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All datasets that have axes, by their paths in the file; links out of the file are not followed."""
    import h5py

    found: dict[str, h5py.Dataset] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            found[name] = item

    file.visititems(add)
    return found


def _class_names(file: h5py.File, datasets: dict[str, h5py.Dataset], blocks: list[Block]) -> tuple[str, ...] | None:
    """The names of the classes: a dataset, or an attribute of the file or of the labels."""
    name = class_array(datasets)
    if name is not None:
        return tuple(text_of(each) for each in _column(datasets[name]).ravel().tolist())
    for attributes in (file.attrs, datasets[blocks[0].labels].attrs):
        for key in CLASSES:
            if key in attributes:
                return tuple(text_of(each) for each in np.asarray(attributes[key]).ravel().tolist())
    return None


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    import h5py

    if not path.is_file():
        raise DataError(f"data: there is no file {path}.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DataError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = shortly(error, type(error).__name__)
        raise DataError(f"data: {path} is no HDF5 file, or is damaged ({reason}); save or fetch it again.") from None
