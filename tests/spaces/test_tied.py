import math
import random

import pytest
import reference
import torch

import equimorph as em
from equimorph.errors import MorphismError, ShapeError
from equimorph.spaces import KernelShape, TiedSpace, tied
from equimorph.testing import TOLERANCES

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
VOLUME_SAMPLE = [OH.subgroup(name) for name in ("C1", "Ci", "Cs@x-y", "C3@xyz", "C4v@z", "D4h@x", "Td", "O", "Oh")]
TYPES = [("regular", "trivial"), ("regular", "regular"), ("trivial", "regular"), ("trivial", "trivial")]
PAIRS = [(H, K) for H in D4.subgroups() for K in D4.subgroups() if K <= H]
every_subgroup = pytest.mark.parametrize("H", D4.subgroups(), ids=str)
every_type = pytest.mark.parametrize(("target", "source"), TYPES, ids=lambda value: value)


def random_space(H, *, target="regular", source="regular", extents=None, fields=(2, 3), dtype=None, bias=True):
    shape = KernelShape(H.group, *fields, (3,) * H.group.dim if extents is None else extents, target, source)
    space = TiedSpace(shape, H, bias=bias, dtype=dtype)
    if bias:
        torch.nn.init.normal_(space.bias)
    return space


def assert_commutes_exactly(space, H):
    types = {"target": space.shape.target, "source": space.shape.source}
    weight, bias = space()
    for h in H.indices:
        assert torch.equal(reference.move_kernel(weight, h, H.group, **types), weight)
        assert torch.equal(reference.act(bias[None], h, H.group, types["target"])[0], bias)


@every_type
@every_subgroup
def test_kernels_for_images_fulfil_equation_1_entry_by_entry(H, target, source, dtype):
    for extents in ((), (2, 2), (3, 3)):
        assert_commutes_exactly(random_space(H, target=target, source=source, extents=extents, dtype=dtype), H)


@every_type
@pytest.mark.parametrize("H", Z2.subgroups(), ids=str)
def test_kernels_for_signals_fulfil_equation_1_entry_by_entry(H, target, source, dtype):
    for extents in ((), (4,), (5,)):
        assert_commutes_exactly(random_space(H, target=target, source=source, extents=extents, dtype=dtype), H)


@every_type
@pytest.mark.parametrize("H", VOLUME_SAMPLE, ids=str)
def test_kernels_for_volumes_fulfil_equation_1_entry_by_entry(H, target, source, dtype):
    extents = (2, 2, 2) if source == target == "regular" else (3, 3, 3)
    space = random_space(H, target=target, source=source, extents=extents, fields=(1, 1), dtype=dtype)
    assert_commutes_exactly(space, H)


@every_subgroup
def test_parameters_are_as_many_as_the_method_says(H):
    n, k2, pairs = D4.order, 25, 2 * 3
    for target, source, per_pair in (
        ("regular", "trivial", n * k2),
        ("regular", "regular", n * n * k2),
        ("trivial", "regular", n * k2),
    ):
        space = random_space(H, target=target, source=source, extents=(5, 5))
        assert space.weight.numel() * H.order == per_pair * pairs
    assert random_space(H, extents=(), target="trivial").weight.numel() * H.order == n * pairs


@every_subgroup
def test_biases_are_one_per_right_coset_and_field(H):
    assert random_space(H, target="regular").bias.shape == (len(H.right_cosets()), 2)
    assert random_space(H, target="trivial").bias.shape == (1, 2)
    assert random_space(H, bias=False).bias is None and random_space(H, bias=False).dense_bias() is None


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("C1", 25),
        ("C2", 13),
        ("C4", 7),
        ("D1@0", 15),
        ("D1@45", 15),
        ("D1@90", 15),
        ("D1@135", 15),
        ("D2@0", 9),
        ("D2@45", 9),
        ("D4", 6),
    ],
)
def test_filters_from_image_to_image_have_one_parameter_per_orbit_of_pixels(name, count):
    H = D4.subgroup(name)
    space = random_space(H, target="trivial", source="trivial", extents=(5, 5))
    assert space.weight.shape == (count, 6)
    assert len(reference.orbits(H, "trivial", "trivial", (5, 5))) == count


