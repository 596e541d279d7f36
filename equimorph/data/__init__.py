"""Data: named sets and the user's own, checked, divided, standardised from the training set alone, and augmented."""

from equimorph.data._base import DataNotes, ImageData, Split
from equimorph.data.audit import LabelAudit, audit_labels
from equimorph.data.augmentation import Augmentation, move_randomly
from equimorph.data.readers import ReadOptions
from equimorph.data.reading import from_dataset, load
from equimorph.data.splits import Shares
from equimorph.data.tasks import TASKS, Task, make_textures, names

__all__ = [
    "TASKS",
    "Augmentation",
    "DataNotes",
    "ImageData",
    "LabelAudit",
    "ReadOptions",
    "Shares",
    "Split",
    "Task",
    "audit_labels",
    "from_dataset",
    "load",
    "make_textures",
    "move_randomly",
    "names",
]
