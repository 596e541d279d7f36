"""How many fields take the place of a number of channels, and which subdivision of them is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from equimorph.errors import ConfigurationError
from equimorph.groups import Group
from equimorph.tracing import Segment

Width = Literal["cost", "parameters", "fields"]


class Widths:
    """The rule by which channels become fields.

    Args:
        width: "cost" for ceil(C / |G|) fields, "parameters" for ceil(C / sqrt(|G|)), "fields" for C; a number f for
            ceil(f C).
        group: G.
    Raises:
        ConfigurationError: Another word, or a number that is not positive.
    Example:
        >>> from equimorph.groups import group
        >>> [Widths(width, group("D4")).fields(20) for width in ("cost", "parameters", "fields", 0.5)]
        [3, 8, 20, 10]
    """

    def __init__(self, width: Width | float, group: Group) -> None:
        if isinstance(width, str) and width not in get_args(Width):
            known = ", ".join(get_args(Width))
            raise ConfigurationError(f'equivariantize: width is "{width}"; it is one of {known}, or a number.')
        if not isinstance(width, str) and not width > 0:
            raise ConfigurationError(f"equivariantize: width is {width}; as a number it must be positive.")
        self.order = group.order
        factors = {"cost": 1 / group.order, "parameters": 1 / math.sqrt(group.order), "fields": 1.0}
        self._factor = factors[width] if isinstance(width, str) else float(width)
        self.is_cost = width == "cost"

    def fields(self, channels: int) -> int:
        """Fields in the place of so many channels."""
        if self.is_cost:
            return -(-channels // self.order)
        return max(1, math.ceil(self._factor * channels - 1e-9))

    def fields_of(self, segments: Sequence[Segment]) -> int:
        """Fields in the place of segments, each of which is a whole number of them."""
        return sum(self.fields(segment.channels) for segment in segments)

    def channels_of(self, segments: Sequence[Segment]) -> int:
        """Channels in the place of segments, of any type."""
        return sum(
            self.fields(segment.channels) * self.order if segment.term.kind == "regular" else segment.channels
            for segment in segments
        )


def largest_divisor(most: int, *numbers: int) -> int:
    """The largest number up to `most` that divides all of these.

    Example:
        >>> largest_divisor(32, 16, 24)
        8
    """
    common = math.gcd(*numbers)
    return max(divisor for divisor in range(1, min(most, common) + 1) if common % divisor == 0)
