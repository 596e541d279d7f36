"""Data sets by name, with fixed splits: one file a data set."""

from equimorph.data.tasks._base import Task
from equimorph.data.tasks.catalog import TASKS, is_named, load_named, names
from equimorph.data.tasks.textures import make_textures

__all__ = ["TASKS", "Task", "is_named", "load_named", "make_textures", "names"]
