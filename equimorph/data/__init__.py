"""Named data sets, read once into memory with fixed splits and standardised from the training set alone."""

from equimorph.data._base import ImageData, Split
from equimorph.data.augmentation import move_randomly
from equimorph.data.catalog import load, names
from equimorph.data.textures import make_textures

__all__ = ["ImageData", "Split", "load", "make_textures", "move_randomly", "names"]
