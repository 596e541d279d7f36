"""Skin lesions under the dermatoscope: HAM10000, made small."""

from __future__ import annotations

from pathlib import Path

from equimorph.data._base import ImageData
from equimorph.data.tasks.archives import Archive

_SKIN = Archive(
    file="skin_lesions_ham10000.npz",
    source="https://challenge.isic-archive.com/data (HAM10000, ISIC 2018 Task 3), made small as load_skin tells",
    num_samples=(4_078, 583, 1_512),
    shape=(48, 48, 3),
    classes=("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
)


def load_skin(data_dir: str | Path | None = None) -> ImageData:
    """Skin lesions under the dermatoscope, 48 x 48: 4,078 for training, 583 for validation, 1,512 for the test.

    The seven diagnoses of HAM10000: akiec, bcc, bkl, df, mel (melanoma), nv (nevus), vasc. Turning and mirroring keep
    them. They are very unequal (60 % of the test is nv), so balanced accuracy belongs beside accuracy.

    The file holds 48 x 48 reductions (Lanczos) of 224 x 224 central squares. Training and validation are HAM10000's
    training images, one per lesion, with 3,000 of its nevi; the test is the official one of ISIC 2018 Task 3. The
    original data are CC BY-NC 4.0: with attribution, and for non-commercial use alone.

    Args:
        data_dir: The folder with `skin_lesions_ham10000.npz`; EQUIMORPH_DATA when left out.
    Raises:
        DataError: There is no such file, or it is not what it should be.
    Source: Tschandl, Rosendahl and Kittler (2018), The HAM10000 dataset; ISIC 2018 Task 3.
    """
    return _SKIN.load("skin", data_dir)
