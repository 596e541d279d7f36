"""Galaxies, and two questions about them: which way they wind, and what they are when that does not matter."""

from __future__ import annotations

from pathlib import Path

from equimorph.data._base import ImageData
from equimorph.data.tasks.archives import Archive

_GALAXIES = Archive(
    file="galaxyzoo1_small.npz",
    source="https://github.com/Eggochi/Proyecto_Galaxias (SDSS, Galaxy Zoo 1), made small as load_galaxies tells",
    num_samples=(2_253, 322, 644),
    shape=(64, 64, 3),
    classes=("elliptical", "spiral_clockwise", "spiral_anticlockwise", "spiral_edge_on", "dont_know", "merger"),
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
    return _GALAXIES.load("galaxies", data_dir, renamed={"dont_know": None})


def load_winding(data_dir: str | Path | None = None) -> ImageData:
    """The spirals of `load_galaxies` whose winding sense was seen: clockwise or anticlockwise.

    A mirror exchanges the two classes, so a network that is invariant to mirrors sits at chance here: it gives a galaxy
    and its mirror image, which are of different classes, the same answer. Turns keep the class.

    Args:
        data_dir: The folder with `galaxyzoo1_small.npz`; EQUIMORPH_DATA when left out.
    Raises:
        DataError: There is no such file, or it is not what it should be.
    """
    renamed = dict.fromkeys(_GALAXIES.classes) | {
        "spiral_clockwise": "clockwise",
        "spiral_anticlockwise": "anticlockwise",
    }
    return _GALAXIES.load("galaxies-winding", data_dir, renamed=renamed)


def load_merged(data_dir: str | Path | None = None) -> ImageData:
    """The galaxies of `load_galaxies` with the two winding senses as one class: elliptical, spiral, edge on, merger.

    Turns and mirrors keep the class.

    Args:
        data_dir: The folder with `galaxyzoo1_small.npz`; EQUIMORPH_DATA when left out.
    Raises:
        DataError: There is no such file, or it is not what it should be.
    """
    renamed = {"spiral_clockwise": "spiral", "spiral_anticlockwise": "spiral", "dont_know": None}
    return _GALAXIES.load("galaxies-merged", data_dir, renamed=renamed)
