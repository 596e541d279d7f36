"""Named data sets, read once into memory with fixed splits and standardised from the training set alone."""

from equimorph.data._base import ImageData, Split
from equimorph.data.catalog import load, names

__all__ = ["ImageData", "Split", "load", "names"]
