"""A linear layer that reads flattened maps is a convolution as large as the map."""

import pytest
import reference
import torch

import equimorph as em
from equimorph.errors import MorphismError, ShapeError
from equimorph.layers import Conv1d, Conv2d, Conv3d, Linear
from equimorph.testing import TOLERANCES

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
CONVOLUTIONS = {1: Conv1d, 2: Conv2d, 3: Conv3d}
SIDES = {1: (5,), 2: (3, 3), 3: (2, 2, 2)}
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("C3@xyz", "C4v@z", "Oh"))]
TYPES = [("regular", "trivial"), ("regular", "regular"), ("trivial", "regular"), ("trivial", "trivial")]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")
every_type = pytest.mark.parametrize(("source", "target"), TYPES, ids=lambda value: value)


def random_linear(H, *, in_fields=2, out_fields=3, sides=None, **options):
    sides = SIDES[H.group.dim] if sides is None else sides
    layer = Linear(in_fields, out_fields, group=H.group, subgroup=H, sides=sides, **options)
    if layer.space.bias is not None:
        torch.nn.init.normal_(layer.space.bias)
    return layer


def random_maps(layer, *, dtype=None):
    return torch.randn(4, layer.space.shape.in_channels, *layer.space.shape.kernel_size, dtype=dtype)


@every_type
@every_subgroup
@torch.no_grad()
def test_it_is_a_convolution_as_large_as_the_map(H, source, target, dtype):
    layer = random_linear(H, source=source, target=target, dtype=dtype)
    conv = CONVOLUTIONS[H.group.dim](
        2, 3, SIDES[H.group.dim], group=H.group, subgroup=H, source=source, target=target, dtype=dtype
    )
    conv.load_state_dict(layer.state_dict())
    x = random_maps(layer, dtype=dtype)
    out = layer(x.flatten(1))
    assert reference.relative_error(out, conv(x).flatten(1)) < TOLERANCES[dtype]
    slow = reference.group_convolution(x, layer.dense_weight(), H, source=source, target=target).flatten(1)
    assert reference.relative_error(out, slow + layer.dense_bias()) < TOLERANCES[dtype]


@every_type
@every_subgroup
@torch.no_grad()
def test_it_commutes_with_every_element_of_its_constraint_and_no_other(H, source, target, dtype):
    layer = random_linear(H, source=source, target=target, dtype=dtype)
    x = random_maps(layer, dtype=dtype)
    out = layer(x.flatten(1))
    errors = {}
    for h in range(H.group.order):
        moved = layer(reference.act(x, h, H.group, source).flatten(1))
        errors[h] = reference.relative_error(moved, reference.act(out, h, H.group, target))
    commuting = {h for h, error in errors.items() if error < TOLERANCES[dtype]}
    assert commuting >= set(H.indices)
    if (source, target) != ("trivial", "trivial"):  # between images orbits on so few positions are those of more
        assert commuting == set(H.indices)


@every_type
@every_subgroup
def test_relaxed_it_computes_the_same_to_the_bit(H, source, target, dtype):
    layer = random_linear(H, source=source, target=target, dtype=dtype)
    x = random_maps(layer, dtype=dtype).flatten(1)
    relaxed = layer.relaxed(H.group.trivial)
    assert torch.equal(relaxed(x), layer(x)) and relaxed.constraint.order == 1
    projected = relaxed.projected(H)
    assert projected.distance(H) < 1e-15 and reference.relative_error(projected(x), layer(x)) < TOLERANCES[dtype]


def test_maps_may_be_rectangular_where_no_axes_are_exchanged():
    layer = random_linear(D4.subgroup("D2@0"), sides=(2, 5), dtype=torch.float64)
    x = torch.randn(4, 16, 2, 5, dtype=torch.float64)
    for h in layer.constraint.indices:
        moved = layer(reference.act(x, h, D4).flatten(1))
        assert reference.relative_error(moved, layer(x.flatten(1))) < TOLERANCES[torch.float64]
    with pytest.raises(ShapeError, match="D4 exchanges its axes, so they must be equal"):
        random_linear(D4.whole, sides=(2, 5))


def test_its_initial_variance_is_that_of_all_its_inputs():
    layer = Linear(16, 64, group="D4", subgroup="C1", target="regular", sides=(4, 4), bias=False)
    assert float(layer.dense_weight().detach().var()) == pytest.approx(2 / (16 * 8 * 16), rel=0.05)


def test_its_plain_form_is_torch_s_own_layer():
    layer = random_linear(D4.subgroup("C4"))
    x = random_maps(layer).flatten(1)
    ordinary = em.plain(layer, x)
    assert type(ordinary) is torch.nn.Linear and torch.equal(ordinary(x), layer(x))
    assert ordinary.in_features == 2 * 8 * 9


def test_it_follows_any_axes_in_front():
    layer = random_linear(D4.whole)
    x = torch.randn(2, 3, 144)
    assert layer(x).shape == (2, 3, 3) and torch.equal(layer(x)[1], layer(x[1]))


@pytest.mark.parametrize("tied", [False, True])
def test_a_mixture_of_it_has_no_skip_path_and_one_of_vectors_has(tied):
    kind = {"in_fields": 2, "out_fields": 2, "target": "regular"}
    for sides, has_skip in (((3, 3), False), ((1, 1), False), ((), True)):
        layer = random_linear(D4.whole, sides=sides, **kind)
        mixed = em.mix(layer, ["C1", "D4"], skip=True, tied=tied)
        assert layer.can_skip == mixed.space.has_skip == has_skip


def test_it_tells_its_sides_and_refuses_what_does_not_fit():
    assert "2 regular -> 3 trivial, sides=(3, 3)" in repr(random_linear(D4.whole))
    with pytest.raises(ShapeError, match=r"Linear: needs 144 channels, got 16\."):
        random_linear(D4.whole)(torch.zeros(1, 16))
    with pytest.raises(ShapeError, match=r"kernel_size \(3,\) does not fit the group D4"):
        random_linear(D4.whole, sides=(3,))
    with pytest.raises(ShapeError, match="needs 2 positive extents"):
        random_linear(D4.whole, sides=(3, 0))
    with pytest.raises(MorphismError, match="not contained in C4"):
        random_linear(D4.subgroup("C4")).relaxed(D4.whole)
