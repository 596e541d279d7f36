import pytest
import reference
import torch

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, MorphismError, ShapeError
from equimorph.layers import Linear
from equimorph.testing import TOLERANCES, assert_equivariant

D4, OH = em.group("D4"), em.group("Oh")
SUBGROUPS = [*em.group("Z2").subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("C3@xyz", "C4v@z", "Oh"))]
TYPES = [("regular", "trivial"), ("regular", "regular"), ("trivial", "regular"), ("trivial", "trivial")]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")


def random_linear(H, *, in_fields=2, out_fields=3, **options):
    layer = Linear(in_fields, out_fields, group=H.group, subgroup=H, **options)
    if layer.space.bias is not None:
        torch.nn.init.normal_(layer.space.bias)
    return layer


@every_subgroup
def test_head_weighs_the_sum_over_each_coset(H, dtype):
    head = random_linear(H, dtype=dtype)
    x = torch.randn(4, 2 * H.group.order, dtype=dtype)
    fields, weight = x.unflatten(1, (2, -1)), head.dense_weight().unflatten(1, (2, -1))
    expected = head.dense_bias().repeat(4, 1)
    for r in reference.coset_representatives(H):
        coset = [reference.index_images(H.group, h)[r] for h in H.indices]
        expected = expected + fields[:, :, coset].sum(2) @ weight[:, :, r].T
    assert reference.relative_error(head(x), expected) < TOLERANCES[dtype]


@pytest.mark.parametrize(("source", "target"), TYPES, ids=lambda value: value)
@every_subgroup
def test_linear_map_commutes_with_every_element(H, source, target, dtype):
    layer = random_linear(H, source=source, target=target, dtype=dtype)
    x = torch.randn(4, layer.space.shape.in_channels, dtype=dtype)
    assert_equivariant(layer, x, source=source, target=target)


def test_head_constrained_to_everything_is_invariant_and_a_free_one_an_ordinary_linear_map(dtype):
    x = torch.randn(4, 16, dtype=dtype)
    free, invariant = random_linear(D4.trivial, dtype=dtype), random_linear(D4.whole, dtype=dtype)
    assert free.space.weight.numel() == 16 * 3 and invariant.space.weight.numel() == 2 * 3
    assert torch.equal(free(x), torch.nn.functional.linear(x, free.dense_weight(), free.dense_bias()))


@every_subgroup
def test_relaxed_head_computes_the_same_to_the_bit(H, dtype):
    head = random_linear(H, dtype=dtype)
    x = torch.randn(4, 2 * H.group.order, dtype=dtype)
    assert torch.equal(head.relaxed(H.group.trivial)(x), head(x))


def test_relaxing_to_a_group_that_is_not_smaller_is_refused():
    with pytest.raises(MorphismError, match="D4 is not contained in C4"):
        random_linear(D4.subgroup("C4")).relaxed(D4.whole)


def test_layer_tells_its_fields():
    assert "2 regular -> 3 trivial" in repr(random_linear(D4.whole))


def test_wrong_settings_and_inputs_are_refused():
    with pytest.raises(ShapeError, match=r"Linear: needs 16 channels, got 8\."):
        random_linear(D4.whole)(torch.zeros(1, 8))
    with pytest.raises(ConfigurationError, match="out_fields is 0"):
        Linear(1, 0, group="D4")
    with pytest.raises(GroupError, match='no subgroup "C8"'):
        Linear(1, 1, group="D4", subgroup="C8")
