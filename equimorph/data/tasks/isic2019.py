"""ISIC 2019, from its original files."""

from __future__ import annotations

from dataclasses import replace

from equimorph.data._base import ImageData
from equimorph.data.files import find_folder
from equimorph.data.loading import assemble
from equimorph.data.readers import ISIC_READER
from equimorph.data.splits import Shares
from equimorph.data.tasks._base import Request

FOLDER = "isic2019"
SOURCE = (
    "https://challenge.isic-archive.com/data/#2019 (ISIC_2019_Training_Input.zip unpacked, "
    "ISIC_2019_Training_GroundTruth.csv and ISIC_2019_Training_Metadata.csv, in a folder isic2019)"
)


def load_isic2019(request: Request) -> ImageData:
    """25,331 dermoscopic images in colour with eight diagnoses: 10 % for the test, 10 % of the rest for validation.

    The splits are ours, by class and always the same, and where the metadata are there, images of one lesion are never
    divided. Images have many sizes and are cut to squares; without another image size they are brought to 128 x 128.

    Raises:
        DataError: There is no such folder, or it is not what it should be.
    Source: Tschandl et al. (2018); Codella et al. (2017); Combalia et al. (2019), ISIC 2019.
    """
    folder = find_folder(FOLDER, request.data_dir, source=SOURCE)
    options = replace(
        request.options,
        dim=2,
        shares=Shares(validation=0.09, test=0.1),
        split=0,
        image_size=request.options.image_size or 128,
    )
    return assemble(
        replace(ISIC_READER.read(str(folder), options), name="isic2019"), options, progress=request.progress
    )
