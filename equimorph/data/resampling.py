"""Reading samples at places between their pixels, after turns by any angle, scales and shifts."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.data.sending import sent


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    """Numbers uniform in [-1, 1], float64, on the CPU."""
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1


def random_turns(count: int, dim: int, turn: str, generator: torch.Generator) -> Tensor:
    """Rotation matrices in tensor order, shape (count, dim, dim), float64: uniform over those of the kind."""
    if dim == 3 and turn == "any":
        # A uniform unit quaternion is a uniform rotation.
        w, x, y, z = F.normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64), dim=1).unbind(1)
        rows = [
            (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ]
        return torch.stack([torch.stack(row, 1) for row in rows], 1)
    angles = math.pi * uniform(count, generator=generator)
    matrices = torch.eye(dim, dtype=torch.float64).repeat(count, 1, 1)
    matrices[:, 0, 0] = matrices[:, 1, 1] = angles.cos()
    matrices[:, 0, 1], matrices[:, 1, 0] = -angles.sin(), angles.sin()
    return matrices


def places_of(matrices: Tensor, shifts: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Where M^-1 (p - t) lies, for p in pixels from the centre, as torch's `affine_grid` is told.

    Args:
        matrices: M, shape (count, d, d), float64.
        shifts: t in pixels, shape (count, d).
        sides: Of the samples; maps of other sides are read at the same places, since torch counts in half sides.
    Returns:
        Shape (count, d, d + 1); that of an image of one row for a signal.
    """
    if len(sides) == 1:  # torch interpolates images and volumes only: a signal is an image of one row
        rows = torch.eye(2, dtype=matrices.dtype).repeat(len(matrices), 1, 1)
        rows[:, 1, 1] = matrices[:, 0, 0]
        return places_of(rows, F.pad(shifts, (1, 0)), (1, *sides))
    half = torch.tensor(sides).double() / 2  # torch measures positions in half sides
    inverse = torch.linalg.inv(matrices)
    linear = inverse * half / half[:, None]
    offset = -(inverse @ shifts[:, :, None])[..., 0] / half
    return torch.cat([linear.flip(1, 2), offset.flip(1)[..., None]], 2)  # torch counts axes from the last


def resampled(x: Tensor, places: Tensor, padding: str, *, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """y(p) = x(M^-1 (p - t)), linear along each axis or from the nearest pixel, for the places of `places_of`."""
    if x.ndim == 3:
        return resampled(x[:, :, None], places, padding, mode=mode)[:, :, 0]
    grid = F.affine_grid(sent(places, x.device, x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=False)


def resampled_maps(y: Tensor, places: Tensor, padding: str, *, outside: Tensor, dtype: torch.dtype) -> Tensor:
    """Maps read at the same places as their samples: classes from the nearest pixel, numbers linearly.

    Args:
        y: Shape (batch, *spatial) of whole numbers, or (batch, k, *spatial).
        places: As from `places_of`.
        padding: As for the samples.
        outside: What comes in where the samples have their mean, a scalar or shape (k, *ones); used with zeros only.
        dtype: Floating, for the reading of classes.
    """
    outside = sent(outside, y.device, y.dtype)
    if y.is_floating_point():
        return resampled(y - outside, places, padding) + outside
    moved = resampled((y - outside)[:, None].to(dtype), places, padding, mode="nearest")
    return moved[:, 0].round().to(y.dtype) + outside
