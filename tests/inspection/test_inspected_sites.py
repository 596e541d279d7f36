import itertools

import pytest
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError
from equimorph.inspection import check_chain
from equimorph.layers import AvgPool, BatchNorm, Conv2d, GlobalAvgPool, Linear

D4 = em.group("D4")


def nested_network():
    return nn.ModuleDict(
        {
            "stem": nn.Sequential(Conv2d(1, 1, 3, group="D4", source="trivial"), BatchNorm(1, group="D4"), nn.ReLU()),
            "trunk": nn.ModuleDict({"pool": AvgPool(2), "conv": Conv2d(1, 1, 3, group="D4", subgroup="D2@45")}),
            "norm": BatchNorm(1, group="D4", subgroup="D2@45"),
            "ordinary": nn.Conv2d(8, 8, 1),
            "pool": GlobalAvgPool(),
            "head": Linear(1, 2, group="D4", subgroup="C2"),
        }
    )


def test_sites_are_the_layers_with_a_weight_space_in_the_order_of_registration():
    found = em.sites(nested_network())
    assert list(found.items()) == [
        ("stem.0", D4.whole),
        ("trunk.conv", D4.subgroup("D2@45")),
        ("head", D4.subgroup("C2")),
    ]


def test_a_network_without_weight_spaces_has_no_sites():
    assert em.sites(nn.Sequential(nn.Conv2d(1, 2, 3), BatchNorm(2, group="D4"))) == {}


def test_sites_follow_a_relaxation():
    network = nested_network()
    relaxed = em.relax(network, {"stem.0": "D2@45", "head": "C1"})
    assert [H.name for H in em.sites(relaxed).values()] == ["D2@45", "D2@45", "C1"]
    assert [H.name for H in em.sites(network).values()] == ["D4", "D2@45", "C2"]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_chain_passes_exactly_when_it_never_grows(length):
    for chain in itertools.product(D4.subgroups(), repeat=length):
        constraints = {f"site{number}": H for number, H in enumerate(chain)}
        pairs = enumerate(itertools.pairwise(chain))
        growing = [number for number, (earlier, later) in pairs if not set(later.indices) <= set(earlier.indices)]
        if not growing:
            check_chain(constraints)
            continue
        with pytest.raises(ConfigurationError) as caught:
            check_chain(constraints)
        first, second = growing[0], growing[0] + 1
        assert f'"site{second}" has {chain[second]} after "site{first}" with {chain[first]}' in str(caught.value)


def test_no_sites_are_a_chain():
    check_chain({})


def test_sites_of_different_groups_are_no_chain():
    with pytest.raises(GroupError, match="belongs to"):
        check_chain({"one": D4.whole, "two": em.group("C4").whole})
