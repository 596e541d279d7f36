"""A random architecture, trained from scratch: what choosing is worth at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from equimorph.groups import Subgroup
from equimorph.inspection import sites
from equimorph.search._base import Strategy, members_with_whole
from equimorph.search.candidate import Member
from equimorph.search.session import Session
from equimorph.training import Trainer
from equimorph.training.settings import SeedBranch, derived_generator


class RandomStatic(Strategy):
    """One sequence H_1 >= ... >= H_L, uniform among all admissible ones of members of [G], from scratch.

    Args:
        groups: [G]; `em.search_groups` when left out. G itself is always one of them.
    Example:
        >>> RandomStatic().name
        'random-static'

    Source: Maile, Wilson and Forré (2023), section 5.
    """

    def __init__(self, *, groups: Sequence[str | Subgroup] | None = None) -> None:
        self.groups = None if groups is None else [str(subgroup) for subgroup in groups]

    @property
    def name(self) -> str:
        """`random-static`."""
        return "random-static"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check that the subgroups exist."""
        return {"subgroups": [H.name for H in members_with_whole(network, self.groups)], "generations": 0}

    def search(self, session: Session) -> list[Member]:
        """Train the one network."""
        seed, names = session.trainer.settings.seed, list(sites(session.network))
        members = members_with_whole(session.network, self.groups)
        chain = random_chain(members, len(names), derived_generator(seed, SeedBranch.CHAINS))
        return session.train_only(session.fresh(dict(zip(names, chain, strict=True))))


def random_chain(members: Sequence[Subgroup], length: int, generator: torch.Generator) -> list[Subgroup]:
    """A sequence of members that never grow, each admissible one as likely as any other.

    Example:
        >>> from equimorph.groups import search_groups
        >>> [H.name for H in random_chain(search_groups("D4"), 3, torch.Generator().manual_seed(0))]
        ['D4', 'D4', 'D4']
    """
    # counts[k][H]: the admissible sequences of length k that begin with H.
    counts = [dict.fromkeys(members, 1)]
    for _ in range(length - 1):
        counts.append({H: sum(number for K, number in counts[-1].items() if K <= H) for H in members})
    chain: list[Subgroup] = []
    for remaining in reversed(counts):
        choices = [H for H in members if not chain or H <= chain[-1]]
        shares = torch.tensor([float(remaining[H]) for H in choices], dtype=torch.float64)
        chain.append(choices[int(torch.multinomial(shares, 1, generator=generator))])
    return chain
