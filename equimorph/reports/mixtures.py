"""What the mixtures of a run were made of, epoch by epoch, and what came out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from equimorph.reports.records import SKIP, Candidate, MixturePoint

Shares = Mapping[str, Mapping[str, float]]

_TIE = 1e-9  # shares closer than this are equal, and the larger group is taken, as em.discretize does


@dataclass(frozen=True)
class Trajectory:
    """The mixture along one lineage.

    Attributes:
        points: What it was made of, in order of epochs; at least one.
        sites: The sites that are mixtures, in order of depth.
        discretised_at: The epoch at which single subgroups took its place; None while it is a mixture.
        chosen: These subgroups by site; empty while it is a mixture.
        last_epoch: Where the lineage ends.
    """

    points: tuple[MixturePoint, ...]
    sites: tuple[str, ...]
    discretised_at: float | None
    chosen: Mapping[str, str]
    last_epoch: float

    @property
    def final(self) -> Shares:
        """The shares at its end."""
        return self.points[-1].shares

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Every subgroup that has a share somewhere."""
        return tuple(dict.fromkeys(name for shares in self.final.values() for name in shares))

    @cached_property
    def has_skip(self) -> bool:
        """Whether the identity is one more member somewhere."""
        return any(SKIP in portions for point in self.points for portions in point.weights.values())

    @property
    def final_skip(self) -> tuple[float, ...]:
        """z of each skip path at the end, in order of depth."""
        weights = self.points[-1].weights
        return tuple(weights[site][SKIP] for site in self.sites if SKIP in weights.get(site, {}))

    def portions(self, site: str) -> tuple[tuple[float, Mapping[str, float]], ...]:
        """What a site was made of at each epoch: its shares, or z for all sites where one of them has a skip path."""
        found = []
        for point in self.points:
            portions = point.weights.get(site) if self.has_skip else None
            found.append((point.epoch, portions or point.shares.get(site, {})))
        return tuple(found)

    @property
    def yielded(self) -> bool:
        """Whether some site took another subgroup than its dominant one."""
        return any(self.chosen[site] != dominant(self.final[site])[0] for site in self.chosen)


def follow_mixture(
    lineage: Sequence[Candidate], mixtures: Mapping[int, Sequence[MixturePoint]], *, sites: Sequence[str]
) -> Trajectory | None:
    """Put the mixtures of a lineage one after the other; None when there are none.

    What was trained anew from its beginning does not go on with the trajectory, and is left out.
    """
    points: list[MixturePoint] = []
    successor: Candidate | None = None
    for member in lineage:
        own = mixtures.get(member.id, ())
        if own and (not points or own[0].epoch >= points[-1].epoch):
            points += own
        elif points and not own:
            successor = member
            break
    if not points:
        return None
    mixed = tuple(site for site in sites if site in points[-1].shares)
    chosen = {} if successor is None else dict(zip(sites, successor.constraints, strict=True))
    return Trajectory(
        points=tuple(points),
        sites=mixed,
        discretised_at=None if successor is None else successor.first_epoch,
        chosen={site: name for site, name in chosen.items() if site in mixed},
        last_epoch=points[-1].epoch if successor is None else lineage[-1].last_epoch,
    )


def dominant(portions: Mapping[str, float]) -> tuple[str, float]:
    """The member with the largest share, and that share; of equal ones the first, which is the larger group.

    Example:
        >>> dominant({"D4": 0.4, "C4": 0.4, "C1": 0.2})
        ('D4', 0.4)
    """
    largest = max(portions.values())
    return next((name, share) for name, share in portions.items() if share > largest - _TIE)


def mean_shares(shares: Shares) -> dict[str, float]:
    """The share of each member on average over the sites; it has none where it is no member.

    Example:
        >>> mean_shares({"conv": {"D4": 0.75, "C4": 0.25}, "head": {"D4": 0.25, "C4": 0.75}})
        {'D4': 0.5, 'C4': 0.5}
    """
    names = dict.fromkeys(name for portions in shares.values() for name in portions)
    return {name: sum(portions.get(name, 0.0) for portions in shares.values()) / len(shares) for name in names}
