"""The architecture that a search found, trained from scratch: what its weights are worth beside its choice."""

from __future__ import annotations

from typing import Any

from torch import nn

from equimorph.inspection import check_chain, sites
from equimorph.morphisms import reinitialize
from equimorph.search._base import Strategy
from equimorph.search.candidate import Member
from equimorph.search.run_folder import load_architecture
from equimorph.search.session import Session
from equimorph.training import Trainer, architecture_parameters
from equimorph.training.settings import SeedBranch, derived_generator


class Retrain(Strategy):
    """The constraints of a run's best network, weights drawn anew, trained for the whole lineage.

    The weights z of a mixture are part of the architecture: they are taken over and held fixed.

    Args:
        run: The folder of a finished run, on a network with the same sites.
    Example:
        >>> Retrain("runs/first").name
        'retrain:runs/first'

    Source: the method's page, section 6.
    """

    def __init__(self, run: str) -> None:
        self.run_folder = run

    @property
    def name(self) -> str:
        """`retrain:RUN`."""
        return f"retrain:{self.run_folder}"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check that the run is finished, and that its sites are those of the network."""
        constraints = sites(load_architecture(self.run_folder, network))
        check_chain(constraints)
        names = {H.name: None for H in sorted(constraints.values(), key=lambda H: (H.order, H.indices))}
        return {"subgroups": list(names), "generations": 0}

    def search(self, session: Session) -> list[Member]:
        """Train the one network."""
        found = load_architecture(self.run_folder, session.network)
        for logits in architecture_parameters(found):
            logits.requires_grad_(False)
        generator = derived_generator(session.trainer.settings.seed, SeedBranch.FRESH_VALUES)
        return session.train_only(reinitialize(found, generator))
