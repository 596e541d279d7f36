"""Turning images by any angle."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_angles(count: int, seed: int) -> Tensor:
    """Angles in degrees, uniform in [0, 360), the same for the same seed; shape (count,), float64."""
    return 360 * torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Turn each image about its centre, anticlockwise as seen on the screen, with bilinear interpolation.

    Args:
        images: Shape (count, channels, side, side), uint8.
        degrees: Angles, shape (count,).
    Returns:
        Like `images`, new; what comes in from outside is 0.
    Example:
        >>> corner = torch.tensor([[[[0, 0], [0, 9]]]], dtype=torch.uint8)
        >>> rotate(corner, torch.tensor([90.0]))[0, 0].tolist()
        [[0, 9], [0, 0]]
    """
    parts = [_rotate(part, angle) for part, angle in zip(images.split(4096), degrees.split(4096), strict=True)]
    return torch.cat(parts)


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    angles = degrees.double() * (math.pi / 180)
    cosine, sine = angles.cos(), angles.sin()
    zero = torch.zeros_like(cosine)
    # The grid holds, for each target (x to the right, y down), the source point: the turn back.
    matrices = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    turned = F.grid_sample(images.double(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return turned.round().clamp(0, 255).to(torch.uint8)