@every_type
@pytest.mark.parametrize(("H", "K"), PAIRS, ids=str)
def test_relaxing_keeps_kernel_and_bias_to_the_bit(H, K, target, source, dtype):
    space = random_space(H, target=target, source=source, dtype=dtype)
    relaxed = tied.relaxed(space, K)
    assert relaxed.constraint == K and relaxed.weight.shape[0] == len(relaxed.weight_expansion.orbits.members)
    assert torch.equal(relaxed.dense_weight(), space.dense_weight())
    assert torch.equal(relaxed.dense_bias(), space.dense_bias())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("group", [D4, OH], ids=str)
def test_relaxing_along_a_random_chain_keeps_the_kernel_to_the_bit(group, seed, dtype):
    choose = random.Random(seed)
    space = random_space(group.whole, extents=(2,) * group.dim, fields=(1, 2), dtype=dtype)
    weight, bias = space()
    while space.constraint.order > 1:
        space = tied.relaxed(space, choose.choice([K for K in group.subgroups() if space.constraint > K]))
        assert torch.equal(space.dense_weight(), weight) and torch.equal(space.dense_bias(), bias)


def test_morphisms_leave_their_argument_alone():
    space = random_space(D4.subgroup("C4"))
    before = {name: table.clone() for name, table in space.state_dict().items()}
    for moved in (
        tied.relaxed(space, D4.subgroup("C4")),
        tied.relaxed(space, D4.subgroup("C2")),
        tied.projected(space, D4.whole),
    ):
        with torch.no_grad():
            moved.weight.add_(1)
            moved.bias.add_(1)
        assert space.constraint.name == "C4"
        assert all(torch.equal(table, before[name]) for name, table in space.state_dict().items())


def test_morphisms_carry_mode_precision_and_frozen_parameters():
    space = random_space(D4.whole, dtype=torch.float64).eval()
    space.weight.requires_grad_(False)
    for moved in (tied.relaxed(space, D4.trivial), tied.projected(space, D4.subgroup("C2"))):
        assert moved.weight.dtype == moved.bias.dtype == torch.float64 and not moved.training
        assert (moved.weight.requires_grad, moved.bias.requires_grad) == (False, True)


@pytest.mark.parametrize(
    ("present", "wanted"),
    [("C2", "C4"), ("C4", "D4"), ("C1", "D1@0"), ("C4", "D1@90"), ("D1@0", "D1@90"), ("D2@0", "D2@45")],
)
def test_relaxing_to_a_group_that_is_not_smaller_is_refused(present, wanted):
    with pytest.raises(MorphismError, match=f"{wanted} is not contained in {present}.*constrain goes the other way"):
        tied.relaxed(random_space(D4.subgroup(present)), D4.subgroup(wanted))


@every_type
@every_subgroup
def test_projecting_averages_the_moved_kernels(H, target, source, dtype):
    for K in D4.subgroups():
        space = random_space(K, target=target, source=source, fields=(1, 2), dtype=dtype)
        projected = tied.projected(space, H)
        expected = reference.project_kernel(space.dense_weight(), H, source=source, target=target)
        torch.testing.assert_close(projected.dense_weight(), expected, rtol=0, atol=TOLERANCES[dtype])
        bias = sum(reference.act(space.dense_bias()[None], h, D4, target)[0] for h in H.indices) / H.order
        torch.testing.assert_close(projected.dense_bias(), bias, rtol=0, atol=TOLERANCES[dtype])
        assert projected.constraint == H


@pytest.mark.parametrize(("H", "K"), PAIRS, ids=str)
def test_projecting_back_undoes_relaxing(H, K, dtype):
    space = random_space(H, dtype=dtype)
    there_and_back = tied.projected(tied.relaxed(space, K), H)
    torch.testing.assert_close(there_and_back.weight, space.weight, rtol=TOLERANCES[dtype], atol=0)


