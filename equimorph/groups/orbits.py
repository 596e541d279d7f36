"""Orbits of a subgroup on the indices of a kernel: which entries an equivariant kernel must hold equal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from equimorph.errors import GroupError, ShapeError
from equimorph.groups._group import IntArray, Subgroup

Representation = Literal["trivial", "regular"]
"""How a group acts on the channels of a feature: not at all, or by permuting them among its elements."""


@dataclass(frozen=True, eq=False)
class Orbits:
    """The orbits of H on the index triples (g, u, delta) of a kernel, numbered by their first member.

    Attributes:
        subgroup: H.
        shape: Sizes of the three index ranges: (out index, in index, *kernel).
        index: The orbit of each entry, entries in row-major order of `shape`; shape (entries,).
        members: The entries of each orbit, shape (orbits, largest orbit). Shorter orbits are filled up with the number
            of entries, an index one beyond the last.
        sizes: The number of members of each orbit, shape (orbits,).
    """

    subgroup: Subgroup
    shape: tuple[int, ...]
    index: IntArray
    members: IntArray
    sizes: IntArray

    @property
    def representatives(self) -> IntArray:
        """The first entry of each orbit, shape (orbits,)."""
        return self.members[:, 0]

    @property
    def num_orbits(self) -> int:
        """The number of free values of a kernel, per pair of fields."""
        return len(self.members)

    @property
    def mean_size(self) -> float:
        """Entries per orbit, |H| wherever one of the two features is regular."""
        return len(self.index) / len(self.members)


@lru_cache(maxsize=1024)
def kernel_orbits(
    subgroup: Subgroup, target: Representation, source: Representation, kernel_size: tuple[int, ...]
) -> Orbits:
    """Orbits of H under  h (g, u, delta) = (hg, hu, h delta).

    delta is the offset from the kernel's centre. A trivial feature has a single index, on which H does nothing. With
    `kernel_size=()` there is no offset: `(target, "regular", ())` are the orbits of a linear map of vectors,
    `(target, "trivial", ())` those of a bias, one per right coset Hg.

    Args:
        subgroup: H.
        target: Type of the out feature.
        source: Type of the in feature.
        kernel_size: Extent along each axis, d numbers or none.
    Raises:
        ShapeError: H exchanges two axes along which the kernel has different extents.
        GroupError: An unknown type of feature.
    Example:
        >>> from equimorph.groups import group
        >>> D4 = group("D4")
        >>> [kernel_orbits(D4.subgroup(H), "trivial", "trivial", (5, 5)).num_orbits for H in ("C1", "C4", "D4")]
        [25, 7, 6]

    Source: Maile, Wilson and Forré (2023), section 3; equation (1) of the method's page.
    """
    shape = tuple(subgroup.group.order if type_ == "regular" else 1 for type_ in (target, source))
    return _orbits_of_images(subgroup, (*shape, *kernel_size), kernel_images(subgroup, target, source, kernel_size))


@lru_cache(maxsize=1024)
def kernel_images(
    subgroup: Subgroup, target: Representation, source: Representation, kernel_size: tuple[int, ...]
) -> IntArray:
    """Where each element of H takes each index triple of a kernel:  images[h, (g, u, delta)] = (hg, hu, h delta).

    Args:
        subgroup: H.
        target: Type of the out feature.
        source: Type of the in feature.
        kernel_size: As in `kernel_orbits`, which also has the errors.
    Returns:
        Triples as flat indices in row-major order, shape (|H|, entries), rows in the order of `subgroup.indices`.
    """
    group = subgroup.group
    for representation in (target, source):
        if representation not in get_args(Representation):
            raise GroupError(f'kernel_orbits: a feature is "regular" or "trivial", got {representation!r}.')
    if len(kernel_size) not in (0, group.dim):
        raise ShapeError(f"kernel_orbits: {group.name} needs {group.dim} kernel extents, got {kernel_size}.")
    elements = np.array(subgroup.indices)
    out_images = _index_images(subgroup, target)
    in_images = _index_images(subgroup, source)
    offset_images = _offset_images(group.elements[elements], kernel_size, subgroup.name)
    num_in, num_offsets = in_images.shape[1], offset_images.shape[1]
    images = (out_images[:, :, None, None] * num_in + in_images[:, None, :, None]) * num_offsets
    return np.asarray((images + offset_images[:, None, None, :]).reshape(len(elements), -1))


def _index_images(subgroup: Subgroup, representation: Representation) -> IntArray:
    """images[h, g] = index of h·g; a single column of zeros for a trivial feature."""
    if representation == "trivial":
        return np.zeros((subgroup.order, 1), dtype=np.int64)
    return np.asarray(subgroup.group.table[list(subgroup.indices), :])


def _offset_images(matrices: IntArray, kernel_size: tuple[int, ...], name: str) -> NDArray[np.int64]:
    """images[h, delta] = flat index of h·delta."""
    if not kernel_size:
        return np.zeros((len(matrices), 1), dtype=np.int64)
    extents = np.array(kernel_size)
    positions = np.stack(np.unravel_index(np.arange(extents.prod()), kernel_size), axis=1)
    doubled = 2 * positions - (extents - 1)  # twice the offset, an integer for even extents too
    moved = np.einsum("hij,pj->hpi", matrices, doubled)
    landed = (moved + (extents - 1)) // 2
    if (landed < 0).any() or (landed >= extents).any():
        raise ShapeError(f"kernel of extents {kernel_size}: {name} exchanges its axes, so they must be equal.")
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(landed, -1, 0)), kernel_size), dtype=np.int64)


def _orbits_of_images(subgroup: Subgroup, shape: tuple[int, ...], images: IntArray) -> Orbits:
    num_entries = images.shape[1]
    representatives, index = np.unique(images.min(axis=0), return_inverse=True)
    members = np.sort(images[:, representatives].T, axis=1)
    repeated = np.zeros_like(members, dtype=bool)
    repeated[:, 1:] = members[:, 1:] == members[:, :-1]
    sizes = (~repeated).sum(axis=1)
    members = np.sort(np.where(repeated, num_entries, members), axis=1)[:, : sizes.max()]
    return Orbits(subgroup, shape, index.reshape(-1), np.ascontiguousarray(members), sizes)
