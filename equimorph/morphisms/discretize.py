"""Out of a mixture: the best admissible sequence of single subgroups, by dynamic programming over depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import nn

from equimorph.errors import SiteError
from equimorph.groups import Subgroup
from equimorph.layers import Site, SpaceLayer, sites_of
from equimorph.morphisms.relax import constrain
from equimorph.spaces import Mixture

Module = TypeVar("Module", bound=nn.Module)

_TIE = 1e-9  # log shares closer than this are equal, and the larger group is taken
_SMALLEST_SHARE = 1e-30  # so that a share of zero has a logarithm


Shares = Mapping[str, Mapping[str, float]]
"""For each site, the share of each member by name, as `em.mixture_shares` gives them."""


def discretize(module: Module, *, start: Shares | None = None) -> Module:
    """Give each mixture the single subgroup that suits it, such that constraints never grow with depth.

        maximise  sum_l log share_l(H_l)   over   H_1 >= H_2 >= ... >= H_L,     w := E_H^-1( P_H(W) )

    where the share of a member is z for untied mixtures, and its part of the energy |W|^2 for the others. Ties go to
    the larger group. Sites that are no mixtures keep their constraint. Norms are relaxed with their site.

    A share that began large, as that of G under a prior start, is still large after a short training, whatever the
    data say. With the shares at the start given, what counts is share / share at the start, as a likelihood is a
    posterior over its prior; after a uniform start this is the same.

    Args:
        module: A layer or network with mixtures from `em.mix`.
        start: The shares before training, by site (`em.mixture_shares` of the network then).
    Returns:
        A new module; `module` is left as it was. Its function is another one unless the shares are one-hot.
    Raises:
        SiteError: There are no mixtures, or no admissible sequence through the sites that are none.
    Example:
        >>> from equimorph.inspection import sites
        >>> from equimorph.layers import Conv2d
        >>> from equimorph.morphisms import mix
        >>> network = mix(nn.Sequential(Conv2d(1, 2, 3, group="D4", source="trivial"), Conv2d(2, 2, 3, group="D4")))
        >>> network[1].space.member_names[:3]
        ('D4', 'C4', 'D2@0')
        >>> network[1].space.logits.data[1] = 1.0
        >>> [constraint.name for constraint in sites(discretize(network)).values()]
        ['D4', 'C4']

    Source: the method's page, section 5; the shares relative to the start are ours.
    """
    chain = best_chain(module, start)
    return constrain(module, chain[""] if isinstance(module, SpaceLayer) else chain)


def best_chain(network: nn.Module, start: Shares | None = None) -> dict[str, Subgroup]:
    """The sequence that `discretize` takes, by site."""
    sites = sites_of(network)
    if not any(isinstance(site.layer.space, Mixture) for site in sites.values()):
        raise SiteError(f"discretize: {type(network).__name__} has no mixtures; make some with em.mix.")
    scores = {name: _scores(site, None if start is None else start[name]) for name, site in sites.items()}
    chain = best_sequence(list(scores.values()))
    if chain is None:
        raise SiteError(
            "discretize: no sequence of members has constraints that never grow with depth; mix every site over one "
            "list of subgroups."
        )
    return dict(zip(scores, chain, strict=True))


def _scores(site: Site, start: Mapping[str, float] | None) -> dict[Subgroup, float]:
    space = site.layer.space
    if not isinstance(space, Mixture):
        return {site.constraint: 1.0}
    shares = space.shares()
    before = dict.fromkeys(shares, 1.0) if start is None else start
    return {member: shares[member.name] / max(before[member.name], _SMALLEST_SHARE) for member in space.members}


def best_sequence(scores: Sequence[Mapping[Subgroup, float]]) -> list[Subgroup] | None:
    """The sequence H_1 >= H_2 >= ... of greatest sum of log scores, ties to the larger group; None if there is none.

    Example:
        >>> from equimorph.groups import group
        >>> C4, D4 = (group("D4").subgroup(name) for name in ("C4", "D4"))
        >>> [H.name for H in best_sequence([{C4: 0.6, D4: 0.4}, {C4: 0.1, D4: 0.9}])]
        ['D4', 'D4']
    """
    # For each member of a depth the best sum from there on, and the member after it; from the last depth to the first.
    best: list[dict[Subgroup, tuple[float, Subgroup | None]]] = []
    for members in reversed(scores):
        at_depth: dict[Subgroup, tuple[float, Subgroup | None]] = {}
        for H, score in members.items():
            following = _largest({K: total for K, (total, _) in best[-1].items() if K <= H}) if best else None
            if following is not None or not best:
                rest = 0.0 if following is None else best[-1][following][0]
                at_depth[H] = math.log(max(score, _SMALLEST_SHARE)) + rest, following
        best.append(at_depth)
    current = _largest({H: total for H, (total, _) in best[-1].items()})
    chain: list[Subgroup] = []
    for at_depth in reversed(best):
        if current is None:
            return None
        chain.append(current)
        current = at_depth[current][1]
    return chain


def _largest(totals: Mapping[Subgroup, float]) -> Subgroup | None:
    """Of the members whose total is the greatest, the largest."""
    if not totals:
        return None
    top = max(totals.values())
    return max((H for H, total in totals.items() if total >= top - _TIE), key=lambda H: (H.order, H.indices))
