"""The augmented ordinary network made narrow: as many parameters as the network that is constrained to G."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.morphisms import constrain
from equimorph.search._base import Strategy, ambient_group
from equimorph.search.augmented import moved_batches, told
from equimorph.search.candidate import Member
from equimorph.search.session import Session
from equimorph.training import Trainer
from equimorph.training.settings import SeedBranch, derived_generator


@runtime_checkable
class Narrowable(Protocol):
    """A network that knows an ordinary one of its own shape at another width, such as `em.models.PaperNetwork`."""

    def narrowed(self, num_parameters: int, generator: torch.Generator) -> nn.Module:
        """An ordinary network (group C1) of the same shape whose number of parameters is the nearest to this."""
        ...


class Narrow(Strategy):
    """`Augmented` with as many parameters as static G has, instead of dense kernels of the same shape.

    Args:
        moves: The group that images are moved by, a subgroup of G; G itself when left out.
    Example:
        >>> Narrow().name
        'narrow'

    Source: the method's page, section 6.
    """

    def __init__(self, moves: str | None = None) -> None:
        self.moves = moves

    @property
    def name(self) -> str:
        """`narrow`, or `narrow:H` where the images are moved by H."""
        return "narrow" if self.moves is None else f"narrow:{self.moves}"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check that the subgroup exists, and that the network can be made narrow."""
        ambient = ambient_group(network)
        moved_by = ambient.whole if self.moves is None else ambient.subgroup(self.moves)
        if not isinstance(network, Narrowable):
            raise ConfigurationError(
                f"{self.name}: {type(network).__name__} cannot be built at another width; give it a method "
                "narrowed(num_parameters, generator), as em.models.PaperNetwork has."
            )
        return {"subgroups": [ambient.trivial.name], "generations": 0, "augmentation": told(trainer, moved_by)}

    def search(self, session: Session) -> list[Member]:
        """Train the one network."""
        ambient = ambient_group(session.network)
        assert isinstance(session.network, Narrowable)
        constrained = constrain(session.network, ambient.whole)
        num_parameters = sum(parameter.numel() for parameter in constrained.parameters())
        generator = derived_generator(session.trainer.settings.seed, SeedBranch.FRESH_VALUES)
        network = session.network.narrowed(num_parameters, generator)
        moved_by = ambient.whole if self.moves is None else ambient.subgroup(self.moves)
        return session.train_only(network, how=moved_batches(session.trainer, moved_by))
