"""The linear map of vectors and of flattened maps: regular to trivial, the head of a classifier."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.errors import ShapeError
from equimorph.groups import Group, Representation, Subgroup
from equimorph.layers._base import SpaceLayer, resolve_constraint
from equimorph.spaces import KernelShape, TiedSpace


class Linear(SpaceLayer):
    """A linear map of pooled features that commutes with a subgroup H of G.

        out = E_H(w) x + E_H(b),     W[o, (c, hu)] = W[o, (c, u)]     for every h in H, when the target is trivial

    H = G gives an invariant map, H = C1 a free one. With `sides` the input is a map that was flattened, channels first,
    and its positions are moved, too: the weight is the kernel of a convolution that is as large as the map.

    Args:
        in_fields: Fields of the input.
        out_fields: Outputs; fields, when `target` is regular.
        group: G, a group or its name.
        subgroup: H, a subgroup of G or its name; G itself when left out.
        source: Type of the input.
        target: Type of the output.
        sides: Of the maps that were flattened; () for vectors.
        bias: Leave it out where a norm follows.
        generator: Where the initial values are drawn from; torch's default generator when left out.
        device: Of the parameters.
        dtype: Of the parameters.
    Shapes:
        Input (..., in_fields * |G| * prod(sides)), output (..., out_fields), times |G| where the target is regular.
    Raises:
        GroupError: Unknown or mismatched groups.
        ConfigurationError: Fewer than one field.
        ShapeError: An input with another number of channels.
    Example:
        >>> head = Linear(4, 10, group="D4", subgroup="C4")
        >>> tuple(head(torch.zeros(2, 32)).shape), sum(p.numel() for p in head.parameters())
        ((2, 10), 90)

    Source: equation (1) of the method's page with g and delta absent.
    """

    def __init__(
        self,
        in_fields: int,
        out_fields: int,
        *,
        group: Group | str,
        subgroup: Subgroup | str | None = None,
        source: Representation = "regular",
        target: Representation = "trivial",
        sides: tuple[int, ...] = (),
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        constraint = resolve_constraint(group, subgroup)
        shape = KernelShape(constraint.group, out_fields, in_fields, tuple(sides), target, source)
        self.in_features = shape.in_channels * math.prod(sides)
        self.space = TiedSpace(shape, constraint, bias=bias, generator=generator, device=device, dtype=dtype)

    @property
    def out_features(self) -> int:
        """Numbers in an output."""
        return self.space.shape.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map vectors, the last axis of x."""
        if x.shape[-1] != self.in_features:
            raise ShapeError(f"Linear: needs {self.in_features} channels, got {x.shape[-1]}.")
        weight, bias = self.kernel_for(x)
        return F.linear(x, weight.flatten(1), bias)

    @property
    def can_skip(self) -> bool:
        """Whether features are the same in and out."""
        return super().can_skip and not self.space.shape.kernel_size

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        shape = self.space.shape
        sides = f", sides={shape.kernel_size}" if shape.kernel_size else ""
        return f"{shape.in_fields} {shape.source} -> {shape.out_fields} {shape.target}{sides}"
