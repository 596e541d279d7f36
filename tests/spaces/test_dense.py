"""Fast paths of dense kernels and plain ones agree to the bit; both with entries that are put down one by one."""

from itertools import product

import pytest
import reference
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap

import equimorph as em
from equimorph.groups import kernel_orbits
from equimorph.spaces import dense
from equimorph.spaces.dense import (
    DenseExpansion,
    KernelFormat,
    dense_from_rows,
    is_channels_last,
    rows_from_dense,
    transposed_blocks,
)
from equimorph.testing import TOLERANCES

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
TYPES = [("regular", "trivial"), ("regular", "regular"), ("trivial", "regular"), ("trivial", "trivial")]
AXIS_KEEPING = [H for H in D4.subgroups() if H <= D4.subgroup("D2@0")]
CASES = [
    *(pytest.param(H, extents, id=f"{H}-{extents}") for H in Z2.subgroups() for extents in ((), (2,), (5,))),
    *(
        pytest.param(H, extents, id=f"{H}-{extents}")
        for H in D4.subgroups()
        for extents in ((), (1, 1), (2, 2), (3, 3), (5, 5))
    ),
    *(pytest.param(H, extents, id=f"{H}-{extents}") for H in AXIS_KEEPING for extents in ((1, 3), (4, 3))),
    *(pytest.param(OH.subgroup(name), (2, 2, 2), id=f"{name}-Oh") for name in ("C3@xyz", "C4v@z")),
]
every_case = pytest.mark.parametrize(("H", "extents"), CASES)
every_subgroup = pytest.mark.parametrize("H", D4.subgroups(), ids=str)
every_type = pytest.mark.parametrize(("target", "source"), TYPES, ids=lambda value: value)


def expansion_of(H, extents, target="regular", source="regular", fields=(2, 3)):
    numbers = (reference.channels_of(H.group, representation) for representation in (target, source))
    format = KernelFormat(fields[0], next(numbers), fields[1], next(numbers), extents)
    return DenseExpansion(kernel_orbits(H, target, source, extents), format)


def table_for(expansion, **options):
    columns = expansion.format.out_fields * expansion.format.in_fields
    return torch.randn(expansion.rows.orbits.num_orbits, columns, **options)


def layouts(format):
    """Which layouts a kernel has: images and volumes have two."""
    return (False, True) if len(format.kernel_size) in (2, 3) else (False,)


def fields_for(H):
    return ((1, 1), (1, 3)) if H.group is OH else ((1, 1), (3, 1), (1, 3), (3, 3))


def entry_by_entry(rows, format):
    """W[(o, g), (c, u)](delta) = rows[(g, u, delta), (o, c)], with ordinary indices alone."""
    W = torch.full(format.weight_shape, torch.nan, dtype=rows.dtype)
    spatial = tuple(map(range, format.kernel_size))
    for row, (g, u, *delta) in zip(rows, product(range(format.num_out), range(format.num_in), *spatial), strict=True):
        for column, (o, c) in zip(row, product(range(format.out_fields), range(format.in_fields)), strict=True):
            W[(o * format.num_out + g, c * format.num_in + u, *delta)] = column
    return W


def memory_format(x):
    return {4: torch.channels_last, 5: torch.channels_last_3d}[x.ndim]


@pytest.mark.parametrize(
    "format",
    [
        KernelFormat(2, 2, 3, 2, ()),
        KernelFormat(2, 2, 1, 2, (3,)),
        KernelFormat(3, 4, 2, 1, (2, 3)),
        KernelFormat(1, 1, 3, 4, (2, 3)),
        KernelFormat(2, 2, 2, 3, (2, 1, 3)),
    ],
    ids=lambda format: "x".join(map(str, format[:4])),
)
def test_rows_are_put_where_their_triple_says(format, dtype):
    columns = format.out_fields * format.in_fields
    entries = torch.empty(format.weight_shape).numel() // columns
    rows = torch.randn(entries, columns, dtype=dtype)
    for channels_last in layouts(format):
        weight = dense_from_rows(rows, format, channels_last=channels_last)
        assert torch.equal(weight, entry_by_entry(rows, format))
        assert torch.equal(rows_from_dense(weight, format), rows)


