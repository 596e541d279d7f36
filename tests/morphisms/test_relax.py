"""Relaxing keeps the function to the bit and leaves its argument alone; constraining finds the nearest module."""

import copy
import itertools
import random

import pytest
import safetensors.torch
import torch
from torch import nn

import equimorph as em
from equimorph.errors import GroupError, MorphismError, SiteError

D4 = em.group("D4")
PAIRS = [(H, K) for H in D4.subgroups() for K in D4.subgroups() if K <= H]


def make_network(constraints="D4", dtype=torch.float64):
    network = em.models.PaperNetwork(
        group=D4, constraints=constraints, image_size=9, in_channels=2, num_classes=3, fields=1, depth=3, kernel_size=3
    )
    return network.to(dtype)


def settled(network, x):
    """The network with running statistics and parameters that are no longer the initial ones, in evaluation mode."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.train()
    for _ in range(3):
        network(x)
    return network.eval()


def identical(one, other):
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize(("H", "K"), PAIRS, ids=lambda subgroup: subgroup.name)
def test_relaxing_keeps_dense_weights_and_evaluation_output_to_the_bit(H, K, dtype):
    x = torch.randn(5, 16, 7, 7, dtype=dtype)
    block = nn.Sequential(
        em.layers.Conv2d(2, 3, 3, group=D4, subgroup=H, padding=1, bias=True),
        em.layers.BatchNorm(3, group=D4, subgroup=H),
        em.layers.GlobalAvgPool(),
        em.layers.Linear(3, 4, group=D4, subgroup=H),
    ).to(dtype)
    settled(block, x)
    before = copy.deepcopy(block.state_dict())
    relaxed = em.relax(block, K)
    assert all(constraint == K for constraint in em.sites(relaxed).values())
    assert relaxed[1].constraint == K
    assert identical(relaxed[0].dense_weight(), block[0].dense_weight())
    assert identical(relaxed[0].dense_bias(), block[0].dense_bias())
    assert identical(relaxed[3].dense_weight(), block[3].dense_weight())
    assert identical(relaxed(x), block(x))
    assert all(identical(tensor, before[name]) for name, tensor in block.state_dict().items())
    assert all(constraint == H for constraint in em.sites(block).values())


def test_a_relaxed_layer_has_as_many_parameters_as_one_made_with_that_constraint():
    conv = em.layers.Conv2d(2, 3, 5, group=D4)
    for K in D4.subgroups():
        fresh = em.layers.Conv2d(2, 3, 5, group=D4, subgroup=K)
        relaxed = em.relax(conv, K)
        assert {n: p.shape for n, p in relaxed.named_parameters()} == {n: p.shape for n, p in fresh.named_parameters()}


@pytest.mark.parametrize("seed", range(4))
def test_networks_keep_their_output_to_the_bit_along_random_chains_and_through_a_file(seed, dtype, tmp_path):
    choose = random.Random(seed)
    x = torch.randn(6, 2, 9, 9, dtype=dtype)
    network = settled(make_network(dtype=dtype), x)
    expected = network(x)
    for _ in range(5):
        sites = em.sites(network)
        moved = {
            name: choose.choice([K for K in D4.subgroups() if K <= H])
            for name, H in sites.items()
            if choose.random() < 0.5
        }
        network = em.relax(network, moved)
        assert em.sites(network) == {**sites, **moved}
        assert identical(network(x), expected)
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    chain = [H.name for H in em.sites(network).values()]
    loaded = make_network(dtype=dtype)
    loaded = em.relax(loaded, dict(zip(em.sites(loaded), chain, strict=True))).eval()
    loaded.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    assert identical(loaded(x), expected)


@pytest.mark.parametrize("name", ["O", "D4h@z", "C3v@xyz", "Ci"])
def test_volumes_are_relaxed_to_the_bit(name, dtype):
    Oh = em.group("Oh")
    x = torch.randn(2, 1, 5, 5, 5, dtype=dtype)
    lift = em.layers.Conv3d(1, 1, 3, group=Oh, source="trivial", padding=1).to(dtype)
    relaxed = em.relax(lift, name)
    assert relaxed.constraint.name == name
    assert identical(relaxed(x), lift(x))


def test_norms_follow_the_site_before_them():
    relaxed = em.relax(make_network(), {"block2.conv": "C4", "block3.conv": "C4", "head.linear": "C1"})
    norms = [relaxed.block1.norm, relaxed.block2.norm, relaxed.block3.norm, relaxed.head.norm]
    assert [norm.constraint.name for norm in norms] == ["D4", "C4", "C4", "C1"]


def test_the_relaxed_network_shares_no_memory_with_its_parent():
    network = make_network()
    relaxed = em.relax(network, {"block3.conv": "D4", "head.linear": "C1"})
    owned = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert not owned & {tensor.data_ptr() for tensor in relaxed.state_dict().values()}


def test_gradients_and_frozen_parameters_are_left_behind_and_kept_in_this_order():
    network = make_network()
    network(torch.randn(4, 2, 9, 9, dtype=torch.float64)).sum().backward()
    network.block2.conv.space.weight.requires_grad_(False)
    relaxed = em.relax(network, "C4")
    assert all(parameter.grad is None for parameter in relaxed.parameters())
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not relaxed.block2.conv.space.weight.requires_grad
    assert relaxed.block1.conv.space.weight.requires_grad


def test_training_mode_and_layer_options_survive():
    conv = em.layers.Conv2d(1, 2, 3, group=D4, stride=2, padding=1, dilation=2).train(False)
    relaxed = em.relax(conv, "C2")
    options = ("stride", "padding", "dilation", "training")
    assert [getattr(relaxed, option) for option in options] == [getattr(conv, option) for option in options]
    norm = em.layers.BatchNorm(2, group=D4, eps=0.1, momentum=0.3).eval()
    assert (em.relax(norm, "C2").eps, em.relax(norm, "C2").momentum, em.relax(norm, "C2").training) == (0.1, 0.3, False)


@pytest.mark.parametrize("K", D4.subgroups(), ids=str)
def test_constraining_gives_the_nearest_kernel_that_commutes(K):
    conv = em.layers.Conv2d(2, 2, 3, group=D4, subgroup="C1", padding=1).double()
    nearest = em.constrain(conv, K)
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64)
    em.testing.assert_equivariant(nearest, x)
    weight = conv.dense_weight().detach()
    difference = weight - nearest.dense_weight().detach()
    for _ in range(5):  # the difference is orthogonal to every kernel that commutes
        other = em.layers.Conv2d(2, 2, 3, group=D4, subgroup=K).double().dense_weight().detach()
        assert abs((difference * other).sum()) <= 1e-12 * weight.norm() * other.norm()
    distance = em.distances(nn.Sequential(conv))["0"][K.name]
    assert distance == pytest.approx(float(difference.norm() / weight.norm()), abs=1e-12)


def test_constraining_undoes_relaxing():
    x = torch.randn(6, 2, 9, 9, dtype=torch.float64)
    network = settled(make_network(), x)
    back = em.constrain(em.relax(network, "C1"), "D4")
    assert (back(x) - network(x)).abs().max() < 1e-12
    assert all(constraint.name == "D4" for constraint in em.sites(back).values())


def test_a_constrained_network_is_equivariant_again():
    x = torch.randn(16, 2, 9, 9, dtype=torch.float64)
    network = settled(make_network("C1"), x)
    em.testing.assert_equivariant(em.constrain(network, "D4"), x, source="trivial", target="trivial")


@pytest.mark.parametrize(
    ("to", "error", "needed"),
    [
        ({"conv9": "C4"}, SiteError, '"conv9"; this network has "block1.conv"'),
        ({"block1.conv": "C3"}, GroupError, 'site "block1.conv": group D4: no subgroup "C3"'),
        ("D4h", GroupError, "no subgroup"),
        (em.group("O").subgroup("C4"), GroupError, "take both from one group"),
    ],
)
def test_wrong_requests_are_named(to, error, needed):
    with pytest.raises(error, match=needed):
        em.relax(make_network(), to)


@pytest.mark.parametrize(("H", "K"), [("C4", "D4"), ("C4", "D2@0"), ("D1@0", "D1@90")])
def test_relaxing_to_a_group_that_is_not_contained_is_refused(H, K):
    for module in (em.layers.Conv2d(1, 1, 3, group=D4, subgroup=H), em.layers.BatchNorm(1, group=D4, subgroup=H)):
        with pytest.raises(MorphismError, match=f"relax: {K} is not contained in {H}"):
            em.relax(module, K)


def test_a_network_without_sites_is_refused():
    with pytest.raises(SiteError, match="no sites"):
        em.relax(nn.Linear(2, 2), "C4")
    with pytest.raises(SiteError, match="single layer"):
        em.relax(em.layers.Conv2d(1, 1, 3, group=D4), {"0": "C4"})


def test_every_chain_of_relaxations_ends_in_the_same_parameters():
    conv = em.layers.Conv2d(1, 1, 3, group=D4)
    direct = em.relax(conv, "C1").state_dict()
    for H, K in itertools.pairwise(["C4", "C2"]):
        by_steps = em.relax(em.relax(em.relax(conv, H), K), "C1").state_dict()
        assert all(torch.equal(direct[name], by_steps[name]) for name in direct)


def test_a_layer_that_is_used_twice_stays_one_layer_and_its_parents_is_left_alone():
    twice = em.layers.Conv2d(1, 1, 3, group=D4, padding=1)
    network = nn.Sequential(em.layers.Conv2d(1, 1, 3, group=D4, source="trivial"), twice, nn.ReLU(), twice)
    relaxed = em.relax(network, "C1")
    assert relaxed[1] is relaxed[3] and relaxed[1] is not twice
    assert relaxed[3].constraint.name == "C1" and network[3].constraint.name == "D4"
    x = torch.randn(2, 1, 8, 8)
    assert identical(relaxed(x), network(x))