@every_type
@every_subgroup
def test_distance_is_the_share_of_the_kernel_that_projection_takes_away(H, target, source, dtype):
    for K in D4.subgroups():
        space = random_space(K, target=target, source=source, fields=(1, 2), dtype=dtype)
        weight = space.dense_weight().detach().double()
        nearest = reference.project_kernel(weight, H, source=source, target=target)
        assert tied.distance(space, H) == pytest.approx(float((weight - nearest).norm() / weight.norm()), abs=1e-12)
        assert 0 <= tied.distance(space, H) <= 1


@pytest.mark.parametrize(("H", "K"), PAIRS, ids=str)
def test_distance_from_every_group_within_the_constraint_is_nothing(H, K, dtype):
    for space in (random_space(H, dtype=dtype), tied.relaxed(random_space(H, dtype=dtype), K)):
        assert tied.distance(space, H) < 1e-15  # measured: 0
        assert tied.distance(space, K) < 1e-15


def test_distance_of_a_kernel_of_zeros_is_nothing():
    space = random_space(D4.trivial)
    torch.nn.init.zeros_(space.weight)
    assert tied.distance(space, D4.whole) == 0


def test_state_holds_the_parameters_and_no_index_table():
    space = random_space(D4.subgroup("C2"))
    assert {name: tuple(table.shape) for name, table in space.state_dict().items()} == {
        "weight": (4 * 8 * 9, 6),
        "bias": (4, 2),
    }
    assert set(random_space(D4.subgroup("C2"), bias=False).state_dict()) == {"weight"}


def test_each_parameter_tells_its_orbits():
    space = random_space(D4.subgroup("C4"))
    orbits = space.parameter_orbits()
    assert {name: found.num_orbits for name, found in orbits.items()} == {
        name: len(table) for name, table in space.named_parameters()
    }
    assert set(random_space(D4.subgroup("C4"), bias=False).parameter_orbits()) == {"weight"}


def test_initial_values_follow_the_generator_alone(dtype):
    shape = KernelShape(D4, 2, 2, (3, 3))
    draws = []
    for seed in (1, 1, 2):
        state = torch.get_rng_state()
        space = TiedSpace(shape, D4.subgroup("C4"), generator=torch.Generator().manual_seed(seed), dtype=dtype)
        assert torch.equal(torch.get_rng_state(), state)
        draws.append(space.weight.detach().clone())
        space.reset_parameters(torch.Generator().manual_seed(seed))
        assert torch.equal(space.weight, draws[-1])
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_morphisms_and_distances_draw_nothing_from_the_global_generator():
    space = random_space(D4.subgroup("C4"))
    state = torch.get_rng_state()
    tied.relaxed(space, D4.trivial)
    tied.projected(space, D4.whole)
    tied.distance(space, D4.whole)
    assert torch.equal(torch.get_rng_state(), state)


@every_subgroup
def test_initial_variance_is_hes_from_the_dense_kernel(H):
    for target, source in TYPES:
        divisor = H.order if (target, source) == ("trivial", "regular") else 1
        space = TiedSpace(KernelShape(D4, 64, 64, (3, 3), target, source), H, bias=True)
        fan_in = 64 * 9 * (8 if source == "regular" else 1)
        assert space.weight.var().item() * fan_in * divisor / 2 == pytest.approx(1, rel=0.05)
        assert abs(space.weight.mean().item()) < 5 * math.sqrt(2 / fan_in / space.weight.numel())
        assert not space.bias.any()


def test_kernels_whose_axes_the_subgroup_exchanges_need_equal_extents():
    assert random_space(D4.subgroup("D2@0"), extents=(3, 5)).dense_weight().shape == (16, 24, 3, 5)
    with pytest.raises(ShapeError, match=r"\(3, 5\): C4 exchanges its axes"):
        random_space(D4.subgroup("C4"), extents=(3, 5))


def test_gradient_of_a_parameter_is_the_sum_over_its_orbit():
    space = random_space(D4.whole, dtype=torch.float64)
    free = tied.relaxed(space, D4.trivial)
    target = torch.randn_like(space.dense_weight())
    for module in (space, free):
        (module.dense_weight() * target).sum().backward()
    summed = space.weight_expansion.sum_over_orbits(free.weight.grad)
    torch.testing.assert_close(space.weight.grad, summed, rtol=1e-12, atol=1e-12)
