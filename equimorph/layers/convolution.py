"""Convolutions whose dense kernel comes from a weight space; lifting and group convolution in one class."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.errors import ShapeError
from equimorph.groups import Group, Representation, Subgroup
from equimorph.layers._base import SpaceLayer, resolve_constraint
from equimorph.spaces import KernelShape, TiedSpace


class _Conv(SpaceLayer):
    """What convolutions of one, two and three dimensions have in common; `Conv2d` describes the arguments."""

    dim: ClassVar[int]

    def __init__(
        self,
        in_fields: int,
        out_fields: int,
        kernel_size: int | tuple[int, ...],
        *,
        group: Group | str,
        subgroup: Subgroup | str | None = None,
        source: Representation = "regular",
        target: Representation = "regular",
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        dilation: int | tuple[int, ...] = 1,
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        constraint = resolve_constraint(group, subgroup, dim=self.dim)
        extents = self._per_axis(kernel_size, "kernel_size")
        self.stride = self._per_axis(stride, "stride")
        self.dilation = self._per_axis(dilation, "dilation")
        if isinstance(padding, str):
            if padding != "same" or any(extent % 2 == 0 for extent in extents):
                raise ShapeError(
                    f'{type(self).__name__}: padding is numbers, or "same" with odd kernels; '
                    f"got {padding!r} with {extents}."
                )
            padding = tuple(d * (k // 2) for k, d in zip(extents, self.dilation, strict=True))
        self.padding = self._per_axis(padding, "padding")
        shape = KernelShape(constraint.group, out_fields, in_fields, extents, target, source)
        self.space = TiedSpace(shape, constraint, bias=bias, generator=generator, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a plain tensor (batch, channels, *spatial)."""
        if x.shape[1] != self.space.shape.in_channels:
            raise ShapeError(f"{type(self).__name__}: needs {self.space.shape.in_channels} channels, got {x.shape[1]}.")
        weight, bias = self.space()
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.dim - 1]
        return convolve(x, weight, bias, self.stride, self.padding, self.dilation)

    @property
    def can_skip(self) -> bool:
        """Whether features and positions are the same in and out."""
        centred = zip(self.space.shape.kernel_size, self.padding, self.dilation, self.stride, strict=True)
        return super().can_skip and all(k % 2 == 1 and 2 * p == d * (k - 1) and s == 1 for k, p, d, s in centred)

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        shape = self.space.shape
        return (
            f"{shape.in_fields} {shape.source} -> {shape.out_fields} {shape.target}, "
            f"kernel_size={shape.kernel_size}, stride={self.stride}, padding={self.padding}"
        )

    def _per_axis(self, value: int | tuple[int, ...], what: str) -> tuple[int, ...]:
        values = (value,) * self.dim if isinstance(value, int) else tuple(value)
        if len(values) != self.dim or (what != "padding" and min(values) < 1) or min(values) < 0:
            raise ShapeError(f"{type(self).__name__}: {what} is one positive number or {self.dim}, got {value}.")
        return values


class Conv1d(_Conv):
    """A convolution of signals that commutes with a subgroup H of G; arguments as for `Conv2d`.

    Example:
        >>> lift = Conv1d(1, 4, 5, group="Z2", source="trivial", padding="same")
        >>> tuple(lift(torch.zeros(2, 1, 50)).shape)
        (2, 8, 50)
    """

    dim = 1


class Conv2d(_Conv):
    """A convolution of images that commutes with a subgroup H of G.

        out = conv(x, E_H(w)) + E_H(b)

    Args:
        in_fields: Fields of the input; channels, when `source` is trivial.
        out_fields: Fields of the output; channels, when `target` is trivial.
        kernel_size: Extent of the kernel, one number or one per axis; axes that H exchanges need equal extents.
        group: G, a group or its name. A regular field has |G| channels.
        subgroup: H, a subgroup of G or its name; G itself when left out.
        source: "trivial" for an image (the layer lifts), "regular" for a feature.
        target: "regular", or "trivial" for an invariant map.
        stride: As in torch. Keeps the symmetry at input sizes that fulfil `keeps_grid`.
        padding: As in torch, or "same" for half of an odd kernel.
        dilation: As in torch.
        bias: One value per field and right coset Hg. Leave it out where a norm follows.
        generator: Where the initial values are drawn from; torch's default generator when left out.
        device: Of the parameters.
        dtype: Of the parameters.
    Shapes:
        Input (batch, in_fields * |G|, *spatial), output (batch, out_fields * |G|, *spatial); without the factor |G|
        where the feature is trivial.
    Raises:
        GroupError: Unknown or mismatched groups.
        ConfigurationError: Fewer than one field.
        ShapeError: A kernel size that H cannot act on; an input with another number of channels.
    Example:
        >>> lift = Conv2d(3, 4, 5, group="D4", source="trivial", padding="same")
        >>> inner = Conv2d(4, 8, 3, group="D4", subgroup="C4", padding="same")
        >>> tuple(inner(lift(torch.zeros(2, 3, 12, 12))).shape), inner.constraint.name
        ((2, 64, 12, 12), 'C4')

    Source: Cohen and Welling (2016); Maile, Wilson and Forré (2023), section 3.
    """

    dim = 2


class Conv3d(_Conv):
    """A convolution of volumes that commutes with a subgroup H of G; arguments as for `Conv2d`.

    Example:
        >>> lift = Conv3d(1, 2, 3, group="Oh", subgroup="C4v@z", source="trivial", padding="same")
        >>> tuple(lift(torch.zeros(2, 1, 6, 6, 6)).shape)
        (2, 96, 6, 6, 6)
    """

    dim = 3
