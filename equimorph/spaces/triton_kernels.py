"""The launches of `dense_on_gpu`, in Triton. Imported where there is a GPU alone."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


def sum_dtype(dtype: torch.dtype) -> tl.dtype:
    """What sums are taken in, whose result is of a dtype."""
    return tl.float64 if dtype is torch.float64 else tl.float32


@triton.jit
def _offsets(
    entries,
    columns,
    out_stride,
    in_stride,
    tap_stride,
    NUM_OUT: tl.constexpr,
    IN_FIELDS: tl.constexpr,
    NUM_IN: tl.constexpr,
    TAPS: tl.constexpr,
):
    """Where the entries (g, u, delta) and columns (o, c) are in a kernel's memory."""
    g, u, tap = entries // (NUM_IN * TAPS), entries // TAPS % NUM_IN, entries % TAPS
    o, c = columns // IN_FIELDS, columns % IN_FIELDS
    by_entry = g * out_stride + u * in_stride + tap * tap_stride
    by_column = o * (NUM_OUT * out_stride) + c * (NUM_IN * in_stride)
    return by_entry[:, None] + by_column[None, :]


@triton.jit
def expand(
    table,
    index,
    weight,
    num_rows,
    num_columns,
    out_stride,
    in_stride,
    tap_stride,
    NUM_OUT: tl.constexpr,
    IN_FIELDS: tl.constexpr,
    NUM_IN: tl.constexpr,
    TAPS: tl.constexpr,
    HAS_INDEX: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """Put the rows of a table into place."""
    entries = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    inside = (entries < num_rows)[:, None] & (columns < num_columns)[None, :]
    rows = entries
    if HAS_INDEX:
        rows = tl.load(index + entries, mask=entries < num_rows, other=0).to(tl.int32)
    values = tl.load(table + rows[:, None] * num_columns + columns[None, :], mask=inside)
    offsets = _offsets(entries, columns, out_stride, in_stride, tap_stride, NUM_OUT, IN_FIELDS, NUM_IN, TAPS)
    tl.store(weight + offsets, values.to(weight.dtype.element_ty), mask=inside)


@triton.jit
def collapse(
    weight,
    members,
    sums,
    num_rows,
    num_columns,
    num_entries,
    out_stride,
    in_stride,
    tap_stride,
    NUM_OUT: tl.constexpr,
    IN_FIELDS: tl.constexpr,
    NUM_IN: tl.constexpr,
    TAPS: tl.constexpr,
    HAS_MEMBERS: tl.constexpr,
    MOST: tl.constexpr,
    SUM: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
):
    """Add up the entries of each row's orbit."""
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    columns = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    within = columns < num_columns
    found = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), SUM)
    for number in range(MOST):
        entries = rows
        if HAS_MEMBERS:
            entries = tl.load(members + rows * MOST + number, mask=rows < num_rows, other=num_entries).to(tl.int32)
        inside = ((rows < num_rows) & (entries < num_entries))[:, None] & within[None, :]
        offsets = _offsets(entries, columns, out_stride, in_stride, tap_stride, NUM_OUT, IN_FIELDS, NUM_IN, TAPS)
        found += tl.load(weight + offsets, mask=inside, other=0.0).to(SUM)
    inside = (rows < num_rows)[:, None] & within[None, :]
    tl.store(sums + rows[:, None] * num_columns + columns[None, :], found.to(sums.dtype.element_ty), mask=inside)
