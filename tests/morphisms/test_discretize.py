"""Out of a mixture by the best admissible sequence, against all admissible sequences one by one."""

import itertools
import math
import random

import pytest
import reference
import torch
from torch import nn

import equimorph as em
from equimorph.errors import SiteError
from equimorph.layers import Conv2d, Conv3d, GlobalAvgPool, Linear
from equimorph.layers._base import sites_of
from equimorph.morphisms.discretize import best_sequence
from equimorph.testing import TOLERANCES

D4, OH = em.group("D4"), em.group("Oh")
SIX, TEN = em.search_groups("D4"), D4.subgroups()
VOLUMES = [OH.subgroup(name) for name in ("C1", "C2@z", "C4@z", "C2v@z", "C4v@z", "D4@z", "D4h@z", "O", "Oh")]


def admissible(members, length):
    """All sequences whose sets of elements never grow."""
    sets = {H: frozenset(H.indices) for H in members}
    chains = [(H,) for H in members]
    for _ in range(length - 1):
        chains = [(*chain, H) for chain in chains for H in members if sets[H] <= sets[chain[-1]]]
    return chains


def brute_force(chains, scores):
    """Greatest product of scores; of equal ones that with the larger group first, and then next, and so on."""
    totals = {chain: sum(math.log(s[H]) for s, H in zip(scores, chain, strict=True)) for chain in chains}
    top = max(totals.values())
    tied = [chain for chain, total in totals.items() if total > top - 1e-9]
    return list(max(tied, key=lambda chain: [(H.order, H.indices) for H in chain])), totals


def random_scores(members, length, choose):
    rows = []
    for _ in range(length):
        z = [math.exp(choose.gauss(0, 1)) for _ in members]
        rows.append({H: weight / sum(z) for H, weight in zip(members, z, strict=True)})
    return rows


@pytest.mark.parametrize(
    ("members", "length"),
    [*((SIX, length) for length in (1, 2, 3, 4, 5)), *((TEN, length) for length in (3, 4, 5)), (VOLUMES, 3)],
    ids=lambda value: str(value if isinstance(value, int) else len(value)),
)
def test_the_best_sequence_is_the_best_of_all(members, length):
    chains, choose = admissible(members, length), random.Random(length)
    for _ in range(12):
        scores = random_scores(members, length, choose)
        found = best_sequence(scores)
        expected, totals = brute_force(chains, scores)
        assert tuple(found) in totals and found == expected


@pytest.mark.parametrize("members", [SIX, TEN], ids=len)
def test_ties_go_to_the_larger_group(members):
    """Shares of few values give many sequences of one product, whose logarithms differ in their last digits."""
    chains, choose, with_ties = admissible(members, 3), random.Random(0), 0
    for _ in range(60):
        scores = [{H: choose.choice((0.1, 0.2, 0.3, 0.4, 0.6)) for H in members} for _ in range(3)]
        expected, totals = brute_force(chains, scores)
        with_ties += sum(total > max(totals.values()) - 1e-9 for total in totals.values()) > 1
        assert best_sequence(scores) == expected
    assert with_ties > 20


def test_equal_shares_keep_the_whole_group():
    assert best_sequence([dict.fromkeys(SIX, 1 / 6)] * 4) == [D4.whole] * 4


def test_a_share_of_zero_is_taken_only_where_nothing_else_is_admissible():
    C4, C2, C1 = (D4.subgroup(name) for name in ("C4", "C2", "C1"))
    assert best_sequence([{C4: 0.0, C2: 1.0}, {C4: 0.999, C1: 0.001}]) == [C2, C1]
    assert best_sequence([{C2: 1.0, C4: 0.0}, {C4: 1.0}]) == [C4, C4]


def test_no_admissible_sequence_gives_none():
    C4, D2 = D4.subgroup("C4"), D4.subgroup("D2@0")
    assert best_sequence([{C4: 1.0}, {D2: 1.0}]) is None
    assert best_sequence([{C4: 1.0}, {C4: 0.5, D2: 0.5}, {D2: 1.0}]) is None


# On networks.


def make_network(dtype=torch.float64):
    network = em.models.PaperNetwork(
        group=D4, image_size=6, in_channels=1, num_classes=3, fields=1, depth=3, kernel_size=3
    ).to(dtype)
    with torch.no_grad():
        network(images(dtype))
    return network.eval()


def images(dtype=torch.float64):
    return torch.randn(6, 1, 6, 6, dtype=dtype)


@torch.no_grad()
def randomized(network):
    """Independent members, biases and logits."""
    for parameter in network.parameters():
        parameter.normal_()
    return network


def chain_of(network):
    return list(em.sites(network).values())


