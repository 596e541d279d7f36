"""The sizes of a dense kernel and the layouts of its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class KernelFormat(NamedTuple):
    """The sizes of a dense kernel W[(o, g), (c, u)](delta), as plain numbers, which a compiler can read."""

    out_fields: int
    num_out: int
    in_fields: int
    num_in: int
    kernel_size: tuple[int, ...]

    @property
    def out_channels(self) -> int:
        """Of the convolution weight."""
        return self.out_fields * self.num_out

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Of the convolution weight."""
        return (self.out_channels, self.in_fields * self.num_in, *self.kernel_size)


def is_channels_last(x: Tensor) -> bool:
    """Whether a batch of images or volumes has its channels last in memory, and is not contiguous all the same."""
    if x.ndim not in (4, 5) or x.is_contiguous():
        return False
    return x.is_contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)


def empty_weight(
    format: KernelFormat, *, dtype: torch.dtype, device: torch.device, channels_last: bool
) -> Tensor:
    """A weight to be filled, in either layout."""
    layout = torch.contiguous_format
    if channels_last:
        layout = torch.channels_last if len(format.kernel_size) == 2 else torch.channels_last_3d
    return torch.empty(format.weight_shape, dtype=dtype, device=device, memory_format=layout)


def batched_one_by_one(
    function: Callable[..., Tensor], in_dims: tuple[Any, ...], inputs: tuple[Any, ...]
) -> tuple[Tensor, int]:
    """What `torch.vmap` needs of functions whose operations it does not know: one call for each sample."""
    is_batched = [isinstance(x, Tensor) and dim is not None for x, dim in zip(inputs, in_dims, strict=True)]
    unbound = [x.unbind(dim) for x, dim, is_one in zip(inputs, in_dims, is_batched, strict=True) if is_one]
    outputs = []
    for sample in zip(*unbound, strict=True):
        parts = iter(sample)
        outputs.append(function(*(next(parts) if is_one else x for x, is_one in zip(inputs, is_batched, strict=True))))
    return torch.stack(outputs), 0
