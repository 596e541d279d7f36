"""A convolution of an image and features that were concatenated: one convolution for each type, and their sum."""

from __future__ import annotations

from collections.abc import Sequence

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
