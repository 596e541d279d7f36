"""EquiNAS_D with the architecture gradient shuffled: what its direction is worth."""

from __future__ import annotations

from typing import Any

from torch import nn

from equimorph.search._base import Strategy
from equimorph.search.candidate import Member
from equimorph.search.differentiable import Differentiable
from equimorph.search.session import Session
from equimorph.training import Trainer


class RandomSteps(Strategy):
    """The differentiable search, except that the gradient's entries are permuted among all logits before each step.

    Args:
        options: Those of `Differentiable`.
    Example:
        >>> RandomSteps(start="uniform").name
        'random-steps'

    Source: Maile, Wilson and Forré (2023), section 5.
    """

    def __init__(self, **options: Any) -> None:
        self._search = Differentiable(**options, shuffle=True)
        # As the search keeps them, that is with subgroups by name, since this goes into config.yaml.
        self.options = {key: value for key, value in vars(self._search).items() if key[0] != "_"}

    @property
    def name(self) -> str:
        """`random-steps`."""
        return "random-steps"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """As of the differentiable search."""
        return self._search.plan(network, trainer)

    def search(self, session: Session) -> list[Member]:
        """Train the mixture, and what comes out of it."""
        return self._search.search(session)
