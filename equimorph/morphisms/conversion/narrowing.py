"""An ordinary network of the shape of a converted one, at the width that a number of parameters allows."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.errors import EquivarianceWarning
from equimorph.morphisms.nearest_width import nearest_width

_STEPS = 64  # to which parts of the model's own width it is chosen


@dataclass(frozen=True)
class Recipe:
    """What a network was converted from.

    Attributes:
        model: The user's network.
        example: The input that it was converted for.
        output: The type of its output.
        free: The modules that were left as they were.
    """

    model: nn.Module
    example: Tensor
    output: Any
    free: tuple[str, ...]

    def __deepcopy__(self, memo: dict[int, Any]) -> Recipe:
        return self

    def narrowed(self, num_parameters: int, generator: torch.Generator | None = None) -> nn.Module:
        """An ordinary network of the same shape (group C1), as wide as a number of parameters allows.

        Args:
            num_parameters: What it is to have; of the widths that were tried the one with the nearest number is taken.
            generator: Where the initial values are drawn from.
        """
        from equimorph.groups import group
        from equimorph.morphisms.conversion.equivariantize import equivariantize

        trivial = group("C1", dim=self.example.ndim - 2)

        def ordinary(width: int, generator: torch.Generator | None) -> nn.Module:
            options: dict[str, Any] = {"output": self.output, "free": self.free, "generator": generator}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EquivarianceWarning)  # the conversion to G has said it
                return equivariantize(self.model, trivial, self.example, width=width / _STEPS, **options)

        def size(width: int) -> int:
            return sum(parameter.numel() for parameter in ordinary(width, torch.Generator()).parameters())

        return ordinary(nearest_width(size, num_parameters), generator)
