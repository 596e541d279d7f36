"""The ordinary network with random turns and mirrors of the images: what one does without symmetry in the layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from equimorph.groups import Subgroup
from equimorph.search._base import Strategy, ambient_group
from equimorph.search.candidate import Member
from equimorph.search.session import How, Session
from equimorph.training import Trainer


class Augmented(Strategy):
    """Every site free (C1), and each training image moved by a random element of a group, drawn anew every time.

    Args:
        moves: The group that images are moved by, a subgroup of G; G itself when left out.
    Example:
        >>> Augmented().name, Augmented("C4").name
        ('augmented', 'augmented:C4')

    Source: the method's page, section 6.
    """

    def __init__(self, moves: str | None = None) -> None:
        self.moves = moves

    @property
    def name(self) -> str:
        """`augmented`, or `augmented:H` where the images are moved by H."""
        return "augmented" if self.moves is None else f"augmented:{self.moves}"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check that the subgroup exists."""
        ambient = ambient_group(network)
        moved_by = ambient.whole if self.moves is None else ambient.subgroup(self.moves)
        return {"subgroups": [ambient.trivial.name], "generations": 0, "augmentation": told(trainer, moved_by)}

    def search(self, session: Session) -> list[Member]:
        """Train the one network."""
        ambient = ambient_group(session.network)
        moved_by = ambient.whole if self.moves is None else ambient.subgroup(self.moves)
        return session.train_only(session.fresh(ambient.trivial), how=moved_batches(session.trainer, moved_by))


def told(trainer: Trainer, moved_by: Subgroup) -> str:
    """The augmentation as it is put on record: the group's name alone where samples are changed in no other way."""
    return str(replace(trainer.augmentation, move=moved_by.name)) if str(trainer.augmentation) else moved_by.name


def moved_batches(trainer: Trainer, moved_by: Subgroup) -> How:
    """Training on images that are moved by random elements of a group."""
    augmentation = replace(trainer.augmentation, move=moved_by.name)
    return How(batches=trainer.batches_of(trainer.train_samples, augmentation=augmentation))
