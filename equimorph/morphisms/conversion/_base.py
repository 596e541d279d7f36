"""What all conversions of a layer have in common: the setting, what is made, and why something is refused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import nn

from equimorph.groups import Group, Representation
from equimorph.layers import TiedParameter
from equimorph.morphisms.conversion.values import Weights
from equimorph.morphisms.conversion.widths import Widths
from equimorph.tracing import Feature


class RefusedError(Exception):
    """A layer that cannot be converted: why, and what to try."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True)
class Setting:
    """What all layers of a conversion have in common."""

    group: Group
    widths: Widths
    weights: Weights
    generator: torch.Generator | None


@dataclass
class Made:
    """A layer in the place of another.

    Attributes:
        module: The new layer, or a copy of the old one.
        tied: Parameters to bind in it, by name.
        notes: What had to be changed about it.
        distance: How far its weights were from commuting, where they were projected.
    """

    module: nn.Module
    tied: dict[str, TiedParameter] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    distance: float | None = None


def kind_of(feature: Feature) -> Representation:
    """The type of all channels of a feature.

    Raises:
        RefusedError: They are of several types.
    """
    kinds = {segment.term.kind for segment in feature.segments}
    if len(kinds) > 1:
        raise RefusedError(
            "it sees an image and features in one tensor, channels of two types",
            "bring the image to features by a convolution of its own before they are concatenated",
        )
    return kinds.pop() or "trivial"


def runs_of(feature: Feature) -> list[Feature]:
    """The parts of a feature whose neighbouring segments are of one type."""
    kinds = itertools.groupby(feature.segments, key=lambda segment: segment.term.kind)
    return [feature.having(list(segments)) for _, segments in kinds]
