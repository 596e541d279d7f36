"""Samples of other sides: cut, padded or stretched, then made smaller or larger."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Fit = Literal["crop", "pad", "stretch"]


def area_averaged(x: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Samples made smaller, each new pixel the mean of what it covers.

        small[i] = mean of x[j] over floor(i n / m) <= j < ceil((i + 1) n / m),   from n to m pixels, on each axis

    A mirror takes the pixels averaged for i to those for m - 1 - i, whether m divides n or not, so this commutes with
    quarter turns and mirrors. Whole numbers stay whole, rounded.

    Args:
        x: Shape (batch, channels, *spatial), any real dtype.
        sides: The new sides, at most the old ones.
    Example:
        >>> x = torch.tensor([[[[0, 4, 1, 1], [4, 8, 1, 1], [0, 0, 9, 9], [0, 0, 9, 9]]]])
        >>> area_averaged(x, (2, 2)).tolist()
        [[[[4, 1], [0, 9]]]]
    """
    # In double precision means of bytes that end in one half are exact, so that a turn never rounds one the other way.
    parts = (F.interpolate(part.double(), size=list(sides), mode="area") for part in x.split(4096))
    return torch.cat([(part if x.is_floating_point() else part.round()).to(x.dtype) for part in parts])


def fitted(array: NDArray[Any], sides: tuple[int, ...], fit: Fit) -> NDArray[Any]:
    """One sample (channels, *spatial) brought to other sides.

    First to the proportions of `sides`: "crop" cuts the ends off, "pad" repeats the border, "stretch" leaves it; as
    much at one end of an axis as at the other, so what is left over, less than two pixels, is stretched. Then, on each
    axis, from n to m pixels,

        made smaller: the mean of `area_averaged`
        made larger:  linear between the two pixels nearest to ((2 i + 1) n - m) / 2 m, the place of the new pixel i

    All weights are whole numbers until the last division, so for whole numbers this commutes with turns and mirrors
    exactly, and for others up to rounding.

    Returns:
        Shape (channels, *sides), of the same dtype; whole numbers are rounded.
    Example:
        >>> fitted(np.arange(12).reshape(1, 2, 6), (2, 2), "crop").tolist()
        [[[2, 3], [8, 9]]]
        >>> fitted(np.array([[[0, 8]]]), (1, 4), "stretch").tolist()
        [[[0, 2, 6, 8]]]
    """
    array = _proportioned(array, sides, fit)
    if array.shape[1:] == sides:
        return array
    resized, divisor = array, np.ones([1] * array.ndim)
    for axis, side in enumerate(sides, start=1):
        resized, divisors = _resized(resized, axis, side)
        divisor = divisor * divisors
    result = resized / divisor
    return (np.rint(result) if array.dtype.kind in "iub" else result).astype(array.dtype)


def _resized(array: NDArray[Any], axis: int, new: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The weighted sums along an axis, float64, and what they are to be divided by to be means."""
    old = array.shape[axis]
    shape = [-1 if other == axis else 1 for other in range(array.ndim)]
    if new == old:
        return array.astype(np.float64), np.ones([1] * array.ndim)
    places = np.arange(new)
    if new < old:
        first, end = places * old // new, -(-(places + 1) * old // new)
        taps = [(first + step, first + step < end) for step in range(int((end - first).max()))]
        divisors = end - first
    else:
        first, further = np.divmod((2 * places + 1) * old - new, 2 * new)
        taps = [(first, 2 * new - further), (first + 1, further)]
        divisors = np.full(new, 2 * new)
    total = np.zeros((*array.shape[:axis], new, *array.shape[axis + 1 :]))
    for indices, weights in taps:
        taken = array.take(indices, axis, mode="clip")
        total += taken if (weights == 1).all() else taken * weights.astype(np.float64).reshape(shape)
    return total, divisors.astype(np.float64).reshape(shape)


def _proportioned(array: NDArray[Any], sides: tuple[int, ...], fit: Fit) -> NDArray[Any]:
    if fit == "stretch" or len(sides) == 1:
        return array
    old = array.shape[1:]
    scales = [Fraction(side, new) for side, new in zip(old, sides, strict=True)]
    scale = min(scales) if fit == "crop" else max(scales)
    # At each end, and rounded down: no more is cut or repeated than must be.
    ends = [int(abs(side - scale * new) // 2) for side, new in zip(old, sides, strict=True)]
    if fit == "crop":
        return array[(slice(None), *(slice(end, side - end) for side, end in zip(old, ends, strict=True)))]
    return np.pad(array, [(0, 0), *((end, end) for end in ends)], mode="edge")
