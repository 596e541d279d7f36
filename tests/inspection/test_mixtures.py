import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.inspection import mixture_weights
from equimorph.layers import BatchNorm, Conv2d, Linear

D4 = em.group("D4")
SIX = ["D4", "C4", "D2@0", "C2", "D1@90", "C1"]


def make_network(**options):
    network = nn.Sequential(
        Conv2d(1, 2, 3, group=D4, source="trivial"),
        BatchNorm(2, group=D4),
        Conv2d(2, 2, 3, group=D4, padding="same"),
        Linear(2, 3, group=D4),
    )
    return em.mix(network, **options)


@torch.no_grad()
def test_every_mixture_has_shares_by_name_that_add_up_to_one():
    for network in (make_network(), make_network(tied=True), make_network(skip=True)):
        for name, parameter in network.named_parameters():
            if "logits" in name:
                parameter.normal_()
        shares = em.mixture_shares(network)
        assert list(shares) == ["0", "2", "3"] and all(list(row) == SIX for row in shares.values())
        assert all(sum(row.values()) == pytest.approx(1, abs=1e-9) for row in shares.values())
        assert all(isinstance(share, float) and 0 <= share <= 1 for row in shares.values() for share in row.values())


def test_untied_mixtures_are_described_by_their_weights_without_the_skip_member():
    network = make_network(skip=True)
    logits = network[2].space.logits.data.copy_(torch.tensor([0.0, 1, 2, 3, 4, 5, 6]))
    assert list(em.mixture_shares(network)["2"].values()) == pytest.approx(torch.softmax(logits[:6], 0).tolist())
    assert list(mixture_weights(network)["2"].values()) == pytest.approx(torch.softmax(logits, 0).tolist())
    network[2].space.temperature.fill_(0.5)
    assert list(em.mixture_shares(network)["2"].values()) == pytest.approx(torch.softmax(2 * logits[:6], 0).tolist())
    assert list(mixture_weights(network)["2"]) == [*SIX, "skip"]


def test_tied_and_residual_mixtures_are_described_by_the_energy_of_their_kernel():
    constrained = nn.Sequential(Conv2d(2, 2, 3, group=D4))
    for network in (em.mix(constrained, tied=True, start="prior"), em.add_residual(constrained)):
        shares = em.mixture_shares(network)["0"]
        assert shares["D4"] == pytest.approx(1, abs=1e-6) and shares["C1"] == pytest.approx(0, abs=1e-6)


def test_residual_mixtures_have_shares_and_no_weights():
    network = em.add_residual(nn.Sequential(Conv2d(2, 2, 3, group=D4)))
    assert list(em.mixture_shares(network)["0"]) == ["D4", "C1"] and mixture_weights(network) == {}


def test_sites_that_are_no_mixtures_are_left_out():
    network = nn.Sequential(Conv2d(1, 2, 3, group=D4, source="trivial"), em.mix(Conv2d(2, 2, 3, group=D4)))
    assert list(em.mixture_shares(network)) == list(mixture_weights(network)) == ["1"]
    assert em.mixture_shares(nn.Sequential(nn.ReLU())) == mixture_weights(nn.ReLU()) == {}


def test_a_mixture_is_reported_under_what_it_commutes_with():
    assert {H.name for H in em.sites(make_network()).values()} == {"C1"}
    assert {H.name for H in em.sites(make_network(groups=["C4", "D2@45"])).values()} == {"C2"}
    assert "members=D4, C4, D2@0, C2, D1@90, C1, skip" in repr(make_network(skip=True))


def test_distances_of_a_mixture_are_those_of_its_merged_kernel():
    network = make_network()
    torch.nn.init.normal_(network[2].space.weights[-1])
    merged = em.relax(network, "C1")
    for name, row in em.distances(network).rows.items():
        assert row == pytest.approx(em.distances(merged)[name], abs=1e-6)
