"""Dense kernels on a GPU: one launch from a table to the kernel, and one from the kernel's gradient to the table's.

    expanded     W[(o, g), (c, u)](delta) = table[index[g, u, delta], (o, c)]
    collapsed    sums[orbit, (o, c)] = sum of W[(o, g), (c, u)](delta) over the (g, u, delta) of the orbit

A kernel is small beside the products that it takes part in, so what it costs on a GPU is the time to launch the
operations that make it. Each program of the launch has a tile of rows and columns: it reads whole pieces of rows, and
leaves the order of the kernel's memory to the cache. The sums are taken in one order, so they are the same every time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._triton import has_triton

from equimorph.spaces.formats import KernelFormat, batched_one_by_one, empty_weight, is_channels_last

_LARGEST = 2**31  # numbers of a kernel: offsets have 32 bits
_TILE = {"BLOCK_ROWS": 16, "BLOCK_COLUMNS": 64}


def launches(x: Tensor) -> bool:
    """Whether kernels of a tensor's device are made here: a GPU for which there is Triton, seen by no compiler."""
    if not x.is_cuda or torch.compiler.is_compiling() or isinstance(x, FakeTensor):
        return False
    return has_triton() and x.numel() < _LARGEST


def expanded(
    table: Tensor,
    index: Tensor | None,
    members: Tensor | None,
    format: KernelFormat,
    dtype: torch.dtype,
    channels_last: bool,
) -> Tensor:
    """The kernel of a table.

    Args:
        table: Shape (orbits, out_fields * in_fields).
        index: The orbit of each (g, u, delta), shape (entries,); the table has all rows where it is None.
        members: The entries of each orbit, shape (orbits, largest), filled up with the number of entries; or None.
        format: The kernel's sizes.
        dtype: Of the kernel.
        channels_last: Whether its memory is laid out so.
    """
    return _Expanded.apply(table, index, members, format, dtype, channels_last)  # type: ignore[no-any-return]


def collapsed(
    weight: Tensor, index: Tensor | None, members: Tensor | None, format: KernelFormat, dtype: torch.dtype
) -> Tensor:
    """The sum of a kernel's entries over each orbit, as a table of a dtype; arguments as of `expanded`."""
    return _Collapsed.apply(weight, index, members, format, dtype)  # type: ignore[no-any-return]


class _Expanded(torch.autograd.Function):
    @staticmethod
    def forward(
        table: Tensor,
        index: Tensor | None,
        members: Tensor | None,
        format: KernelFormat,
        dtype: torch.dtype,
        channels_last: bool,
    ) -> Tensor:
        from equimorph.spaces.triton_kernels import expand

        table = table.detach().contiguous()
        weight = empty_weight(format, dtype=dtype, device=table.device, channels_last=channels_last)
        columns = format.out_fields * format.in_fields
        num_rows = weight.numel() // columns
        with torch.cuda.device(table.device):
            expand[_grid(num_rows, columns)](
                *(table, table if index is None else index, weight, num_rows, columns),
                *_strides(format, channels_last),
                *_sizes(format),
                HAS_INDEX=index is not None,
                **_TILE,
            )
        return weight

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        table, index, members, ctx.format, _, _ = inputs
        ctx.save_for_backward(index, members)
        ctx.dtype = table.dtype

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Collapsed.apply(gradients[0], *ctx.saved_tensors, ctx.format, ctx.dtype), *[None] * 5

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        return batched_one_by_one(_Expanded.apply, in_dims, inputs)


class _Collapsed(torch.autograd.Function):
    @staticmethod
    def forward(
        weight: Tensor, index: Tensor | None, members: Tensor | None, format: KernelFormat, dtype: torch.dtype
    ) -> Tensor:
        from equimorph.spaces.triton_kernels import collapse, sum_dtype

        weight = weight.detach()
        channels_last = is_channels_last(weight)
        weight = weight if channels_last else weight.contiguous()
        columns = format.out_fields * format.in_fields
        num_entries = math.prod(format.weight_shape) // columns
        num_rows, most = (num_entries, 1) if members is None else members.shape
        sums = weight.new_empty((num_rows, columns), dtype=dtype)
        with torch.cuda.device(weight.device):
            collapse[_grid(num_rows, columns)](
                *(weight, weight if members is None else members, sums, num_rows, columns, num_entries),
                *_strides(format, channels_last),
                *_sizes(format),
                HAS_MEMBERS=members is not None,
                MOST=most,
                SUM=sum_dtype(dtype),
                **_TILE,
            )
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, index, members, ctx.format, _ = inputs
        ctx.save_for_backward(index, members)
        ctx.dtype, ctx.channels_last = weight.dtype, is_channels_last(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layout = ctx.format, ctx.dtype, ctx.channels_last
        return _Expanded.apply(gradients[0], *ctx.saved_tensors, *layout), *[None] * 4

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        return batched_one_by_one(_Collapsed.apply, in_dims, inputs)


def _grid(num_rows: int, columns: int) -> tuple[int, int]:
    return -(-num_rows // _TILE["BLOCK_ROWS"]), -(-columns // _TILE["BLOCK_COLUMNS"])


def _sizes(format: KernelFormat) -> tuple[int, ...]:
    return format.num_out, format.in_fields, format.num_in, math.prod(format.kernel_size)


def _strides(format: KernelFormat, channels_last: bool) -> tuple[int, int, int]:
    """Of a kernel's out channels, in channels and taps."""
    taps, in_channels = math.prod(format.kernel_size), format.in_fields * format.num_in
    return (taps * in_channels, 1, in_channels) if channels_last else (taps * in_channels, taps, 1)
