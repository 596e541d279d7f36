"""Transposed convolutions, which make maps larger, on weight spaces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.groups import Group, Representation, Subgroup
from equimorph.layers.convolution import SlidingLayer


class TransposedLayer(SlidingLayer):
    """What transposed convolutions have in common; `ConvTranspose2d` describes the arguments."""

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
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
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
        self.padding = self._per_axis(padding, "padding")
        self.output_padding = self._per_axis(output_padding, "output_padding")

    def transposed_weight(self) -> Tensor:
        """The dense kernel in the layout of torch, shape (in channels, out channels / groups, *kernel_size)."""
        return self._transposed(self.dense_weight())

    def forward(self, x: Tensor) -> Tensor:
        """Map a plain tensor (batch, channels, *spatial)."""
        self._check_input(x)
        weight, bias = self.kernel_for(x)
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.dim - 1]
        weight = self._transposed(weight)
        return convolve(x, weight, bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation)

    @property
    def can_skip(self) -> bool:
        """Never: positions are others than those of the input."""
        return False

    def _transposed(self, weight: Tensor) -> Tensor:
        out_channels, within, *extents = weight.shape
        by_group = weight.view(self.groups, out_channels // self.groups, within, *extents)
        return by_group.transpose(1, 2).reshape(self.in_channels, out_channels // self.groups, *extents)


class ConvTranspose1d(TransposedLayer):
    """A transposed convolution of signals; arguments as for `ConvTranspose2d`."""

    dim = 1


class ConvTranspose2d(TransposedLayer):
    """A transposed convolution of images that commutes with a subgroup H of G.

        out(s x + delta - p) += W(delta) in(x),     W as for `Conv2d`, equation (1)

    Args:
        in_fields: Fields of the input; channels, when `source` is trivial.
        out_fields: Fields of the output; channels, when `target` is trivial.
        kernel_size: As in `Conv2d`.
        group: G, a group or its name.
        subgroup: H, a subgroup of G or its name; G itself when left out.
        source: Type of the input.
        target: Type of the output.
        stride: As in torch.
        padding: As in torch.
        output_padding: As in torch. It enlarges one end of an axis alone, so anything but 0 breaks the symmetry.
        dilation: As in torch.
        groups: Groups of fields, of which each sees no other.
        depthwise: Whether each channel sees itself alone.
        bias: One value per field and right coset Hg.
        generator: Where the initial values are drawn from, by the rule of `Conv2d`: He's from the dense fan-in, of
            which 1 / stride^d reaches each position.
        device: Of the parameters.
        dtype: Of the parameters.
    Shapes:
        Input (batch, in_fields * |G|, *spatial), output (batch, out_fields * |G|, *spatial).
    Raises:
        GroupError: Unknown or mismatched groups.
        ConfigurationError: Fewer than one field; groups that divide a field.
        ShapeError: A kernel size that H cannot act on; an input with another number of channels.
    Example:
        >>> up = ConvTranspose2d(4, 2, 2, group="D4", stride=2)
        >>> tuple(up(torch.zeros(1, 32, 5, 5)).shape)
        (1, 16, 10, 10)

    Source: ours; the transpose of Cohen and Welling (2016).
    """

    dim = 2


class ConvTranspose3d(TransposedLayer):
    """A transposed convolution of volumes; arguments as for `ConvTranspose2d`."""

    dim = 3
