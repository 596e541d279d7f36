"""Real photographs of things without an upright, galaxies and skin lesions, each from one `.npz` file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equimorph.data._base import ImageData, Split
from equimorph.data.files import check_arrays, find_file, read_arrays
from equimorph.errors import DataError

_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class _Archive:
    """What a file holds: as many square RGB images in each part, of these classes."""

    file: str
    source: str
    num_images: tuple[int, int, int]  # train, val, test
    side: int
    classes: tuple[str, ...]


_GALAXIES = _Archive(
    file="galaxyzoo1_small.npz",
    source="https://github.com/Eggochi/Proyecto_Galaxias (SDSS, Galaxy Zoo 1), made small as load_galaxies tells",
    num_images=(2_253, 322, 644),
    side=64,
    classes=("elliptical", "spiral_clockwise", "spiral_anticlockwise", "spiral_edge_on", "dont_know", "merger"),
)
_SKIN = _Archive(
    file="skin_lesions_ham10000.npz",
    source="https://challenge.isic-archive.com/data (HAM10000, ISIC 2018 Task 3), made small as load_skin tells",
    num_images=(4_078, 583, 1_512),
    side=48,
    classes=("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
)


def load_galaxies(data_dir: str | Path | None = None) -> ImageData:
    """Galaxies in colour, 64 x 64: 2,214 for training, 316 for validation, 633 for the test; five classes.

    The classes are elliptical, spiral_clockwise (the arms wind anticlockwise going outward), spiral_anticlockwise,
    spiral_edge_on and merger; those that volunteers voted "don't know", mostly artefacts, are left out. Turning a
    galaxy keeps its label; a mirror exchanges the two winding senses and keeps the others.

    The file holds 64 x 64 reductions (Lanczos) of the central 128 x 128 pixels of the 423 x 423 cutouts "smallGZ1": all
    that are not elliptical and 1,200 of the ellipticals, divided 70 / 10 / 20 by class. Labels are votes, with errors.
    The repository states no licence; SDSS images and Galaxy Zoo 1 data are public, and both are to be cited.

    Args:
        data_dir: The folder with `galaxyzoo1_small.npz`; EQUIMORPH_DATA when left out.
    Raises:
        DataError: There is no such file, or it is not what it should be.
    Source: Lintott et al. (2011), Galaxy Zoo 1; images of SDSS; "smallGZ1" in the first commit of
        Eggochi/Proyecto_Galaxias.
    """
    return _load("galaxies", _GALAXIES, data_dir, left_out="dont_know")


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
    return _load("skin", _SKIN, data_dir)


def _load(name: str, archive: _Archive, data_dir: str | Path | None, *, left_out: str | None = None) -> ImageData:
    path = find_file(archive.file, data_dir, source=archive.source)
    shapes: dict[str, tuple[int, ...]] = {}
    for part, count in zip(_PARTS, archive.num_images, strict=True):
        shapes |= {f"x_{part}": (count, archive.side, archive.side, 3), f"y_{part}": (count,)}
    arrays = read_arrays(path, [*shapes, "classes"], source=archive.source)
    check_arrays(path, arrays, shapes, num_classes=len(archive.classes), source=archive.source)
    classes = arrays["classes"].tolist()
    if classes != list(archive.classes):
        raise DataError(f"{path}: classes {classes}, expected {list(archive.classes)}; get it from {archive.source}.")
    kept = tuple(index for index, label in enumerate(archive.classes) if label != left_out)
    splits = (_split(arrays[f"x_{part}"], arrays[f"y_{part}"], kept) for part in _PARTS)
    return ImageData.from_splits(name, *splits, classes=tuple(archive.classes[index] for index in kept))


def _split(images: NDArray[Any], labels: NDArray[Any], kept: tuple[int, ...]) -> Split:
    """The samples of the kept classes, channels first, with the classes numbered anew in their order."""
    chosen = np.isin(labels, kept)
    x = np.ascontiguousarray(images[chosen].transpose(0, 3, 1, 2))
    return Split(torch.from_numpy(x), torch.from_numpy(np.searchsorted(kept, labels[chosen])))