@pytest.mark.parametrize("members", [SIX, TEN], ids=len)
def test_a_network_takes_the_best_of_all_sequences(members):
    mixed = em.mix(make_network(), members)
    chains = admissible(members, 4)
    for seed in range(5):
        torch.manual_seed(seed)
        randomized(mixed)
        scores = []
        for site in sites_of(mixed).values():
            z = torch.softmax(site.layer.space.logits, 0).tolist()
            scores.append(dict(zip(site.layer.space.members, z, strict=True)))
        found = em.discretize(mixed)
        assert chain_of(found) == brute_force(chains, scores)[0]
        assert all(later <= earlier for earlier, later in itertools.pairwise(chain_of(found)))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_each_kernel_is_the_nearest_one_to_the_merged_kernel(tied, dtype):
    mixed = nn.Sequential(Conv2d(1, 2, 3, group=D4, source="trivial"), Conv2d(2, 2, 3, group=D4), GlobalAvgPool())
    mixed.append(Linear(2, 3, group=D4))
    mixed = randomized(em.mix(mixed.to(dtype), tied=tied))
    found = em.discretize(mixed)
    for name, site in sites_of(found).items():
        before, H = mixed.get_submodule(name), site.constraint
        shape = before.space.shape
        with torch.no_grad():
            expected = reference.project_kernel(before.dense_weight(), H, source=shape.source, target=shape.target)
            moved = [reference.act(before.dense_bias()[None], h, D4, shape.target)[0] for h in H.indices]
            assert reference.relative_error(site.layer.dense_weight(), expected) < TOLERANCES[dtype]
            assert reference.relative_error(site.layer.dense_bias(), sum(moved) / H.order) < TOLERANCES[dtype]
        assert type(site.layer.space).__name__ == "TiedSpace"


@pytest.mark.parametrize("names", [("D4", "C4", "C2", "C1"), ("D4",) * 4, ("D2@0", "D1@90", "D1@90", "C1")], ids=str)
def test_one_hot_shares_keep_the_function(names, dtype):
    mixed = randomized(em.mix(make_network(dtype)))
    for name, site in zip(names, sites_of(mixed).values(), strict=True):
        members = list(site.layer.space.member_names)
        site.layer.space.logits.data.fill_(-500)[members.index(name)] = 500
    mixed.eval()
    found, x = em.discretize(mixed), images(dtype)
    assert [H.name for H in chain_of(found)] == list(names)
    assert reference.relative_error(found(x), mixed(x)) < TOLERANCES[dtype]


def test_a_tied_mixture_whose_energy_is_one_members_keeps_the_function(dtype):
    """What C4 keeps of a kernel and D4 does not: the share of C4 is one, whatever z is."""
    mixed = em.mix(nn.Sequential(Conv2d(1, 2, 3, group=D4, source="trivial")).to(dtype), tied=True)
    space, types = mixed[0].space, {"source": "trivial", "target": "regular"}
    kept = reference.project_kernel(torch.randn(16, 1, 3, 3, dtype=dtype), D4.subgroup("C4"), **types)
    part = kept - reference.project_kernel(kept, D4.whole, **types)
    space.weight.data = part.unflatten(0, (2, 8)).permute(1, 3, 4, 0, 2).reshape(72, 2)
    space.logits.data.normal_()
    assert space.shares()["C4"] == pytest.approx(1, abs=1e-6)
    x = torch.randn(2, 1, 6, 6, dtype=dtype)
    assert chain_of(em.discretize(mixed)) == [D4.subgroup("C4")]
    assert reference.relative_error(em.discretize(mixed)(x), mixed(x)) < TOLERANCES[dtype]


def test_tied_mixtures_are_judged_by_energy_and_not_by_their_weights():
    network = make_network()
    mixed = em.mix(network, tied=True)  # every kernel commutes with D4
    for site in sites_of(mixed).values():
        site.layer.space.logits.data.fill_(-500)[-1] = 500  # z says C1
    found, x = em.discretize(mixed), images()
    assert chain_of(found) == [D4.whole] * 4
    assert reference.relative_error(found(x), network(x)) < 1e-12


def test_residual_networks_without_a_residual_become_constrained_again():
    network, x = make_network(), images()
    wider = em.add_residual(network)
    found = em.discretize(wider)
    assert chain_of(found) == [D4.whole] * 4
    assert reference.relative_error(found(x), network(x)) < 1e-12
    for site in list(sites_of(wider).values())[2:]:
        torch.nn.init.normal_(site.layer.space.weight)
    assert [H.name for H in chain_of(em.discretize(wider))] == ["D4", "D4", "C1", "C1"]


