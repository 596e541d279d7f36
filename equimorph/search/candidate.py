"""A candidate: an architecture at a point of its lineage, and what was measured of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from equimorph.training import TrainingState


@dataclass(frozen=True)
class Candidate:
    """What is on record of a candidate.

    Attributes:
        number: Its number in the run, from 0.
        parent: The candidate whose weights it began with; None for the first.
        generation: 0 for the first network.
        move: How its architecture came out of its parent's, in words.
        constraints: The name of each site's subgroup, in order of depth.
        parameters: Free parameters of the network.
        first_epoch: Where in the lineage its training began.
        last_epoch: Where it ended.
        samples: Training samples processed between the two.
        status: "trained", or "diverged" when its loss stopped being a finite number.
        diverged_at_step: The step of the lineage at which it did.
        validation_loss: At the end.
        validation_error: At the end, a fraction.
    """

    number: int
    parent: int | None
    generation: int
    move: str
    constraints: tuple[str, ...]
    parameters: int
    first_epoch: float
    last_epoch: float
    samples: int
    status: Literal["trained", "diverged"]
    diverged_at_step: int | None = None
    validation_loss: float | None = None
    validation_error: float | None = None

    def record(self) -> dict[str, Any]:
        """The line of the history for this candidate."""
        fields = asdict(self)
        return {"event": "candidate", "candidate": fields.pop("number"), **fields}


@dataclass(frozen=True)
class Member:
    """A trained candidate that may go on: its record, and its network and optimizer."""

    candidate: Candidate
    state: TrainingState

    @property
    def error(self) -> float:
        """Its validation error."""
        assert self.candidate.validation_error is not None
        return self.candidate.validation_error

    @property
    def parameters(self) -> int:
        """The number of its free parameters."""
        return self.candidate.parameters
