"""A fixed architecture, trained from scratch: one subgroup for all sites, or a chain written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.groups import Subgroup
from equimorph.inspection import check_chain, sites
from equimorph.search._base import Strategy, ambient_group
from equimorph.search.candidate import Member
from equimorph.search.session import Session
from equimorph.training import Trainer


class Static(Strategy):
    """Every site constrained as told, weights drawn anew, trained for the whole lineage.

    Args:
        constraints: One subgroup for all sites, or one for each site, never growing with depth.
    Example:
        >>> Static("C4").name, Static(["D4", "C4", "C1"]).name
        ('static:C4', 'chain:D4,C4,C1')
    """

    def __init__(self, constraints: str | Sequence[str]) -> None:
        self.constraints = constraints if isinstance(constraints, str) else list(constraints)

    @property
    def name(self) -> str:
        """`static:H` or `chain:H1,H2,...`."""
        if isinstance(self.constraints, str):
            return f"static:{self.constraints}"
        return f"chain:{','.join(self.constraints)}"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check that the subgroups exist, that there is one for each site, and that they never grow with depth."""
        chain = self._chain(network)
        check_chain(chain)
        names = {H.name: None for H in sorted(chain.values(), key=lambda H: (H.order, H.indices))}
        return {"subgroups": list(names), "generations": 0}

    def search(self, session: Session) -> list[Member]:
        """Train the one network."""
        return session.train_only(session.fresh(self._chain(session.network)))

    def _chain(self, network: nn.Module) -> dict[str, Subgroup]:
        ambient = ambient_group(network)
        names = list(sites(network))
        given = [self.constraints] * len(names) if isinstance(self.constraints, str) else self.constraints
        if len(given) != len(names):
            raise ConfigurationError(
                f"{self.name}: {len(given)} subgroups for {len(names)} sites; there are {', '.join(names)}."
            )
        return {name: ambient.subgroup(subgroup) for name, subgroup in zip(names, given, strict=True)}
