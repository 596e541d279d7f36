"""From rows of index triples to a dense kernel in the memory layout that a convolution wants, and gradients back.

    rows (g, u, delta) x (o, c)    <->    W (o, g) (c, u) (delta)        torch's contiguous layout
                                          W (o, g) (delta) (c, u)        channels last

A kernel is cut into blocks, one for each (o, g), in which c runs fastest; either layout is the transposition of every
block. So all copies are of pieces of rows or of transposed blocks, at the speed of memory, where a strided copy of
single entries takes several times as long.

Each fast path has a plain one of ordinary indexing beside it. It is what `torch.compile` sees, and fuses by itself;
what runs on devices that lack these kernels; and what the tests compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.groups import Orbits
from equimorph.spaces import dense_on_gpu
from equimorph.spaces.expansion import Expansion
from equimorph.spaces.formats import KernelFormat, batched_one_by_one, empty_weight, is_channels_last
from equimorph.spaces.tables import SharedTables

_FAST_DEVICES = ("cpu", "cuda")
_PORTION = 2**18  # numbers of a kernel that a CPU makes at a time: what is in between stays in its cache


class DenseExpansion(SharedTables):
    """E_H from a table straight to the dense kernel: one gather of pieces of rows, one transposition of blocks.

    Holds index tables and no state.

    Args:
        orbits: Which entries are held equal.
        format: The sizes of the kernel.
    Example:
        >>> import torch
        >>> from equimorph.groups import group, kernel_orbits
        >>> flip = group("D4").subgroup("D1")
        >>> orbits = kernel_orbits(flip, "trivial", "trivial", (1, 3))
        >>> expansion = DenseExpansion(orbits, KernelFormat(1, 1, 1, 1, (1, 3)))
        >>> expansion(torch.tensor([[5.0], [7.0]])).tolist()
        [[[[5.0, 7.0, 5.0]]]]
    """

    gather: Tensor
    bags: Tensor
    bag_starts: Tensor

    def __init__(self, orbits: Orbits, format: KernelFormat) -> None:
        super().__init__(
            ("dense expansion", orbits.subgroup, orbits.shape, format.out_fields),
            partial(_pieces, orbits, format.out_fields),
        )
        self.format = format
        self.rows = Expansion(orbits)

    def forward(self, table: Tensor, *, dtype: torch.dtype | None = None, channels_last: bool = False) -> Tensor:
        """E_H(w) as a convolution weight.

        Args:
            table: Shape (orbits, out_fields * in_fields).
            dtype: Of the weight; that of the table when left out. The gradient is summed in the table's.
            channels_last: Whether the weight's memory is laid out as that of images with channels last.
        """
        dtype = table.dtype if dtype is None else dtype
        if dense_on_gpu.launches(table):
            return dense_on_gpu.expanded(
                table, self.rows.index, self.rows.members, self.format, dtype, channels_last
            )
        if not has_fast_path(table):
            return dense_from_rows(self.rows(table), self.format, dtype=dtype, channels_last=channels_last)
        tables = (self.gather, self.bags, self.bag_starts)
        return _ExpandToDense.apply(table, *tables, self.format, dtype, channels_last)  # type: ignore[no-any-return]


def dense_from_rows(
    rows: Tensor, format: KernelFormat, *, dtype: torch.dtype | None = None, channels_last: bool = False
) -> Tensor:
    """From rows (g, u, *delta) x columns (o, c) to a convolution weight; arguments as of `DenseExpansion`."""
    dtype = rows.dtype if dtype is None else dtype
    if dense_on_gpu.launches(rows):
        return dense_on_gpu.expanded(rows, None, None, format, dtype, channels_last)
    return _ToDense.apply(rows, format, dtype, channels_last)  # type: ignore[no-any-return]


def rows_from_dense(weight: Tensor, format: KernelFormat) -> Tensor:
    """The inverse of `dense_from_rows`, of a weight in any layout."""
    if dense_on_gpu.launches(weight):
        return dense_on_gpu.collapsed(weight, None, None, format, weight.dtype)
    return _FromDense.apply(weight, format, weight.dtype)  # type: ignore[no-any-return]


def has_fast_path(x: Tensor) -> bool:
    """Whether a tensor is on a device with all the operations that fast paths take, and not seen by a compiler."""
    return x.device.type in _FAST_DEVICES and not torch.compiler.is_compiling()


def transposed_blocks(blocks: Tensor) -> Tensor:
    """From (blocks, a, b) to (blocks, b, a), both contiguous."""
    number, a, b = blocks.shape
    if a == 1 or b == 1:
        return blocks.view(number, b, a)
    if blocks.device.type == "cpu" and blocks.dtype is torch.float32 and not torch.compiler.is_compiling():
        # A shuffle of channels, a groups of b, is this transposition at each pixel. PyTorch has vectorised it for
        # images with channels last; its strided copies take two to five times as long.
        pixels = blocks.view(1, number, 1, a * b).permute(0, 3, 1, 2)
        turned = torch.native_channel_shuffle(pixels, a).permute(0, 2, 3, 1).reshape(number, b, a)
        return turned.contiguous()  # which it is, but for tensors without memory, whose shuffle has other strides
    return blocks.transpose(1, 2).contiguous()


def _pieces(orbits: Orbits, out_fields: int) -> dict[str, Tensor]:
    """Rows are cut into one piece for each out field: where each piece (o, g, u, delta) of the kernel comes from among
    the pieces (orbit, o) of the table; and for each (o, orbit) its members among the former, as bags.

    What belongs to the first fields is at the beginning of each, and serves for any portion of as many fields.
    """
    num_entries = len(orbits.index)
    fields = torch.arange(out_fields, dtype=torch.int32)[:, None]
    gather = torch.tensor(orbits.index, dtype=torch.int32) * out_fields + fields
    members = torch.tensor(orbits.members[orbits.members < num_entries], dtype=torch.int32)
    sizes = torch.tensor(orbits.sizes).repeat(out_fields)
    starts = (sizes.cumsum(0) - sizes).to(torch.int32)
    return {"gather": gather.flatten(), "bags": (members + num_entries * fields).flatten(), "bag_starts": starts}


def _portions(format: KernelFormat, like: Tensor) -> list[tuple[int, int]]:
    """Out fields, from and to, of each portion of a kernel."""
    fields = format.out_fields
    if like.device.type == "cpu" and not torch.compiler.is_compiling():
        fields = max(1, _PORTION * fields // math.prod(format.weight_shape))
    return [(start, min(start + fields, format.out_fields)) for start in range(0, format.out_fields, fields)]


def _dense_in_portions(
    format: KernelFormat, like: Tensor, channels_last: bool, blocks_of: Callable[[int, int], Tensor]
) -> Tensor:
    """A weight of the dtype and on the device of another tensor.

    Args:
        format: The sizes.
        like: The other tensor.
        channels_last: Whether the weight's memory is laid out so.
        blocks_of: What gives the blocks of out fields from one number to another.
    """
    portions = _portions(format, like)
    if len(portions) == 1:
        return _dense_from_blocks(blocks_of(0, format.out_fields), format, channels_last)
    weight = empty_weight(format, dtype=like.dtype, device=like.device, channels_last=channels_last)
    for start, stop in portions:
        part = format._replace(out_fields=stop - start)
        weight[_channels(format, start, stop)] = _dense_from_blocks(blocks_of(start, stop), part, channels_last)
    return weight


def _channels(format: KernelFormat, start: int, stop: int) -> slice:
    """Of some out fields."""
    return slice(start * format.num_out, stop * format.num_out)


def _dense_from_blocks(blocks: Tensor, format: KernelFormat, channels_last: bool) -> Tensor:
    """From (o, g, u, delta, c) in memory to a weight."""
    out_channels, in_channels, *kernel_size = format.weight_shape
    if not channels_last:
        return transposed_blocks(blocks.view(out_channels, -1, format.in_fields)).view(format.weight_shape)
    turned = transposed_blocks(blocks.view(out_channels, format.num_in, -1))
    return turned.view(out_channels, *kernel_size, in_channels).movedim(-1, 1)


def _blocks_from_dense(weight: Tensor, format: KernelFormat) -> Tensor:
    """From a weight to (o, g, u, delta, c) in memory, as (all but c, c)."""
    if is_channels_last(weight):
        blocks = weight.movedim(1, -1).reshape(format.out_channels, -1, format.num_in)
    else:
        blocks = weight.reshape(format.out_channels, format.in_fields, -1)
    return transposed_blocks(blocks.contiguous()).view(-1, format.in_fields)


class _ToDense(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, format: KernelFormat, dtype: torch.dtype, channels_last: bool) -> Tensor:
        rows = rows.to(dtype).view(-1, format.out_fields, format.in_fields)
        return _dense_in_portions(
            format, rows, channels_last, lambda start, stop: rows[:, start:stop].transpose(0, 1).contiguous()
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.format, ctx.dtype = inputs[1], inputs[0].dtype

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _FromDense.apply(gradients[0], ctx.format, ctx.dtype), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        return batched_one_by_one(_ToDense.apply, in_dims, inputs)


class _FromDense(torch.autograd.Function):
    @staticmethod
    def forward(weight: Tensor, format: KernelFormat, dtype: torch.dtype) -> Tensor:
        portions = _portions(format, weight)
        if len(portions) == 1:
            blocks = _blocks_from_dense(weight, format).to(dtype).view(format.out_fields, -1, format.in_fields)
            return blocks.transpose(0, 1).reshape(-1, format.out_fields * format.in_fields)
        num_entries = math.prod(format.weight_shape) // (format.out_fields * format.in_fields)
        rows = weight.new_empty((num_entries, format.out_fields, format.in_fields), dtype=dtype)
        for start, stop in portions:
            part = format._replace(out_fields=stop - start)
            blocks = _blocks_from_dense(weight[_channels(format, start, stop)], part)
            rows[:, start:stop] = blocks.view(stop - start, num_entries, -1).transpose(0, 1)
        return rows.view(num_entries, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.format, ctx.dtype, ctx.channels_last = inputs[1], inputs[0].dtype, is_channels_last(inputs[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _ToDense.apply(gradients[0], ctx.format, ctx.dtype, ctx.channels_last), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        return batched_one_by_one(_FromDense.apply, in_dims, inputs)


class _ExpandToDense(torch.autograd.Function):
    @staticmethod
    def forward(
        table: Tensor,
        gather: Tensor,
        bags: Tensor,
        bag_starts: Tensor,
        format: KernelFormat,
        dtype: torch.dtype,
        channels_last: bool,
    ) -> Tensor:
        pieces = table.detach().to(dtype).reshape(-1, format.in_fields)
        per_field = len(gather) // format.out_fields

        def blocks_of(start: int, stop: int) -> Tensor:
            return pieces[start:].index_select(0, gather[: (stop - start) * per_field])

        return _dense_in_portions(format, pieces, channels_last, blocks_of)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        table, *tables = inputs[:4]
        ctx.save_for_backward(*tables)
        ctx.format, ctx.dtype = inputs[4], table.dtype

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _SumFromDense.apply(gradients[0], *ctx.saved_tensors, ctx.format, ctx.dtype), *[None] * 6

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        return batched_one_by_one(_ExpandToDense.apply, in_dims, inputs)


class _SumFromDense(torch.autograd.Function):
    @staticmethod
    def forward(
        weight: Tensor, gather: Tensor, bags: Tensor, bag_starts: Tensor, format: KernelFormat, dtype: torch.dtype
    ) -> Tensor:
        weight, num_orbits = weight.detach(), len(bag_starts) // format.out_fields
        per_field = len(gather) // format.out_fields
        sums = weight.new_empty((num_orbits, format.out_fields, format.in_fields), dtype=dtype)
        for start, stop in _portions(format, weight):
            number = stop - start
            mine = weight[_channels(format, start, stop)]
            pieces = _blocks_from_dense(mine, format._replace(out_fields=number)).to(dtype)
            found = F.embedding_bag(bags[: number * per_field], pieces, bag_starts[: number * num_orbits], mode="sum")
            sums[:, start:stop] = found.view(number, num_orbits, -1).transpose(0, 1)
        return sums.view(num_orbits, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        weight, *tables = inputs[:4]
        ctx.save_for_backward(*tables)
        ctx.format, ctx.dtype, ctx.channels_last = inputs[4], weight.dtype, is_channels_last(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layout = ctx.format, ctx.dtype, ctx.channels_last
        return _ExpandToDense.apply(gradients[0], *ctx.saved_tensors, *layout), *[None] * 5

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        return batched_one_by_one(_SumFromDense.apply, in_dims, inputs)