@every_type
@every_case
def test_fast_kernels_are_the_rows_put_into_place(H, extents, target, source):
    for fields in fields_for(H):
        expansion = expansion_of(H, extents, target, source, fields)
        table = table_for(expansion)
        expected = dense_from_rows(table.index_select(0, expansion.rows.index), expansion.format)
        slow = reference.expand_table(table, H, target=target, source=source, kernel_size=extents, out_fields=fields[0])
        assert torch.equal(expected, slow)
        assert expansion(table).is_contiguous() and torch.equal(expansion(table), expected)
        for channels_last in layouts(expansion.format):
            weight = expansion(table, channels_last=channels_last)
            assert torch.equal(weight, expected)
            if channels_last:
                assert weight.is_contiguous(memory_format=memory_format(weight))
                assert is_channels_last(weight) == (not weight.is_contiguous())


@every_type
@every_subgroup
def test_kernels_of_another_precision_are_those_cast_afterwards(H, target, source, dtype):
    expansion = expansion_of(H, (3, 3), target, source)
    table = table_for(expansion, dtype=dtype)
    for channels_last, low in product((False, True), (torch.bfloat16, torch.float16, torch.float32)):
        weight = expansion(table, dtype=low, channels_last=channels_last)
        assert weight.dtype is low and torch.equal(weight, expansion(table).to(low))
        assert torch.equal(dense_from_rows(expansion.rows(table), expansion.format, dtype=low), weight)


@every_type
@every_case
def test_gradients_are_those_of_the_plain_path_in_both_layouts(H, extents, target, source, dtype, monkeypatch):
    expansion = expansion_of(H, extents, target, source)
    table = table_for(expansion, dtype=dtype, requires_grad=True)
    plain_rows = expansion.rows(table)
    for made_last, given_last in product(layouts(expansion.format), repeat=2):
        with monkeypatch.context() as patch:
            fast = expansion(table, channels_last=made_last)
            patch.setattr(dense, "_FAST_DEVICES", ())
            plain = expansion(table, channels_last=made_last)
        assert torch.equal(fast, plain) and fast.stride() == plain.stride()
        gradient = torch.randn(fast.shape, dtype=dtype)
        if given_last:
            gradient = gradient.contiguous(memory_format=memory_format(gradient))
        expected = reference_sum(gradient, expansion)
        for weight in (fast, plain, dense_from_rows(plain_rows, expansion.format)):
            (found,) = torch.autograd.grad(weight, table, gradient, retain_graph=True)
            assert found.dtype is dtype and found.is_contiguous()
            torch.testing.assert_close(found, expected, rtol=0, atol=10 * TOLERANCES[dtype])


def reference_sum(gradient, expansion):
    """The sum over each orbit of the gradient's rows, in float64."""
    rows = rows_from_dense(gradient.double(), expansion.format)
    sums = rows.new_zeros(expansion.rows.orbits.num_orbits, rows.shape[1])
    return sums.index_add_(0, torch.tensor(expansion.rows.orbits.index), rows).to(gradient.dtype)


@every_type
@pytest.mark.parametrize("name", ["C1", "D1@45", "C4", "D4"])
def test_gradients_are_those_of_finite_differences_up_to_the_second(name, target, source):
    for channels_last in (False, True):
        expansion = expansion_of(D4.subgroup(name), (2, 2), target, source, (1, 2))
        table = table_for(expansion, dtype=torch.float64, requires_grad=True)

        def squared(table, expansion=expansion, channels_last=channels_last):
            return expansion(table, channels_last=channels_last)[0].square()

        assert gradcheck(squared, (table,), fast_mode=True)
        assert gradgradcheck(squared, (table,), fast_mode=True)


