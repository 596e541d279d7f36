"""An ordinary network of the shape of a converted one, at the width that a number of parameters allows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from equimorph.errors import EquivarianceWarning
from equimorph.morphisms.nearest_width import nearest_width

_STEPS = 64  # to which parts of the model's own width it is chosen


@dataclass(frozen=True)
class Recipe:
    """How a network is converted to the group C1, at any width.

    Attributes:
        convert: Takes `width`, a number, and `generator`; gives the network.
    """

    convert: Callable[..., nn.Module]

    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe:
        return self

    def narrowed(self, num_parameters: int, generator: torch.Generator | None = None) -> nn.Module:
        """An ordinary network of the same shape (group C1), as wide as a number of parameters allows.

        Args:
            num_parameters: What it is to have; of the widths that were tried the one with the nearest number is taken.
            generator: Where the initial values are drawn from.
        """

        def ordinary(width: int, generator: torch.Generator | None) -> nn.Module:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EquivarianceWarning)  # the conversion to G has said it
                return self.convert(width=width / _STEPS, generator=generator)

        def size(width: int) -> int:
            return sum(parameter.numel() for parameter in ordinary(width, torch.Generator()).parameters())

        return ordinary(nearest_width(size, num_parameters), generator)
