"""Furniture in three dimensions: ModelNet10 as occupancy grids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from equimorph.data._base import ImageData
from equimorph.data.tasks.archives import Archive

_MODELNET10 = Archive(
    file="modelnet10_voxels24.npz",
    source="https://modelnet.cs.princeton.edu (ModelNet10), made into grids as load_modelnet10 tells",
    num_samples=(3_493, 498, 908),
    shape=(24, 24, 24),
    classes=(
        *("bathtub", "bed", "chair", "desk", "dresser"),
        *("monitor", "night_stand", "sofa", "table", "toilet"),
    ),
)


def load_modelnet10(data_dir: str | Path | None = None) -> ImageData:
    """Models of furniture as surface occupancy, 24 x 24 x 24: 3,493 for training, 498 for validation, 908 for the test.

    Ten classes. Axes are x, y, z, with z up; models stand in their catalogue pose, so turns about z and mirrors that
    keep z upright keep the label, and turning a model over does not give one that is met.

    The file holds 1,024 points of each model's surface, centred on the bounding box, scaled into the unit ball and
    binned: 1 where there is a point, which is 255 here, so that grids made smaller have levels between. The test is
    the official one. ModelNet is offered for academic research; the copyright of the models stays with their authors.

    Args:
        data_dir: The folder with `modelnet10_voxels24.npz`; EQUIMORPH_DATA when left out.
    Raises:
        DataError: There is no such file, or it is not what it should be.
    Source: Wu et al. (2015), 3D ShapeNets.
    """
    data = _MODELNET10.load("modelnet10", data_dir)
    splits = (replace(split, x=255 * split.x[:]) for split in (data.train, data.validation, data.test))
    return ImageData.from_splits(data.name, *splits, classes=data.classes)
