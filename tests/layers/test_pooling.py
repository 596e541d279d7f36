from itertools import product

import pytest
import torch

import equimorph as em
from equimorph.errors import ConfigurationError, ShapeError
from equimorph.layers import AvgPool, GlobalAvgPool, MaxPool, keeps_grid
from equimorph.testing import TOLERANCES, assert_equivariant

GROUPS = [em.group("Z2"), em.group("D4"), em.group("Oh")]
POOLS = [AvgPool, MaxPool]
every_group = pytest.mark.parametrize("group", GROUPS, ids=str)
every_pool = pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool.__name__)


@pytest.mark.parametrize("stride", [1, 2, 3])
@every_pool
@every_group
def test_pooling_commutes_with_the_whole_group_at_every_size(group, pool, stride, dtype):
    for side in range(stride, 8 if group.dim < 3 else stride + 3):
        x = torch.randn(2, group.order, *(side,) * group.dim, dtype=dtype)
        assert_equivariant(pool(stride), x, constraint=group.whole)


@every_group
def test_global_pooling_commutes_with_the_whole_group(group, dtype):
    for side in (4, 5):
        x = torch.randn(2, 2 * group.order, *(side,) * group.dim, dtype=dtype)
        assert_equivariant(GlobalAvgPool(), x, constraint=group.whole)
        torch.testing.assert_close(GlobalAvgPool()(x), x.mean(tuple(range(2, x.ndim))), atol=TOLERANCES[dtype], rtol=0)


@pytest.mark.parametrize(("pool", "reduce"), [(AvgPool, torch.mean), (MaxPool, torch.amax)], ids=["AvgPool", "MaxPool"])
@pytest.mark.parametrize("sides", [(9,), (6, 7), (8, 11), (4, 5, 7)], ids=str)
def test_windows_cover_every_pixel_and_reduce_their_own(pool, reduce, sides, dtype):
    x = torch.randn(2, 3, *sides, dtype=dtype)
    for stride in (1, 2, 3):
        layer = pool(stride)
        out, windows = layer(x), layer.windows(sides)
        assert out.shape[2:] == tuple(side // stride for side in sides)
        for axis, (side, window) in enumerate(zip(sides, windows, strict=True)):
            assert keeps_grid(side, window, stride=stride)
            assert (out.shape[2 + axis] - 1) * stride + window == side
        for position in torch.cartesian_prod(*(torch.arange(n) for n in out.shape[2:])).view(-1, len(sides)).tolist():
            patch = x[(..., *(slice(p * stride, p * stride + w) for p, w in zip(position, windows, strict=True)))]
            expected = reduce(patch.flatten(2), dim=2)
            torch.testing.assert_close(out[(..., *position)], expected, rtol=0, atol=TOLERANCES[dtype])


def test_keeps_grid_says_where_the_windows_lie_symmetrically():
    for side, window, stride, padding, dilation in product(range(4, 10), (1, 2, 3), (1, 2, 3), (0, 1), (1, 2)):
        reach = dilation * (window - 1)
        starts = range(-padding, side + padding - reach, stride)
        centres = {2 * start + reach - (side - 1) for start in starts}  # doubled, measured from the middle of the side
        symmetric = centres == {-centre for centre in centres}
        if starts:
            assert keeps_grid(side, window, stride=stride, padding=padding, dilation=dilation) == symmetric


@every_pool
def test_strides_below_one_are_refused(pool):
    with pytest.raises(ConfigurationError, match=f"{pool.__name__}: stride is 0; it must be at least one"):
        pool(0)


@every_pool
def test_images_smaller_than_the_stride_are_refused(pool):
    with pytest.raises(ShapeError, match=rf"{pool.__name__}: sides \(4, 2\) are smaller than the stride 3"):
        pool(3)(torch.zeros(1, 8, 4, 2))


@every_pool
def test_pooling_tells_its_stride(pool):
    assert repr(pool(3)) == f"{pool.__name__}(stride=3)"


@pytest.mark.parametrize("pool", [AvgPool(2), MaxPool(2), GlobalAvgPool()], ids=lambda pool: type(pool).__name__)
def test_vectors_cannot_be_pooled(pool):
    with pytest.raises(ShapeError, match="no spatial axis"):
        pool(torch.zeros(2, 8))
