"""A network becomes a mixture without a change of its function, and every site takes part."""

import copy

import pytest
import reference
import torch
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, SiteError
from equimorph.inspection import mixture_weights
from equimorph.layers import BatchNorm, Conv1d, Conv2d, Conv3d, GlobalAvgPool, Linear
from equimorph.layers._base import sites_of
from equimorph.spaces import MixedSpace, ResidualSpace, TiedMixedSpace
from equimorph.testing import TOLERANCES, assert_equivariant

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
CONVOLUTIONS = {1: Conv1d, 2: Conv2d, 3: Conv3d}
SIX = ["D4", "C4", "D2@0", "C2", "D1@90", "C1"]
both_families = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
every_start = pytest.mark.parametrize("start", ["uniform", "prior"])


def make_network(group=D4, *, constraints=None, dtype=torch.float64, kernel_size=3):
    """Lifting, group convolution, an invariant head; biases everywhere, norms after the convolutions."""
    first, second, third = constraints or [group.whole] * 3
    convolution = CONVOLUTIONS[group.dim]
    network = nn.Sequential(
        convolution(1, 2, kernel_size, group=group, subgroup=first, source="trivial", padding=kernel_size // 2),
        BatchNorm(2, group=group, subgroup=first),
        nn.ReLU(),
        convolution(2, 2, kernel_size, group=group, subgroup=second, padding=kernel_size // 2),
        BatchNorm(2, group=group, subgroup=second),
        nn.ReLU(),
        GlobalAvgPool(),
        Linear(2, 3, group=group, subgroup=third),
    ).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(2):
            network(images(group, dtype))
    return network.eval()


def images(group, dtype=torch.float64, batch=4):
    return torch.randn(batch, 1, *(5,) * group.dim, dtype=dtype)


def spaces_of(network):
    return {name: site.layer.space for name, site in sites_of(network).items()}


@every_start
@both_families
@pytest.mark.parametrize("group", [Z2, D4, OH], ids=str)
def test_mixing_a_constrained_network_keeps_its_function(group, tied, start, dtype):
    network = make_network(group, dtype=dtype, kernel_size=1 if group is OH else 3)
    mixed = em.mix(network, tied=tied, start=start)
    x = images(group, dtype)
    assert not mixed.training
    assert reference.relative_error(mixed(x), network(x)) < TOLERANCES[dtype]


@both_families
@torch.no_grad()
def test_mixing_keeps_every_kernel_that_commutes_with_all_members(tied, dtype):
    for H in D4.subgroups():
        network = make_network(constraints=[H] * 3, dtype=dtype)
        mixed = em.mix(network, [K for K in D4.subgroups() if K <= H], tied=tied)
        for site in em.sites(network):
            one, other = network.get_submodule(site), mixed.get_submodule(site)
            assert reference.relative_error(other.dense_weight(), one.dense_weight()) < TOLERANCES[dtype]
            assert reference.relative_error(other.dense_bias(), one.dense_bias()) < TOLERANCES[dtype]


@every_start
@both_families
@torch.no_grad()
def test_members_of_a_freer_layer_start_from_its_projections(tied, start, dtype):
    conv = make_network(constraints=["C2", "C1", "C1"], dtype=dtype)[3]
    mixed = em.mix(conv, tied=tied, start=start)
    types = {"source": "regular", "target": "regular"}
    z, expected, bias = torch.softmax(mixed.space.logits, 0), 0, 0
    for share, H in zip(z, mixed.space.members, strict=True):
        expected += share * reference.project_kernel(conv.dense_weight(), H, **types)
        bias += share * sum(reference.act(conv.dense_bias()[None], h, D4)[0] for h in H.indices) / H.order
    assert reference.relative_error(mixed.dense_weight(), expected) < TOLERANCES[dtype]
    assert reference.relative_error(mixed.dense_bias(), bias) < TOLERANCES[dtype]


@both_families
def test_every_site_the_head_and_biases_included_is_a_mixture_of_the_default_list(tied):
    mixed = em.mix(make_network(), tied=tied)
    spaces = spaces_of(mixed)
    assert list(spaces) == ["0", "3", "7"]
    for space in spaces.values():
        assert type(space) is (TiedMixedSpace if tied else MixedSpace)
        assert list(space.member_names) == SIX and not space.has_skip
        assert space.dense_bias() is not None
        biases = [space.bias] if tied else list(space.biases)
        cosets = 8 if space.shape.target == "regular" else 1
        rows = [cosets] if tied else [max(1, cosets // H.order) for H in space.members]
        assert [len(table) for table in biases] == rows
    names = [f"{site}.space.logits" for site in spaces]
    assert [name for name, _ in mixed.named_parameters() if "logits" in name] == names


@both_families
def test_norms_after_a_mixture_are_tied_over_the_whole_group(tied):
    network = make_network(constraints=["D4", "C4", "C1"])
    mixed = em.mix(network, tied=tied)
    assert [norm.constraint.name for norm in (mixed[1], mixed[4])] == ["D4", "D4"]
    assert [norm.constraint.name for norm in (network[1], network[4])] == ["D4", "C4"]
    same = em.mix(make_network(), tied=tied)
    assert all(len(norm.weight) == 1 for norm in (same[1], same[4]))


@both_families
def test_the_argument_is_left_alone(tied):
    network = make_network()
    network(images(D4)).sum().backward()
    before = copy.deepcopy(network.state_dict())
    random_state = torch.get_rng_state()
    mixed = em.mix(network, tied=tied)
    assert torch.equal(torch.get_rng_state(), random_state)
    with torch.no_grad():
        for tensor in mixed.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(constraint == D4.whole for constraint in em.sites(network).values())
    assert all(parameter.grad is None for parameter in mixed.parameters())
    assert all(parameter.grad is not None for parameter in network.parameters())


@both_families
def test_logits_start_uniform_or_at_the_prior(tied):
    for groups in (None, ["C1", "D4"], ["C2", "C4"]):
        uniform = spaces_of(em.mix(make_network(), groups, tied=tied, start="uniform"))
        prior = spaces_of(em.mix(make_network(), groups, tied=tied, start="prior"))
        for one, other in zip(uniform.values(), prior.values(), strict=True):
            assert one.logits.tolist() == [0.0] * len(one.members)
            assert other.logits.tolist() == [0.0, *[-2.0] * (len(other.members) - 1)]
            assert other.members[0].order == max(H.order for H in other.members)
            assert one.temperature == other.temperature == 1


def test_precision_and_mode_are_those_of_the_network(dtype):
    network = make_network(dtype=dtype).train()
    for mixed in (em.mix(network), em.mix(network, tied=True), em.add_residual(network)):
        assert all(tensor.dtype == dtype for tensor in mixed.state_dict().values())
        assert all(module.training for module in mixed.modules())


@both_families
def test_a_single_layer_can_be_mixed(tied, dtype):
    conv = Conv2d(2, 3, 3, group=D4, dtype=dtype)
    x = torch.randn(2, 16, 5, 5, dtype=dtype)
    assert reference.relative_error(em.mix(conv, tied=tied)(x), conv(x)) < TOLERANCES[dtype]


@both_families
def test_members_are_given_by_name_or_object_in_any_order(tied):
    conv = Conv2d(2, 3, 3, group=D4)
    for groups in (["C1", "D4", "C4"], [D4.subgroup("C4"), "D4", D4.trivial]):
        assert em.mix(conv, groups, tied=tied).space.member_names == ("D4", "C4", "C1")


@both_families
def test_a_skip_path_is_there_exactly_where_features_and_positions_are_the_same(tied):
    network = nn.Sequential(
        Conv2d(1, 2, 3, group=D4, source="trivial"),  # lifts
        Conv2d(2, 2, 3, group=D4, padding=1),
        Conv2d(2, 2, 3, group=D4),  # crops
        Conv2d(2, 2, 3, group=D4, padding=1, stride=2),
        Conv2d(2, 2, 3, group=D4, padding=2, dilation=2),
        Conv2d(2, 3, 3, group=D4, padding=1),  # widens
        Conv2d(3, 3, 2, group=D4),  # has no centre
        Conv2d(3, 3, 3, group=D4, target="trivial", padding=1),
        Linear(3, 3, group=D4, source="trivial", target="trivial"),
    )
    mixed = em.mix(network, ["C1", "D4"], tied=tied, skip=True)
    assert [name for name, space in spaces_of(mixed).items() if space.has_skip] == ["1", "4", "8"]
    for name in ("1", "4"):
        layer, plain = mixed.get_submodule(name), network.get_submodule(name)
        x = torch.randn(2, 16, 6, 6)
        assert reference.relative_error(layer(x), 2 / 3 * plain(x) + 1 / 3 * x) < 1e-5


@both_families
def test_a_mixed_network_commutes_with_what_all_members_have_in_common(tied, dtype):
    mixed = em.mix(make_network(dtype=dtype), ["C4", "D2@0"], tied=tied)
    with torch.no_grad():
        for name, parameter in mixed.named_parameters():
            if "space" in name:
                parameter.normal_()
    x = images(D4, dtype)
    assert all(constraint.name == "C2" for constraint in em.sites(mixed).values())
    assert_equivariant(mixed, x, source="trivial", target="trivial")
    with pytest.raises(AssertionError, match="does not commute"):
        assert_equivariant(mixed, x, source="trivial", target="trivial", constraint=D4.subgroup("C4"), tolerance=1e-3)


@both_families
def test_relaxing_a_mixed_network_to_the_intersection_keeps_its_function(tied, dtype):
    mixed = em.mix(make_network(dtype=dtype), ["C4", "D2@0"], tied=tied)
    with torch.no_grad():
        for parameter in mixed.parameters():
            parameter.normal_()
    relaxed = em.relax(mixed, "C2")
    x = images(D4, dtype)
    assert reference.relative_error(relaxed(x), mixed(x)) < TOLERANCES[dtype]
    assert [norm.constraint.name for norm in (relaxed[1], relaxed[4])] == ["C2", "C2"]


def test_mixtures_can_be_mixed_again():
    network = make_network()
    x = images(D4)
    for again in (em.mix(em.mix(network), ["C1", "C4"], tied=True), em.mix(em.add_residual(network), ["C1"])):
        assert reference.relative_error(again(x), network(x)) < 1e-12


def test_a_layer_that_is_used_twice_stays_one_layer():
    twice = Conv2d(1, 1, 3, group=D4, padding=1)
    network = nn.Sequential(Conv2d(1, 1, 3, group=D4, source="trivial"), twice, nn.ReLU(), twice)
    for mixed in (em.mix(network), em.mix(network, tied=True), em.add_residual(network)):
        assert mixed[1] is mixed[3] and mixed[1] is not twice


def test_adding_a_residual_keeps_the_function_and_ties_the_norms(dtype):
    network = make_network(dtype=dtype)
    x = images(D4, dtype)
    wider = em.add_residual(network, equivariant_penalty=0.1, residual_penalty=2)
    assert reference.relative_error(wider(x), network(x)) < TOLERANCES[dtype]
    for space in spaces_of(wider).values():
        assert type(space) is ResidualSpace
        assert (space.equivariant_penalty, space.residual_penalty) == (0.1, 2)
        assert space.weight.abs().max() < TOLERANCES[dtype]
    free = make_network(constraints=["D4", "D4", "C1"], dtype=dtype)
    assert reference.relative_error(em.add_residual(free)(x), free(x)) < TOLERANCES[dtype]
    assert em.add_residual(free)[7].space.weight.abs().max() > 0.1


def test_weights_of_a_mixture_are_those_of_its_softmax():
    mixed = em.mix(make_network(), skip=True, start="prior")
    weights = mixture_weights(mixed)
    assert list(weights["3"]) == [*SIX, "skip"] and list(weights["0"]) == SIX
    assert list(weights["3"].values()) == pytest.approx(torch.softmax(torch.tensor([0.0, *[-2.0] * 6]), 0).tolist())


@pytest.mark.parametrize(
    ("options", "error", "needed"),
    [
        ({"groups": []}, GroupError, "the list of members is empty; name subgroups of D4, such as C1"),
        ({"groups": ["C1", "C3"]}, GroupError, 'no subgroup "C3"; there are C1, C2'),
        ({"groups": [em.group("O").trivial]}, GroupError, "C1 is a subgroup of O, not of D4; choose among C1, C2"),
        ({"groups": ["C1", "D1", "D1@90"]}, GroupError, "C1, D1@90, D1@90 names a subgroup twice; name each once"),
        ({"start": "sharp"}, ConfigurationError, 'start is "sharp"; it is one of uniform, prior'),
        ({"tied": True, "penalties": {"C1": 0.1}}, ConfigurationError, "tied members share one kernel.*no penalties"),
        ({"penalties": {"C3": 0.1}}, GroupError, "penalty for C3, which is no member; there are D4, C4"),
        ({"penalties": {"C1": -1.0}}, ConfigurationError, r"penalty of C1 is -1\.0; it must not be negative"),
    ],
    ids=str,
)
def test_mistakes_are_refused_in_one_line(options, error, needed):
    for module in (make_network(), Conv2d(1, 1, 3, group=D4)):
        with pytest.raises(error, match=needed) as caught:
            em.mix(module, **options)
        assert "\n" not in str(caught.value)


def test_a_network_without_sites_is_refused():
    for morphism, speaker in ((em.mix, "mix"), (em.add_residual, "add_residual")):
        with pytest.raises(SiteError, match=f"{speaker}: ReLU has no sites"):
            morphism(nn.ReLU())
