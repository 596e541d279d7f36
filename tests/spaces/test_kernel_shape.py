import math

import pytest
import torch

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, ShapeError
from equimorph.spaces import KernelShape, dense_from_rows

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")


@pytest.mark.parametrize("group", [Z2, D4, OH], ids=str)
def test_a_regular_field_has_one_channel_per_element_and_a_trivial_one_a_single(group):
    kernel_size, n = (3,) * group.dim, group.order
    for target, out_channels in (("regular", 5 * n), ("trivial", 5)):
        for source, in_channels in (("regular", 2 * n), ("trivial", 2)):
            shape = KernelShape(group, 5, 2, kernel_size, target, source)
            assert (shape.out_channels, shape.in_channels) == (out_channels, in_channels)
            assert (shape.fan_in, shape.columns) == (in_channels * 3**group.dim, 10)


@pytest.mark.parametrize("kernel_size", [(), (2, 3)], ids=str)
def test_dense_weight_puts_each_entry_where_its_field_element_and_offset_say(kernel_size):
    shape = KernelShape(D4, 3, 2, kernel_size)
    rows = torch.arange(64 * math.prod(kernel_size) * 6.0).view(-1, 6)
    dense = dense_from_rows(rows, shape.format)
    assert dense.shape == (24, 16, *kernel_size)
    for row, values in enumerate(rows):
        entry, offset = divmod(row, math.prod(kernel_size))
        g, u = divmod(entry, 8)
        for column, value in enumerate(values):
            o, c = divmod(column, 2)
            assert dense[o * 8 + g, c * 8 + u].reshape(-1)[offset] == value


@pytest.mark.parametrize(
    ("fields", "needed"), [((0, 1), "out_fields is 0"), ((1, 0), "in_fields is 0"), ((1, -2), "in_fields is -2")]
)
def test_fewer_fields_than_one_are_refused(fields, needed):
    with pytest.raises(ConfigurationError, match=f"{needed}; a layer needs at least one field"):
        KernelShape(D4, *fields, (3, 3))


@pytest.mark.parametrize("kernel_size", [(3,), (3, 3, 3), (3, 0)], ids=str)
def test_kernels_that_do_not_fit_the_group_are_refused(kernel_size):
    with pytest.raises(ShapeError, match="group D4, which needs 2 positive extents"):
        KernelShape(D4, 1, 1, kernel_size)


def test_unknown_types_of_feature_are_refused():
    with pytest.raises(GroupError, match="got 'irrep'"):
        KernelShape(D4, 1, 1, (3, 3), source="irrep")
