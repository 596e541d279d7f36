"""Convolutions whose dense kernel comes from a weight space; lifting and group convolution in one class."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.errors import ConfigurationError, ShapeError
from equimorph.groups import Group, Representation, Subgroup
from equimorph.layers._base import SpaceLayer, resolve_constraint
from equimorph.spaces import KernelShape, TiedSpace

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class SlidingLayer(SpaceLayer):
    """What layers with a kernel that slides over positions have in common, transposed ones too.

    Attributes:
        groups: Groups of channels, of which each sees no other, as torch counts them.
        in_channels: Channels of the input as a plain tensor.
    """

    dim: ClassVar[int]

    def __init__(
        self,
        in_fields: int,
        out_fields: int,
        kernel_size: int | tuple[int, ...],
        *,
        group: Group | str,
        subgroup: Subgroup | str | None,
        source: Representation,
        target: Representation,
        stride: int | tuple[int, ...],
        dilation: int | tuple[int, ...],
        groups: int,
        depthwise: bool,
        bias: bool,
        generator: torch.Generator | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        constraint = resolve_constraint(group, subgroup, dim=self.dim)
        extents = self._per_axis(kernel_size, "kernel_size")
        self.stride = self._per_axis(stride, "stride")
        self.dilation = self._per_axis(dilation, "dilation")
        self._check_groups(in_fields, out_fields, groups, depthwise, source == target)
        self.depthwise = depthwise
        inner = "trivial" if depthwise else source  # channel (c, g) sees itself alone: a kernel of the index g only
        within = 1 if depthwise else in_fields // groups
        shape = KernelShape(constraint.group, out_fields, within, extents, target, inner)
        self.groups = shape.out_channels if depthwise else groups
        self.in_channels = shape.in_channels * self.groups
        self.space = TiedSpace(shape, constraint, bias=bias, generator=generator, device=device, dtype=dtype)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Extent of the kernel along each axis."""
        return self.space.shape.kernel_size

    @property
    def out_channels(self) -> int:
        """Channels of the output as a plain tensor."""
        return self.space.shape.out_channels

    @property
    def source(self) -> Representation:
        """Type of the input."""
        return self.space.shape.target if self.depthwise else self.space.shape.source

    @property
    def target(self) -> Representation:
        """Type of the output."""
        return self.space.shape.target

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        shape = self.space.shape
        fields = self.in_channels // (shape.group.order if self.source == "regular" else 1)
        kind = ", depthwise" if self.depthwise else f", groups={self.groups}" if self.groups > 1 else ""
        return (
            f"{fields} {self.source} -> {shape.out_fields} {shape.target}, kernel_size={shape.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}{kind}"
        )

    def _check_input(self, x: Tensor) -> None:
        if x.shape[1] != self.in_channels:
            raise ShapeError(f"{type(self).__name__}: needs {self.in_channels} channels, got {x.shape[1]}.")

    def _check_groups(self, in_fields: int, out_fields: int, groups: int, depthwise: bool, same_type: bool) -> None:
        name = type(self).__name__
        if depthwise and (groups != 1 or in_fields != out_fields or not same_type):
            raise ConfigurationError(
                f"{name}: a depthwise layer has as many fields out as in, of one type, and no groups besides; "
                f"got {in_fields} -> {out_fields} with groups={groups}."
            )
        if groups < 1 or in_fields % groups or out_fields % groups:
            raise ConfigurationError(
                f"{name}: groups={groups} must divide the fields, {in_fields} -> {out_fields}, since a field is not "
                "divided."
            )

    def _per_axis(self, value: int | tuple[int, ...], what: str) -> tuple[int, ...]:
        values = (value,) * self.dim if isinstance(value, int) else tuple(value)
        least = 0 if "padding" in what else 1
        if len(values) != self.dim or min(values) < least:
            raise ShapeError(f"{type(self).__name__}: {what} is one positive number or {self.dim}, got {value}.")
        return values


class ConvolutionLayer(SlidingLayer):
    """What convolutions of one, two and three dimensions have in common; `Conv2d` describes the arguments."""

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
        padding_mode: PaddingMode = "zeros",
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        depthwise: bool = False,
        bias: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_fields,
            out_fields,
            kernel_size,
            group=group,
            subgroup=subgroup,
            source=source,
            target=target,
            stride=stride,
            dilation=dilation,
            groups=groups,
            depthwise=depthwise,
            bias=bias,
            generator=generator,
            device=device,
            dtype=dtype,
        )
        if padding_mode not in get_args(PaddingMode):
            known = ", ".join(get_args(PaddingMode))
            raise ConfigurationError(f'{type(self).__name__}: padding_mode is "{padding_mode}"; it is one of {known}.')
        self.padding, self.padding_mode = self._padding(padding), padding_mode

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a plain tensor (batch, channels, *spatial)."""
        self._check_input(x)
        weight, bias = self.kernel_for(x)
        padding = self.padding
        if self.padding_mode != "zeros":
            x = F.pad(x, [size for size in reversed(padding) for _ in range(2)], mode=self.padding_mode)
            padding = (0,) * self.dim
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.dim - 1]
        return convolve(x, weight, bias, self.stride, padding, self.dilation, self.groups)

    @property
    def can_skip(self) -> bool:
        """Whether features and positions are the same in and out."""
        centred = zip(self.space.shape.kernel_size, self.padding, self.dilation, self.stride, strict=True)
        fits = all(k % 2 == 1 and 2 * p == d * (k - 1) and s == 1 for k, p, d, s in centred)
        return self.groups == 1 and super().can_skip and fits

    def _padding(self, padding: int | tuple[int, ...] | str) -> tuple[int, ...]:
        extents = self.space.shape.kernel_size
        if isinstance(padding, str):
            if padding != "same" or any(extent % 2 == 0 for extent in extents):
                raise ShapeError(
                    f'{type(self).__name__}: padding is numbers, or "same" with odd kernels; '
                    f"got {padding!r} with {extents}."
                )
            padding = tuple(d * (k // 2) for k, d in zip(extents, self.dilation, strict=True))
        return self._per_axis(padding, "padding")


class Conv1d(ConvolutionLayer):
    """A convolution of signals that commutes with a subgroup H of G; arguments as for `Conv2d`.

    Example:
        >>> lift = Conv1d(1, 4, 5, group="Z2", source="trivial", padding="same")
        >>> tuple(lift(torch.zeros(2, 1, 50)).shape)
        (2, 8, 50)
    """

    dim = 1


class Conv2d(ConvolutionLayer):
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
        padding_mode: As in torch: "zeros", "reflect", "replicate" or "circular".
        dilation: As in torch.
        groups: Groups of fields, of which each sees no other.
        depthwise: Whether each channel sees itself alone: W[(c, g), (c, u)](delta) = 0 unless g = u.
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


class Conv3d(ConvolutionLayer):
    """A convolution of volumes that commutes with a subgroup H of G; arguments as for `Conv2d`.

    Example:
        >>> lift = Conv3d(1, 2, 3, group="Oh", subgroup="C4v@z", source="trivial", padding="same")
        >>> tuple(lift(torch.zeros(2, 1, 6, 6, 6)).shape)
        (2, 96, 6, 6, 6)
    """

    dim = 3
