"""The moves of the evolutionary search: from one chain of constraints to freer ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from equimorph.groups import Subgroup

Chain = tuple[Subgroup, ...]
"""One subgroup for each site, never growing with depth."""
MoveSet = Literal["paper", "tails"]


def one_step_relaxations(chain: Chain, members: Sequence[Subgroup]) -> dict[Chain, str]:
    """The paper's moves, each of a single site, with their descriptions.

    The last site may go to any proper subgroup in [G] of its constraint; a site before it to the constraint of the
    next site, where that is smaller.

    Args:
        chain: H_1 >= ... >= H_L.
        members: [G], the subgroups that are considered.
    Example:
        >>> from equimorph.groups import group
        >>> C1, C4, D4 = (group("D4").subgroup(name) for name in ("C1", "C4", "D4"))
        >>> list(one_step_relaxations((D4, C4), (C1, C4, D4)).values())
        ['site 2 to C1', 'site 1 to C4']

    Source: Maile, Wilson and Forré (2023), section 4.1.
    """
    last = len(chain) - 1
    found = {(*chain[:last], H): f"site {last + 1} to {H.name}" for H in _largest_first(members) if chain[last] > H}
    for site in range(last):
        if chain[site + 1] < chain[site]:
            moved = (*chain[:site], chain[site + 1], *chain[site + 1 :])
            found.setdefault(moved, f"site {site + 1} to {chain[site + 1].name}")
    return found


def tail_relaxations(chain: Chain, members: Sequence[Subgroup]) -> dict[Chain, str]:
    """For each site i and each H in [G] the move  H_j := H_j & H for all j >= i,  which frees the whole tail.

    A single freed site often shows no gain, since the sites before it have removed already what it could now see.
    A move is left out when it would lead outside [G] or change nothing.

    Args:
        chain: H_1 >= ... >= H_L.
        members: [G], the subgroups that are considered.
    Example:
        >>> from equimorph.groups import group
        >>> C4, D4 = (group("D4").subgroup(name) for name in ("C4", "D4"))
        >>> list(tail_relaxations((D4, D4), (C4, D4)).values())
        ['all sites to C4', 'site 2 to C4']
    """
    found: dict[Chain, str] = {}
    for first in range(len(chain)):
        for H in _largest_first(members):
            moved = (*chain[:first], *(K & H for K in chain[first:]))
            if moved[first] != chain[first] and all(K in members for K in moved):
                found.setdefault(moved, f"{_span(first, len(chain))} to {H.name}")
    return found


def relaxations(chain: Chain, members: Sequence[Subgroup], moves: MoveSet) -> dict[Chain, str]:
    """All moves of a set: "paper" are the one-step relaxations, "tails" these and the tail relaxations."""
    found = tail_relaxations(chain, members) if moves == "tails" else {}
    for moved, words in one_step_relaxations(chain, members).items():
        found.setdefault(moved, words)
    return found


def _largest_first(members: Sequence[Subgroup]) -> list[Subgroup]:
    return sorted(members, key=lambda H: (-H.order, H.indices))


def _span(first: int, length: int) -> str:
    if first == 0:
        return "all sites"
    return f"site {length}" if first == length - 1 else f"sites {first + 1} to {length}"