def test_rows_have_gradients_of_both_directions():
    format = KernelFormat(2, 2, 3, 2, (2, 2))
    rows = torch.randn(16, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(format.weight_shape, dtype=torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last):
        there = weight.contiguous(memory_format=layout).requires_grad_()
        assert gradcheck(lambda weight: rows_from_dense(weight, format).square(), (there,), fast_mode=True)
        assert gradgradcheck(lambda weight: rows_from_dense(weight, format).square(), (there,), fast_mode=True)
    for last in (False, True):
        back = {"format": format, "channels_last": last}
        assert gradcheck(lambda rows, back=back: dense_from_rows(rows, **back).square(), (rows,), fast_mode=True)
        assert gradgradcheck(lambda rows, back=back: dense_from_rows(rows, **back).square(), (rows,), fast_mode=True)


@pytest.mark.parametrize("devices", [("cpu",), ()], ids=["fast", "plain"])
def test_a_batch_of_tables_is_expanded_one_by_one(devices, monkeypatch, dtype):
    monkeypatch.setattr(dense, "_FAST_DEVICES", devices)
    expansion = expansion_of(D4.subgroup("C2"), (3, 3))
    tables = torch.stack([table_for(expansion, dtype=dtype) for _ in range(3)])
    expected = torch.stack([expansion(table) for table in tables])
    assert torch.equal(vmap(expansion)(tables), expected)
    assert torch.equal(vmap(expansion, in_dims=2)(tables.movedim(0, 2)), expected)
    last = vmap(lambda table: expansion(table, channels_last=True))(tables)
    assert torch.equal(last, expected) and is_channels_last(last[0])


@pytest.mark.parametrize("devices", [("cpu",), ()], ids=["fast", "plain"])
def test_gradients_for_each_sample_are_those_of_single_samples(devices, monkeypatch, dtype):
    monkeypatch.setattr(dense, "_FAST_DEVICES", devices)
    expansion = expansion_of(D4.subgroup("D1"), (3, 3), fields=(1, 2))
    table, x = table_for(expansion, dtype=dtype), torch.randn(4, 1, 16, 4, 4, dtype=dtype)

    def loss(table, x):
        return torch.nn.functional.conv2d(x, expansion(table)).square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(table, x)
    for sample, gradient in zip(x, found, strict=True):
        leaf = table.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss(leaf, sample), leaf)
        assert reference.relative_error(gradient, expected) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 7, 2), (5, 1, 3), (5, 3, 1), (4, 1, 1), (1, 1, 1), (6, 16, 8)])
def test_blocks_are_transposed_one_by_one(sizes, dtype):
    blocks = torch.randn(sizes).to(dtype)
    turned = transposed_blocks(blocks)
    assert torch.equal(turned, blocks.transpose(1, 2)) and turned.is_contiguous()
    assert torch.equal(transposed_blocks(turned), blocks)


@pytest.mark.parametrize("devices", [("cpu",), ()], ids=["fast", "plain"])
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
def test_gradients_of_kernels_of_low_precision_are_summed_in_the_tables(low, devices, monkeypatch):
    """256 + 1 is 256 in bfloat16, 2048 + 1 is 2048 in float16: there, ones beside a large number would be lost."""
    monkeypatch.setattr(dense, "_FAST_DEVICES", devices)
    expansion = expansion_of(D4.whole, (1, 1), "regular", "trivial", (1, 1))
    table = table_for(expansion, requires_grad=True)
    large = 2.0 / torch.finfo(low).eps
    gradient = torch.tensor([large, *[1.0] * 7], dtype=low).view(8, 1, 1, 1)
    expansion(table, dtype=low).backward(gradient)
    assert table.grad.dtype is torch.float32 and table.grad.tolist() == [[large + 7]]
    assert gradient[0] + gradient[1] == gradient[0]


@every_subgroup
@pytest.mark.parametrize("channels_last", [False, True])
def test_kernels_made_in_portions_are_the_same(H, channels_last, monkeypatch):
    expansion, found = expansion_of(H, (3, 3), fields=(5, 2)), {}
    table = torch.randn(expansion.rows.orbits.num_orbits, 10, requires_grad=True)
    upstream = torch.randn(expansion.format.weight_shape)
    for size in (2**18, 2 * 8 * 8 * 9 * 2, 1):  # whole; in twos, with one left over; one by one
        monkeypatch.setattr(dense, "_PORTION", size)
        by_pieces = expansion(table, channels_last=channels_last)
        by_rows = dense_from_rows(expansion.rows(table), expansion.format, channels_last=channels_last)
        gradients = [torch.autograd.grad(weight, table, upstream)[0] for weight in (by_pieces, by_rows)]
        found[size] = by_pieces, by_rows, *gradients, rows_from_dense(by_pieces, expansion.format)
        assert is_channels_last(by_pieces) == is_channels_last(by_rows) == channels_last
    whole, *others = found.values()
    for other in others:
        for one, same in zip(other, whole, strict=True):
            assert torch.equal(one, same)
