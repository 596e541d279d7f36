"""An image and features that were concatenated: a layer for each type of channels, in the place of one for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SumOverParts(nn.Module):
    """Divide the channels, map each part by a convolution of its own, and add up.

        W x = sum_i W_i x_i,     x = (x_1, x_2, ...)

    which is one convolution of all channels, and lets each W_i be equivariant for the type of its part.

    Args:
        parts: The convolutions, all with the same output.
        channels: The channels of each part.
    Shapes:
        Input (batch, sum of channels, *spatial).
    """

    def __init__(self, parts: Sequence[nn.Module], channels: Sequence[int]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.channels = list(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map each part and add up."""
        pieces = x.split(self.channels, dim=1)
        total: Tensor = self.parts[0](pieces[0])
        for number in range(1, len(self.channels)):
            total = total + self.parts[number](pieces[number])
        return total


class EachPart(nn.Module):
    """Divide the channels and give each part to a layer of its own, such as a norm.

        y = (f_1(x_1), f_2(x_2), ...),     x = (x_1, x_2, ...)

    Args:
        parts: The layers, which keep the number of channels.
        channels: The channels of each part.
    Shapes:
        Input and output (batch, sum of channels, *spatial).
    """

    def __init__(self, parts: Sequence[nn.Module], channels: Sequence[int]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.channels = list(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map each part."""
        pieces = x.split(self.channels, dim=1)
        return torch.cat([part(pieces[number]) for number, part in enumerate(self.parts)], dim=1)
