"""Finite symmetry groups of the pixel grid, exact and in numpy alone.

A group here is a set of n signed permutation matrices of size d x d (d = 1, 2, 3), closed under multiplication. Each
maps the grid Z^d onto itself, so it moves pixels without interpolation. Matrices act on array indices in tensor order
(row, column for images; x, y, z for volumes), measured from the centre of the array.
"""

from equimorph.groups._group import Group, Subgroup
from equimorph.groups.catalog import group, search_groups
from equimorph.groups.orbits import Orbits, Representation, kernel_images, kernel_orbits

__all__ = [
    "Group",
    "Orbits",
    "Representation",
    "Subgroup",
    "group",
    "kernel_images",
    "kernel_orbits",
    "search_groups",
]
