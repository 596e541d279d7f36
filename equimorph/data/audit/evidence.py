"""What counts as near, and the numbers that speak against labels which are invariant under one subgroup."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from equimorph.data.audit.coincidence import Distances
from equimorph.data.audit.records import SubgroupEvidence
from equimorph.groups import Subgroup

_EXACT = 0.004  # distances of equal images, from rounding, stay below; equal images are always near


@dataclass(frozen=True)
class Scale:
    """What nearness means, from nearest neighbours without a move; `trusted` samples have one of their own label."""

    radius: float
    tolerance: float
    neighbour_error: float
    trusted: Tensor
    knots: np.ndarray
    rates: np.ndarray

    def rate(self, distance: Tensor) -> Tensor:
        """How often neighbours at these distances have different labels, without a move."""
        known = np.interp(distance.numpy(), self.knots, self.rates)
        return torch.from_numpy(np.maximum(known, self.tolerance))


def calibrate(distances: Distances, labels: Tensor, tolerance: float) -> Scale:
    """The radius that `audit_labels` tells of, and how often neighbours differ at each distance."""
    from sklearn.isotonic import IsotonicRegression

    nearest, neighbour = distances.nearest([0])
    differs = (labels != labels[neighbour]).double()
    knots, order = nearest.sort(stable=True)
    share = differs[order].cumsum(0) / torch.arange(1, len(order) + 1)
    # Equal distances stand or fall together.
    ends = torch.cat([knots[1:] > knots[:-1], torch.ones(1, dtype=torch.bool)])
    fitting = (ends & (share <= tolerance)).nonzero()[:, 0]
    last = int(fitting[-1]) if len(fitting) else -1
    radius = max(_shrink(knots[: last + 1], distances.through([0]), labels, tolerance), _EXACT)
    rates = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(knots.numpy(), differs[order].numpy())
    return Scale(radius, tolerance, float(differs.mean()), differs == 0, knots.numpy(), np.asarray(rates))


def _shrink(radii: Tensor, distances: Tensor, labels: Tensor, tolerance: float) -> float:
    """The largest of these radii at which few samples differ from most of their orbit, found by bisection.

    The share grows with the radius but for small steps, for which a slightly smaller one may be found.
    """
    fits, fails = -1, len(radii)
    trial = fails - 1
    while fails - fits > 1:
        sizes, errors = _count_errors(distances <= radii[trial], labels)
        joined = float((sizes - 1).sum())
        fits, fails = (trial, fails) if float(errors.sum()) <= tolerance * joined else (fits, trial)
        trial = (fits + fails) // 2
    return float(radii[fits]) if fits >= 0 else 0.0


def weigh(subgroup: Subgroup, distances: Distances, labels: Tensor, scale: Scale) -> SubgroupEvidence:
    """The numbers about one subgroup, before any verdict."""
    near = distances.through(subgroup.indices) <= scale.radius
    sizes, errors = _count_errors(near, labels)
    bound = float(errors.sum()) / len(labels)
    spread = float((errors - bound * sizes).square().sum().sqrt()) / len(labels)
    near.fill_diagonal_(False)
    coverage = float(near.any(1).double().mean())
    nearest, neighbour = distances.nearest(subgroup.indices[1:])
    seen = nearest <= scale.radius
    differs = (labels != labels[neighbour])[seen].double()
    expected = scale.rate(nearest[seen])
    return SubgroupEvidence(
        name=subgroup.name,
        order=subgroup.order,
        bound=bound,
        standard_error=spread,
        coverage=coverage,
        seen=int(seen.sum()),
        contradicting=int(differs.sum()),
        expected=float(expected.sum()),
        score=_score(differs, expected, neighbour[seen], len(labels)),
        verdict="trivial",
        ruled_out_by=(),
    )


def _count_errors(near: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The size of each near-orbit, and how many in it do not have its most frequent label."""
    orbits = _near_orbits(near.clone().fill_diagonal_(True))
    sizes = torch.tensor([len(orbit) for orbit in orbits], dtype=torch.float64)
    return sizes, sizes - torch.tensor([int(labels[orbit].bincount().max()) for orbit in orbits])


def _near_orbits(near: Tensor) -> list[Tensor]:
    """The samples in disjoint sets, each taken by the one of most near samples among those that are left over."""
    free = torch.ones(len(near), dtype=torch.bool)
    orbits = []
    for centre in near.sum(1).argsort(descending=True, stable=True).tolist():
        if free[centre]:
            members = (near[centre] & free).nonzero()[:, 0]
            free[members] = False
            orbits.append(members)
    return orbits


def _score(differs: Tensor, expected: Tensor, neighbour: Tensor, count: int) -> float:
    """The surplus of different labels in standard errors; those who share a neighbour vary together."""
    surplus = differs - expected
    if len(surplus) == 0:
        return 0.0
    shared = torch.zeros(count, dtype=torch.float64).index_add_(0, neighbour, surplus)
    variance = max(float(shared.square().sum()), float((expected * (1 - expected)).sum()))
    return float(surplus.sum()) / math.sqrt(variance)
