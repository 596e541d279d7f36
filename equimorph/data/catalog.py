"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from equimorph.data._base import ImageData
from equimorph.data.digits import load_digits
from equimorph.data.mnist import load_mnist, load_rotmnist
from equimorph.errors import ConfigurationError

_LOADERS: dict[str, Callable[[str | Path | None], ImageData]] = {
    "digits": lambda data_dir: load_digits(),
    "mnist": load_mnist,
    "rotmnist": load_rotmnist,
}


def names() -> tuple[str, ...]:
    """The names that `load` knows."""
    return tuple(_LOADERS)


def load(name: str, data_dir: str | Path | None = None) -> ImageData:
    """The data set of that name.

    Args:
        name: "digits", built in; "mnist" or "rotmnist", from the file mnist.npz.
        data_dir: The folder with data files; the environment variable EQUIMORPH_DATA when left out.
    Raises:
        ConfigurationError: There is no such name.
        DataError: Its file is missing or damaged; says which one and where to get it.
    Example:
        >>> load("digits").num_classes
        10
    """
    if name not in _LOADERS:
        raise ConfigurationError(f'data: no data set "{name}"; there are {", ".join(_LOADERS)}.')
    return _LOADERS[name](data_dir)
