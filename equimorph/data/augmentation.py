"""Augmentation: every sample of a batch moved by a random element of a group."""

from __future__ import annotations

import torch
from torch import Tensor

from equimorph.errors import ShapeError
from equimorph.groups import Subgroup
from equimorph.layers.features import transform


def move_randomly(x: Tensor, subgroup: Subgroup, generator: torch.Generator) -> Tensor:
    """Act on each sample with its own element of H, drawn uniformly.

        y_b(p) = x_b(h_b^-1 p),      h_b independent and uniform in H

    Args:
        x: Samples of any dtype, shape (batch, channels, *spatial).
        subgroup: H.
        generator: What the elements are drawn from, alone; it may live on another device than `x`.
    Returns:
        y, new, like `x` in shape, dtype and device.
    Raises:
        ShapeError: The number of spatial axes is not the group's, or an element of H exchanges axes of unequal length.
    Example:
        >>> from equimorph.groups import group
        >>> x = torch.tensor([[[[1, 2], [3, 4]]]]).expand(6, 1, 2, 2)
        >>> y = move_randomly(x, group("D4").subgroup("C2"), torch.Generator().manual_seed(0))
        >>> sorted({tuple(sample.flatten().tolist()) for sample in y})
        [(1, 2, 3, 4), (4, 3, 2, 1)]
    """
    group = subgroup.group
    _check_shape(x, subgroup)
    drawn = torch.randint(subgroup.order, (len(x),), generator=generator, device=generator.device).cpu()
    moved = torch.empty_like(x, memory_format=torch.contiguous_format)
    for position, element in enumerate(subgroup.indices):
        # Found on the CPU: counting them on a GPU would make it wait.
        chosen = (drawn == position).nonzero()[:, 0].to(x.device)
        if len(chosen):
            moved[chosen] = transform(x[chosen], element, group, "trivial")
    return moved


def _check_shape(x: Tensor, subgroup: Subgroup) -> None:
    sides = tuple(x.shape[2:])
    if x.ndim - 2 != subgroup.group.dim:
        raise ShapeError(
            f"move_randomly: {subgroup.group.name} acts on {subgroup.group.dim} spatial axes, "
            f"got samples of shape {tuple(x.shape[1:])}; hand in (batch, channels, *spatial)."
        )
    for matrix in subgroup.elements:
        if tuple(sides[axis] for axis in abs(matrix).argmax(1)) != sides:
            raise ShapeError(
                f"move_randomly: {subgroup.name} exchanges axes, and the sides {sides} are not equal; "
                "crop to a square, or take a subgroup that keeps the axes, such as D2."
            )
