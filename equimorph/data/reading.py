"""Data by name or by path: the one place that decides what is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from equimorph.data._base import ImageData
from equimorph.data.loading import assemble, silent
from equimorph.data.readers import READERS, ReadOptions, listing_of
from equimorph.data.scan import Progress
from equimorph.data.tasks import is_named, load_named, names
from equimorph.errors import ConfigurationError


def load(
    given: str | Path,
    data_dir: str | Path | None = None,
    *,
    options: ReadOptions | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> ImageData:
    """A data set: one of the named ones, or the user's own.

    Args:
        given: A name of `names()`, such as "digits"; the path of a folder with a subfolder of images for each class, of
            an `.npz`, HDF5, CSV or Parquet file; or "hf:NAME" for one of Hugging Face's.
        data_dir: The folder with the files of named data sets; the environment variable EQUIMORPH_DATA when left out.
        options: How samples are read.
        fetch: Whether a file that is missing is downloaded, where it can be.
        progress: Is told while samples are looked at.
    Raises:
        ConfigurationError: There is no such name, no reader knows such a path, or the options do not fit.
        GroupError: After "textures:" comes no subgroup of D4; lists those there are.
        DataError: A file is missing or damaged, or the data have problems, which are told all together.
    Example:
        >>> import numpy as np, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = f"{folder.name}/signals.npz"
        >>> np.savez(path, x=np.random.rand(40, 2, 32), y=np.arange(40) % 2)
        >>> data = load(path, options=ReadOptions(dim=1))
        >>> data.name, data.in_channels, len(data.train), data.classes
        ('signals', 2, 28, ('0', '1'))
        >>> folder.cleanup()
    """
    text, options = str(given), options or ReadOptions()
    if is_named(text):
        return load_named(text, data_dir, options=options, fetch=fetch, progress=progress)
    for reader in READERS if text.strip() else ():  # an empty path would be the folder that one is in
        if reader.recognises(text):
            return assemble(reader.read(text, options), options, progress=progress)
    if text.strip() and Path(text).expanduser().exists():
        raise ConfigurationError(f"data: {text} is none of these: {'; '.join(reader.form for reader in READERS)}.")
    if "/" in text or "." in text:
        raise ConfigurationError(f"data: there is no {text}; see whether the path is right.")
    raise ConfigurationError(f'data: no data set "{text}"; there are {", ".join(names())}, or name a path.')


def from_dataset(
    dataset: Dataset[Any] | Mapping[str, Dataset[Any]],
    *,
    name: str = "own",
    labels: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    groups: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
    options: ReadOptions | None = None,
    progress: Progress = silent,
) -> ImageData:
    """A data set from a `torch.utils.data.Dataset`, or from {"train": ..., "validation": ..., "test": ...}.

    Args:
        dataset: It gives pairs (sample, label), or dictionaries with such keys as "image" and "label"; a sample is a
            tensor (channels, *spatial), an array or a PIL image.
        name: What the data set is called.
        labels: One for each sample; the dataset's own when left out.
        groups: What each sample belongs to that must not be divided; by part, as the datasets.
        options: How samples are read.
        progress: Is told while samples are looked at.
    Raises:
        DataError: A dataset can only be iterated, or has problems, which are told all together.
    Example:
        >>> import torch
        >>> pairs = torch.utils.data.TensorDataset(torch.rand(40, 3, 8, 8), torch.arange(40) % 2)
        >>> data = from_dataset(pairs)
        >>> data.in_channels, len(data.train), data.notes.split
        (3, 28, '10% validation and 20% test drawn by class, seed 0')
    """
    options = options or ReadOptions()
    listing = listing_of(
        dataset, dim=options.dim, labels=labels, groups=groups, name=name, channel_axis=options.channel_axis
    )
    return assemble(listing, options, progress=progress)
