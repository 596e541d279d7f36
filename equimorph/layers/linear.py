"""The linear map of vectors: regular to trivial, the head of a classifier."""

from __future__ import annotations

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

    H = G gives an invariant map, H = C1 a free one.

    Args:
        in_fields: Fields of the input.
        out_fields: Outputs; fields, when `target` is regular.
        group: G, a group or its name.
        subgroup: H, a subgroup of G or its name; G itself when left out.
        source: Type of the input.
        target: Type of the output.
        bias: Leave it out where a norm follows.
        generator: Where the initial values are drawn from; torch's default generator when left out.
        device: Of the parameters.
        dtype: Of the parameters.
    Shapes:
        Input (batch, in_fields * |G|), output (batch, out_fields).
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
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        constraint = resolve_constraint(group, subgroup)
        shape = KernelShape(constraint.group, out_fields, in_fields, (), target, source)
        self.space = TiedSpace(shape, constraint, bias=bias, generator=generator, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map vectors (batch, channels)."""
        if x.shape[-1] != self.space.shape.in_channels:
            raise ShapeError(f"Linear: needs {self.space.shape.in_channels} channels, got {x.shape[-1]}.")
        weight, bias = self.space()
        return F.linear(x, weight, bias)

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        shape = self.space.shape
        return f"{shape.in_fields} {shape.source} -> {shape.out_fields} {shape.target}"
