"""What grows where a symmetry allows it is told from what grows everywhere."""

import math

import pytest
import reference
import torch
from torch import nn

import equimorph as em
from equimorph.inspection import growth_evidence
from equimorph.layers import Conv2d, Linear
from equimorph.spaces import energy_within

D4 = em.group("D4")
PROPER = [H for H in D4.subgroups() if 1 < H.order < 8]
every_proper = pytest.mark.parametrize("H", PROPER, ids=str)


def grown(H, *, inside, outside, dtype, seed=0):
    """A D4-equivariant network to which noise was added, so much within H and so much everywhere."""
    torch.manual_seed(seed)
    network = nn.Sequential(Conv2d(1, 3, 3, group=D4, source="trivial"), Conv2d(3, 3, 3, group=D4)).to(dtype)
    for to, amount in ((H, inside), (D4.trivial, outside)):
        network = em.relax(network, to)
        for layer in network:
            layer.space.weight.data += amount * torch.randn_like(layer.space.weight)
    return network


@every_proper
def test_the_group_within_which_a_kernel_has_grown_has_the_largest_evidence(H, dtype):
    evidence = growth_evidence(grown(H, inside=0.3, outside=0.1, dtype=dtype), D4.subgroups())
    assert max(evidence, key=evidence.get) == H and evidence[H] > 0.05


def test_noise_in_all_directions_is_evidence_for_nothing(dtype):
    evidence = growth_evidence(grown(D4.trivial, inside=0.0, outside=0.3, dtype=dtype), D4.subgroups())
    assert set(evidence) == set(PROPER) and max(evidence.values()) < 0.01


def test_without_growth_there_is_no_evidence(dtype):
    network = nn.Sequential(Linear(4, 3, group=D4)).to(dtype)
    assert set(growth_evidence(em.relax(network, "C1"), D4.subgroups()).values()) == {0.0}


@every_proper
def test_evidence_is_the_gain_in_likelihood_by_the_definition(H):
    network = grown(H, inside=0.3, outside=0.1, dtype=torch.float64)
    gains = []
    for layer, source in ((network[0], "trivial"), (network[1], "regular")):
        W = layer.dense_weight().detach()
        parts = [reference.project_kernel(W, K, source=source, target="regular") for K in (D4.whole, H, D4.trivial)]
        inside, outside = ((parts[1] - parts[0]) ** 2).sum(), ((parts[2] - parts[1]) ** 2).sum()
        # With a regular target the group acts freely, so Fix(K) has 1 / |K| of the dimensions.
        n = W.numel()
        n_in, n_out = n / H.order - n / 8, n - n / H.order
        both = (inside + outside) / (n_in + n_out)
        likelihood = -(n_in * math.log(inside / n_in) + n_out * math.log(outside / n_out)) / 2
        gains.append((likelihood + (n_in + n_out) * math.log(both) / 2) / (n_in + n_out))
    assert growth_evidence(network, [H])[H] == pytest.approx(sum(gains) / 2, abs=1e-9)


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
@pytest.mark.parametrize(("source", "target"), [("trivial", "trivial"), ("regular", "trivial"), ("trivial", "regular")])
def test_energy_and_dimensions_within_a_subgroup_are_those_of_the_projection(H, source, target, dtype):
    layer = Conv2d(2, 3, 3, group=D4, subgroup="C1", source=source, target=target).to(dtype)
    within = energy_within(layer.space, H)
    W = layer.dense_weight().detach()
    projected = reference.project_kernel(W, H, source=source, target=target).double()
    assert within.energy == pytest.approx(float(projected.square().sum()), rel=1e-6)
    assert within.dimensions == 6 * len(reference.orbits(H, target, source, (3, 3)))
