"""Pooling whose windows sit symmetrically on every input size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, ShapeError


def keeps_grid(size: int, window: int, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> bool:
    """Whether a sliding window samples a grid that a mirror maps to itself.

        (N + 2p - a (k - 1) - 1) mod s = 0                                                              (4)

    Args:
        size: N, the side of the input.
        window: k.
        stride: s.
        padding: p.
        dilation: a.
    Example:
        >>> keeps_grid(28, 3, stride=2, padding=1), keeps_grid(28, 2, stride=2), keeps_grid(27, 3, stride=2, padding=1)
        (False, True, True)
    """
    return (size + 2 * padding - dilation * (window - 1) - 1) % stride == 0


class _Pool(nn.Module):
    """Divide each side by a stride, rounding down, with windows that fit the side symmetrically.

        window = s + (N mod s)

    is the narrowest window without padding that leaves no rest, so that equation (4) holds for every side N.

    Args:
        stride: s, one number for all axes.
    Raises:
        ConfigurationError: A stride below one.
        ShapeError: A side smaller than the stride.
    """

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        if stride < 1:
            raise ConfigurationError(f"{type(self).__name__}: stride is {stride}; it must be at least one.")
        self.stride = stride

    def windows(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """The window along each axis of an input with these sides."""
        if not sides:
            raise ShapeError(f"{type(self).__name__}: needs (batch, channels, *spatial), got no spatial axis.")
        if min(sides) < self.stride:
            raise ShapeError(
                f"{type(self).__name__}: sides {tuple(sides)} are smaller than the stride {self.stride}; "
                "give larger images or pool less often."
            )
        return tuple(self.stride + side % self.stride for side in sides)

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        return f"stride={self.stride}"


class AvgPool(_Pool):
    """Average pooling for signals, images and volumes that keeps the symmetry at every input size.

    Each side N becomes N // stride, by windows of stride + N mod stride pixels, without padding (equation (4)).

    Example:
        >>> import torch
        >>> [tuple(AvgPool(2)(torch.zeros(1, 8, side, side)).shape[2:]) for side in (28, 7)]
        [(14, 14), (3, 3)]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool a plain tensor (batch, channels, *spatial)."""
        windows = self.windows(tuple(x.shape[2:]))
        pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
        return pool(x, windows, self.stride)


class MaxPool(_Pool):
    """Maximum pooling for signals, images and volumes, with the windows of `AvgPool`."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool a plain tensor (batch, channels, *spatial)."""
        windows = self.windows(tuple(x.shape[2:]))
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
        return pool(x, windows, self.stride)


class GlobalAvgPool(nn.Module):
    """The mean over all positions: from (batch, channels, *spatial) to (batch, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        """Average a plain tensor over its positions."""
        if x.ndim < 3:
            raise ShapeError("GlobalAvgPool: needs (batch, channels, *spatial), got no spatial axis.")
        return x.flatten(2).mean(2)