def test_a_skip_member_stays_in_the_kernel(dtype):
    conv = Conv2d(2, 2, 3, group=D4, padding=1).to(dtype)
    mixed = em.mix(nn.Sequential(conv), ["C1", "D4"], skip=True)
    mixed[0].space.logits.data = torch.tensor([500.0, -500, 500], dtype=dtype)
    found, x = em.discretize(mixed), torch.randn(2, 16, 5, 5, dtype=dtype)
    assert chain_of(found) == [D4.whole]
    assert reference.relative_error(found(x), (conv(x) + x) / 2) < TOLERANCES[dtype]


def test_norms_are_relaxed_with_their_site():
    mixed = em.mix(make_network())
    for site, name in zip(sites_of(mixed).values(), ("C4", "C4", "C2", "C1"), strict=True):
        site.layer.space.logits.data[list(site.layer.space.member_names).index(name)] = 9
    found = em.discretize(mixed)
    norms = [found.block1.norm, found.block2.norm, found.block3.norm, found.head.norm]
    assert [norm.constraint.name for norm in norms] == ["C4", "C4", "C2", "C1"]
    assert [len(norm.weight) for norm in norms] == [2, 2, 4, 1]
    assert mixed.block1.norm.constraint == D4.whole


def test_sites_that_are_no_mixtures_keep_their_constraint_and_kernel():
    parts = [Conv2d(1, 1, 3, group=D4, source="trivial"), Conv2d(1, 1, 3, group=D4), Conv2d(1, 1, 3, group=D4)]
    mixtures = [em.mix(part) for part in parts]
    fixed = Conv2d(1, 1, 3, group=D4, subgroup="D2@0")
    mixtures[0].space.logits.data[list(mixtures[0].space.member_names).index("C4")] = 3  # C4 is wanted, D2 needs D4
    mixtures[2].space.logits.data[0] = 3  # D4 is wanted and comes too late
    found = em.discretize(nn.Sequential(mixtures[0], fixed, mixtures[2]))
    assert [H.name for H in chain_of(found)] == ["D4", "D2@0", "D2@0"]
    assert reference.relative_error(found[1].dense_weight(), fixed.dense_weight()) < 1e-6


def test_a_single_layer_is_discretized_too():
    layer = em.mix(Conv2d(1, 2, 3, group=D4))
    layer.space.logits.data[3] = 5
    assert em.discretize(layer).constraint.name == layer.space.member_names[3] == "C2"


def test_volumes_are_discretized_too():
    layer = em.mix(nn.Sequential(Conv3d(1, 1, 3, group=OH, source="trivial")), ["C1", "C4v@z", "Oh"])
    layer[0].space.logits.data[1] = 5
    assert [H.name for H in chain_of(em.discretize(layer))] == ["C4v@z"]


def test_the_argument_is_left_alone():
    mixed = randomized(em.mix(make_network()))
    before = {name: tensor.clone() for name, tensor in mixed.state_dict().items()}
    found = em.discretize(mixed)
    with torch.no_grad():
        for tensor in found.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in mixed.state_dict().items())
    assert type(mixed.block1.conv.space).__name__ == "MixedSpace"


def test_what_cannot_be_discretized_is_refused():
    for module in (make_network(), nn.ReLU(), Conv2d(1, 1, 3, group=D4)):
        with pytest.raises(SiteError, match=r"discretize: \w+ has no mixtures; make some with em\.mix\."):
            em.discretize(module)
    grows = nn.Sequential(
        Conv2d(1, 1, 3, group=D4, subgroup="C4", source="trivial"), em.mix(Conv2d(1, 1, 3, group=D4), ["D4", "D2@0"])
    )
    with pytest.raises(SiteError, match=r"no sequence of members has constraints that never grow.*mix every site"):
        em.discretize(grows)


def test_shares_relative_to_the_start_choose_what_has_grown(dtype):
    network = nn.Sequential(Conv2d(1, 2, 3, group=D4, source="trivial"), Conv2d(2, 2, 3, group=D4)).to(dtype)
    mixed = em.mix(network, ["C1", "C4", "D4"], start="prior")
    start = em.mixture_shares(mixed)
    mixed[1].space.logits.data[1] += 1.0  # of C4, whose share is still the smaller one
    assert [H.name for H in em.sites(em.discretize(mixed)).values()] == ["D4", "D4"]
    assert [H.name for H in em.sites(em.discretize(mixed, start=start)).values()] == ["D4", "C4"]


def test_nothing_having_changed_the_largest_group_is_taken(dtype):
    network = nn.Sequential(Conv2d(1, 2, 3, group=D4, source="trivial"), Conv2d(2, 2, 3, group=D4)).to(dtype)
    mixed = em.mix(network, SIX, start="prior")
    assert set(em.sites(em.discretize(mixed, start=em.mixture_shares(mixed))).values()) == {D4.whole}
