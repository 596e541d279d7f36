"""Readers of the user's own data, one file each; the first that recognises what was given reads it."""

from equimorph.data.readers._base import Listing, Reader, ReadOptions
from equimorph.data.readers.dataset import listing_of
from equimorph.data.readers.folder import FolderReader
from equimorph.data.readers.hdf5 import Hdf5Reader
from equimorph.data.readers.huggingface import HuggingFaceReader
from equimorph.data.readers.isic import IsicReader
from equimorph.data.readers.npz import NpzReader
from equimorph.data.readers.table import TableReader

HDF5_READER = Hdf5Reader()
ISIC_READER = IsicReader()
READERS: tuple[Reader, ...] = (
    NpzReader(),
    HDF5_READER,
    ISIC_READER,
    TableReader(),
    HuggingFaceReader(),
    FolderReader(),
)

__all__ = ["HDF5_READER", "ISIC_READER", "READERS", "Listing", "ReadOptions", "Reader", "listing_of"]
