"""Galaxy10 DECaLS, from its original file."""

from __future__ import annotations

from dataclasses import replace

from equimorph.data._base import ImageData
from equimorph.data.download import Remote
from equimorph.data.files import find_file
from equimorph.data.loading import assemble
from equimorph.data.readers import HDF5_READER
from equimorph.data.splits import Shares
from equimorph.data.tasks._base import Request
from equimorph.errors import DataError

FILE = "Galaxy10_DECals.h5"
SOURCE = "https://zenodo.org/records/10845026"
# Checksum and address are those of astroNN, whose authors made the file.
REMOTE = Remote(
    url=f"{SOURCE}/files/{FILE}",
    sha256="19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
    size_bytes=None,
    licence="CC BY 4.0",
)
CLASSES = (
    *("disturbed", "merging", "round_smooth", "in_between_round_smooth", "cigar_shaped_smooth"),
    *("barred_spiral", "unbarred_tight_spiral", "unbarred_loose_spiral"),
    *("edge_on_without_bulge", "edge_on_with_bulge"),
)


def load_galaxy10(request: Request) -> ImageData:
    """17,736 galaxies in colour, 256 x 256, in ten classes: 10 % for the test, and 10 % of the rest for validation.

    The splits are ours, by class and always the same. The file is read as it is, `images` and `ans`; without another
    image size the samples stay 256 x 256, 3.2 GiB of them.

    Raises:
        DataError: There is no such file, or it is not what it should be.
    Source: Leung and Bovy (2019), astroNN; images of the DESI Legacy Imaging Surveys, labels of Galaxy Zoo.
    """
    path = find_file(FILE, request.data_dir, source=SOURCE)
    options = replace(request.options, dim=2, shares=Shares(validation=0.09, test=0.1), split=0)
    listing = HDF5_READER.read(str(path), options)
    names = {str(number): name for number, name in enumerate(CLASSES)}
    if unknown := set(listing.labels) - set(names):
        raise DataError(f"{path}: labels such as {min(unknown)}, expected 0 to 9; get it from {SOURCE}.")
    labels = [names[label] for label in listing.labels]
    named = replace(listing, name="galaxy10", labels=labels, classes=CLASSES)
    return assemble(named, options, progress=request.progress)
