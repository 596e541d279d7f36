"""What symmetry the labels of a data set can have, found before any training from samples that nearly coincide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from equimorph.data._base import ImageData
from equimorph.data.audit.coincidence import Distances, describe
from equimorph.data.audit.evidence import Scale, calibrate, weigh
from equimorph.data.audit.records import ContradictingPair, LabelAudit, SubgroupEvidence, Verdict
from equimorph.errors import ConfigurationError, DataError, ShapeError
from equimorph.groups import Group, Subgroup, search_groups

_MOST_SUBGROUPS = 16  # audited unless told otherwise; D4 has 10, Oh has 98
_SIGNIFICANT = 3.0  # standard errors
_FEWEST_SEEN = 30  # samples that must meet another one through a move before its absence of contradictions counts
_MOST_PAIRS = 6  # for each element; fewer for groups of many elements, so that all together are about 48
_MOST_ALIKE = 2  # of them, of the same two classes


def audit_labels(
    data: ImageData,
    group: Group,
    *,
    groups: Sequence[str] | None = None,
    num_samples: int = 4000,
    side: int | None = None,
    tolerance: float = 0.02,
    seed: int = 0,
) -> LabelAudit:
    """Bound the error of H-invariant classifiers from below, for subgroups H of G, and suggest which to search.

        error of any H-invariant classifier >= sum over H-orbits of p(orbit) (1 - max over y of p(y | orbit))      (1)

    Only the training split is looked at. Samples i and j are near through h if d_h(i, j) <= radius, see `coincidence`.
    The radius is the largest at which, without a move, at most a share `tolerance` of nearest neighbours have different
    labels, and at most as many of the samples in an orbit differ from most of it: near means "of the same label, unless
    the move changed it". Images that are equal are always near.

    The bound. Samples are divided into near-orbits: the one with most near samples (the first of equals) takes all of
    them, then the next among the rest, and so on; no random choice is made. (1) is then taken with shares of labels
    for p. A maximum of shares is on average above that of the probabilities, so the estimate is biased downwards, and
    a sample with no other one near adds 0. A classifier invariant under H is so under its subgroups: where one of them
    has a greater bound, H has it too. The standard error takes near-orbits for independent.

    Contradiction. Among samples whose nearest other one through a move is within the radius, those of another label
    are counted, and compared with how many there would be among neighbours as near without a move (an isotonic fit,
    never below the tolerance). H is ruled out where they are more by three standard errors, several samples with the
    same neighbour taken as one observation; and with it all groups that contain H.

    Args:
        data: Its training split is used, as it lies in memory.
        group: G.
        groups: Names of the subgroups to audit, beside C1; left out, all of G's, or those of `search_groups` where G
            has more than 16.
        num_samples: How many samples to compare, each class with its share; all if there are fewer. Time and memory
            grow with the square: 2 bytes for every two samples and element, 224 MiB for 4,000 and D4.
        side: Pixels to which samples are reduced, see `describe`.
        tolerance: The share of wrong labels that sets the radius, above 0 and below 1/2.
        seed: Of the choice of samples, not negative.
    Raises:
        GroupError: G has no subgroup of that name.
        ShapeError: G moves another number of axes than the samples have, or exchanges axes of different lengths.
        ConfigurationError: A number is out of range.
        DataError: There are fewer than two samples.
    Example:
        >>> from equimorph.data import Split
        >>> from equimorph.groups import group
        >>> base = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> x = torch.cat([base, base.flip(3)])  # class 1 holds the mirror images of class 0
        >>> split = Split(x, torch.arange(40) // 20)
        >>> found = audit_labels(ImageData.from_splits("mirrors", split, split, split, classes=("b", "d")), group("D1"))
        >>> [(member.name, member.bound, member.verdict) for member in found.evidence]
        [('C1', 0.0, 'trivial'), ('D1@90', 0.5, 'ruled out')]

    Source: (1) is the lower bound for invariant classification of Wang et al. (2023), A General Theory of Correct,
        Incorrect, and Extrinsic Equivariance. Near-orbits in place of orbits, the radius and the test are ours.
    """
    subgroups = _audited(group, groups)
    _check(data, group, num_samples, tolerance, seed)
    rows = _choose_samples(data.train.y, num_samples, seed)
    labels = data.train.y[rows]
    distances = Distances(describe(data.train.x[rows], side=side), group)
    scale = calibrate(distances, labels, tolerance)
    evidence = _judge([weigh(H, distances, labels, scale) for H in subgroups], subgroups, distances, scale)
    return LabelAudit(
        data=data.name,
        group=group,
        num_samples=len(rows),
        num_train=len(data.train),
        tolerance=tolerance,
        radius=scale.radius,
        neighbour_error=scale.neighbour_error,
        evidence=evidence,
        pairs=_find_pairs(data, rows, distances, scale),
        suggested=_suggest(group, {member.name: member for member in evidence}),
    )


def _audited(group: Group, names: Sequence[str] | None) -> list[Subgroup]:
    if names is None:
        every = group.subgroups()
        return list(every if len(every) <= _MOST_SUBGROUPS else search_groups(group))
    chosen = {group.trivial, *(group.subgroup(name) for name in names)}
    return [H for H in group.subgroups() if H in chosen]


def _check(data: ImageData, group: Group, num_samples: int, tolerance: float, seed: int) -> None:
    if data.dim != group.dim:
        raise ShapeError(
            f"audit_labels: {group.name} moves {group.dim} axes and samples of {data.name} have {data.dim}; "
            "take a group of that dimension."
        )
    sides = data.train.x.shape[2:]
    exchanges = (abs(group.elements).argmax(2) != np.arange(group.dim)).any()
    if exchanges and len(set(sides)) > 1:
        raise ShapeError(
            f"audit_labels: {group.name} exchanges axes, and samples of {data.name} have sides {tuple(sides)}; "
            "crop them to equal sides, or take a group that keeps axes, such as D2."
        )
    if num_samples < 2:
        raise ConfigurationError(f"audit_labels: num_samples {num_samples}, needed at least 2.")
    if not 0 < tolerance < 0.5:
        raise ConfigurationError(f"audit_labels: tolerance {tolerance}, needed above 0 and below 0.5.")
    if seed < 0:
        raise ConfigurationError(f"audit_labels: seed {seed}, needed at least 0.")
    if len(data.train) < 2:
        raise DataError(f"audit_labels: {data.name} has one training sample; there must be two to compare.")


def _choose_samples(labels: Tensor, count: int, seed: int) -> Tensor:
    """Rows of a random choice in which each class has its share: its k-th of n stands at (k + 1/2) / n."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    places = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = (labels[shuffled] == label).nonzero()[:, 0]
        places[members] = (torch.arange(len(members)) + 0.5).double() / len(members)
    return shuffled[places.argsort(stable=True)[:count]].sort().values


def _judge(
    weighed: list[SubgroupEvidence], subgroups: list[Subgroup], distances: Distances, scale: Scale
) -> tuple[SubgroupEvidence, ...]:
    """Verdicts, which follow from all subgroups together, and bounds that never fall in a larger group."""
    group = distances.group
    met = [h for h in range(1, group.order) if _num_seen(distances, group, h, scale.radius) >= _FEWEST_SEEN]
    refuted = [H for H, member in zip(subgroups, weighed, strict=True) if member.score >= _SIGNIFICANT]
    judged = []
    for H, member in zip(subgroups, weighed, strict=True):
        reasons = [K for K in refuted if K <= H]
        least = tuple(K.name for K in reasons if not any(other < K for other in reasons))
        verdict: Verdict = "possible" if _is_generated(H, met) else "unseen"
        if H.order == 1:
            verdict = "trivial"
        elif least:
            verdict = "ruled out"
        source = max((below for K, below in zip(subgroups, weighed, strict=True) if K <= H), key=lambda e: e.bound)
        if source.bound > member.bound:
            member = replace(member, bound=source.bound, standard_error=source.standard_error)
        judged.append(replace(member, verdict=verdict, ruled_out_by=least))
    return tuple(judged)


def _is_generated(subgroup: Subgroup, elements: Sequence[int]) -> bool:
    inside = [element for element in elements if element in subgroup]
    return subgroup.group.subgroup_generated_by(inside) == subgroup


def _num_seen(distances: Distances, group: Group, element: int, radius: float) -> int:
    nearest, _ = distances.nearest({element, int(group.inverses[element])})
    return int((nearest <= radius).sum())


def _find_pairs(data: ImageData, rows: Tensor, distances: Distances, scale: Scale) -> tuple[ContradictingPair, ...]:
    """For each element (of two inverses, one) the nearest pairs whose members are both near their own class."""
    group, labels = distances.group, data.train.y[rows]
    most = max(1, min(_MOST_PAIRS, 8 * _MOST_PAIRS // group.order))
    pairs = []
    for element in range(1, group.order):
        if group.inverses[element] < element:
            continue
        nearest, neighbour = distances.nearest([element])
        is_pair = (nearest <= scale.radius) & (labels != labels[neighbour]) & scale.trusted & scale.trusted[neighbour]
        candidates = is_pair.nonzero()[:, 0]
        used: set[int] = set()
        alike: dict[frozenset[int], int] = {}
        for first in candidates[nearest[candidates].argsort(stable=True)].tolist():
            second = int(neighbour[first])
            kinds = frozenset(int(labels[sample]) for sample in (first, second))
            if {first, second} & used or alike.get(kinds, 0) == _MOST_ALIKE:
                continue
            used |= {first, second}
            alike[kinds] = alike.get(kinds, 0) + 1
            names = [data.classes[int(labels[sample])] for sample in (first, second)]
            distance = float(nearest[first])
            pairs.append(ContradictingPair(int(rows[first]), int(rows[second]), element, names[0], names[1], distance))
            if sum(alike.values()) == most:
                break
    return tuple(pairs)


def _suggest(group: Group, evidence: dict[str, SubgroupEvidence]) -> tuple[str, ...]:
    """C1, G, those that `search_groups` offers unless ruled out, and the intersections of what was kept."""
    offered = {H.name for H in search_groups(group)}
    kept = {
        H
        for H in group.subgroups()
        if H.name in offered and H.name in evidence and evidence[H.name].verdict != "ruled out"
    }
    kept |= {group.trivial, group.whole}
    while new := {H & K for H in kept for K in kept} - kept:
        kept |= new
    return tuple(H.name for H in group.subgroups() if H in kept)
