"""EquiNAS_E with a random choice of parents: what selecting is worth."""

from __future__ import annotations

from typing import Any

from torch import nn

from equimorph.search._base import Strategy
from equimorph.search.candidate import Member
from equimorph.search.evolutionary import Evolutionary
from equimorph.search.selection import draw
from equimorph.search.session import Session
from equimorph.training import Trainer


class RandomSelection(Strategy):
    """The evolutionary search, except that the parents of each generation are drawn at random.

    As many go on as `population` says. The best of the last generation is still chosen by validation error.

    Args:
        options: Those of `Evolutionary`.
    Example:
        >>> RandomSelection(generations=2).name
        'random-selection'

    Source: Maile, Wilson and Forré (2023), section 5.
    """

    def __init__(self, **options: Any) -> None:
        self._search = Evolutionary(**options, choose=draw)
        # As the search keeps them, that is with subgroups by name, since this goes into config.yaml.
        self.options = {key: value for key, value in vars(self._search).items() if key[0] != "_"}

    @property
    def name(self) -> str:
        """`random-selection`."""
        return "random-selection"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """As of the evolutionary search."""
        return self._search.plan(network, trainer)

    def search(self, session: Session) -> list[Member]:
        """Run the generations."""
        return self._search.search(session)
