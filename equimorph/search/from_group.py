"""Constrained to H, initialised by relaxing a G-equivariant network: what the initial values alone are worth."""

from __future__ import annotations

from typing import Any

from torch import nn

from equimorph.morphisms import relax
from equimorph.search._base import Strategy, ambient_group
from equimorph.search.candidate import Member
from equimorph.search.session import Session
from equimorph.training import Trainer


class FromGroup(Strategy):
    """Every site constrained to H and trained for the whole lineage, from the initial values of a network at G.

    Args:
        subgroup: H.
    Example:
        >>> FromGroup("C4").name
        'from-G:C4'

    Source: Maile, Wilson and Forré (2023), section 5.
    """

    def __init__(self, subgroup: str) -> None:
        self.subgroup = subgroup

    @property
    def name(self) -> str:
        """`from-G:H`."""
        return f"from-G:{self.subgroup}"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check that the subgroup exists."""
        return {"subgroups": [ambient_group(network).subgroup(self.subgroup).name], "generations": 0}

    def search(self, session: Session) -> list[Member]:
        """Train the one network."""
        start = session.fresh(ambient_group(session.network).whole)
        return session.train_only(relax(start, self.subgroup))
