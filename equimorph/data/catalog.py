"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from equimorph.data._base import ImageData
from equimorph.data.archives import load_galaxies, load_skin
from equimorph.data.digits import load_digits
from equimorph.data.mnist import load_mnist, load_rotmnist
from equimorph.data.textures import make_textures
from equimorph.errors import ConfigurationError

_LOADERS: dict[str, Callable[[str | Path | None], ImageData]] = {
    "digits": lambda data_dir: load_digits(),
    "mnist": load_mnist,
    "rotmnist": load_rotmnist,
    "galaxies": load_galaxies,
    "skin": load_skin,
}
_TEXTURES = "textures:"


def names() -> tuple[str, ...]:
    """The names that `load` knows; in the last one H stands for a subgroup of D4."""
    return (*_LOADERS, f"{_TEXTURES}H")


def load(name: str, data_dir: str | Path | None = None) -> ImageData:
    """The data set of that name.

    Args:
        name: "digits", built in; "mnist" or "rotmnist", from the file mnist.npz; "galaxies", from galaxyzoo1_small.npz;
            "skin", from skin_lesions_ham10000.npz; "textures:C4", or with another subgroup of D4, made on the spot.
        data_dir: The folder with data files; the environment variable EQUIMORPH_DATA when left out.
    Raises:
        ConfigurationError: There is no such name.
        GroupError: After "textures:" comes no subgroup of D4; lists those there are.
        DataError: Its file is missing or damaged; says which one and where to get it.
    Example:
        >>> load("digits").num_classes
        10
    """
    if name.startswith(_TEXTURES):
        return make_textures(name.removeprefix(_TEXTURES))
    if name not in _LOADERS:
        raise ConfigurationError(f'data: no data set "{name}"; there are {", ".join(names())}.')
    return _LOADERS[name](data_dir)
