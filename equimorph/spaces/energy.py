"""How the energy of a kernel is divided among subgroups that it may have as symmetry."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import torch
from numpy.typing import NDArray

from equimorph.groups import Group, Subgroup, kernel_images
from equimorph.spaces._base import WeightSpace


@torch.no_grad()
def energy_shares(space: WeightSpace, members: Sequence[Subgroup]) -> dict[str, float]:
    """What each subgroup adds to the part of a kernel that the ones before it have kept.

        share_i = |Q_i W|^2 / sum_j |Q_j W|^2,     Q_i = R_i - R_{i-1},     R_i = projector on Fix(H_1) + ... + Fix(H_i)

    where Fix(H) are the H-equivariant kernels. |P_H W| itself is no measure to choose by, since it only grows as H
    shrinks, and a choice by it always falls on the smallest member.

    Args:
        space: Where W comes from.
        members: H_1, ..., H_m, largest first.
    Returns:
        The shares by name; they add up to one.
    Example:
        >>> from equimorph.groups import group
        >>> from equimorph.spaces import KernelShape, TiedSpace
        >>> D4 = group("D4")
        >>> space = TiedSpace(KernelShape(D4, 1, 1, (3, 3)), D4.whole)
        >>> {name: round(share, 9) for name, share in energy_shares(space, [D4.whole, D4.trivial]).items()}
        {'D4': 1.0, 'C1': 0.0}

    Source: ours; |P_H W| is section 3 of the method's page.
    """
    shape, rows = space.shape, space.rows().double()
    joined = reduce(operator.or_, members)
    images = kernel_images(joined, shape.target, shape.source, shape.kernel_size)
    # <W, g W> for every g that the members generate gives <W, Q W> for every Q of their group algebra.
    products = np.array([float((rows * rows[torch.from_numpy(image).to(rows.device)]).sum()) for image in images])
    energies = np.maximum(_coefficients(shape.group, tuple(members))[:, list(joined.indices)] @ products, 0)
    total = energies.sum()
    shares = energies / total if total > 0 else np.eye(len(members))[0]
    return {member.name: float(share) for member, share in zip(members, shares, strict=True)}


@dataclass(frozen=True)
class Energy:
    """The energy of the part of a kernel that commutes with a subgroup.

    Attributes:
        energy: |P_H W|^2.
        dimensions: Of the space of H-equivariant kernels.
    """

    energy: float
    dimensions: float

    def __sub__(self, other: Energy) -> Energy:
        return Energy(self.energy - other.energy, self.dimensions - other.dimensions)

    @property
    def density(self) -> float:
        """Energy per dimension."""
        return max(self.energy, 0.0) / self.dimensions


@torch.no_grad()
def energy_within(space: WeightSpace, subgroup: Subgroup) -> Energy:
    """How much of a kernel commutes with a subgroup, and how many dimensions such kernels have.

        |P_H W|^2 = 1/|H| sum_h <W, h W>,     dim Fix(H) = 1/|H| sum_h (fixed entries of h)

    Example:
        >>> from equimorph.groups import group
        >>> from equimorph.spaces import KernelShape, TiedSpace
        >>> D4 = group("D4")
        >>> space = TiedSpace(KernelShape(D4, 1, 1, (3, 3)), D4.whole)
        >>> energy_within(space, D4.whole).dimensions, energy_within(space, D4.trivial).dimensions
        (72.0, 576.0)
    """
    shape, rows = space.shape, space.rows().double()
    images = kernel_images(subgroup, shape.target, shape.source, shape.kernel_size)
    products = sum(float((rows * rows[torch.from_numpy(image).to(rows.device)]).sum()) for image in images)
    fixed = int((images == np.arange(images.shape[1])).sum()) * shape.columns
    return Energy(products / subgroup.order, fixed / subgroup.order)


@lru_cache(maxsize=256)
def _coefficients(group: Group, members: tuple[Subgroup, ...]) -> NDArray[np.float64]:
    """Q_1, ..., Q_m as elements of the group algebra, shape (members, |G|).

    In the regular representation, where the group acts from the left, Fix(H) is spanned by the right translates of H's
    average, and the orthogonal projector on a sum of such spaces acts from the left as its image of the identity.
    """
    order = group.order
    columns: list[NDArray[np.float64]] = []
    found, before = [], np.zeros(order)
    for member in members:
        average = np.zeros((order, order))
        for h in member.indices:
            average[group.table[h], np.arange(order)] += 1 / member.order
        columns.append(average)
        vectors, values, _ = np.linalg.svd(np.concatenate(columns, axis=1), full_matrices=False)
        basis = vectors[:, values > 1e-9 * values[0]]
        image = basis @ basis[0]  # of the identity, which is element 0
        found.append(image - before)
        before = image
    return np.array(found)
