import pytest
import reference
import torch
from torch import nn

import equimorph as em
from equimorph.layers import BatchNorm, Conv2d, Conv3d, Linear
from equimorph.layers._base import sites_of
from equimorph.testing import TOLERANCES

D4, OH = em.group("D4"), em.group("Oh")
every_subgroup = pytest.mark.parametrize("H", D4.subgroups(), ids=str)


def network_of(H, *, dtype=None):
    options = {"group": H.group, "subgroup": H, "dtype": dtype}
    return nn.Sequential(
        Conv2d(1, 2, 3, source="trivial", **options),
        BatchNorm(2, **options),
        Conv2d(2, 1, 3, **options),
        Conv2d(1, 2, 3, target="trivial", **options),
        Linear(2, 3, source="trivial", target="regular", **options),
        Linear(3, 2, **options),
    )


def slow_distance(layer, H):
    """|W - P_H W| / |W| from the dense kernel, averaged over the group one element at a time."""
    W = layer.dense_weight().detach().double()
    shape = layer.space.shape
    nearest = reference.project_kernel(W, H, source=shape.source, target=shape.target)
    return float((W - nearest).norm() / W.norm())


@every_subgroup
def test_distances_are_those_of_the_projection_by_definition(H, dtype):
    network = network_of(H, dtype=dtype)
    table = em.distances(network)
    for name, site in sites_of(network).items():
        for K in D4.subgroups():
            assert table[name][K.name] == pytest.approx(slow_distance(site.layer, K), abs=TOLERANCES[dtype])


@every_subgroup
def test_distances_vanish_for_what_the_site_keeps_and_for_nothing_else(H, dtype):
    table = em.distances(network_of(H, dtype=dtype))
    for row in table.rows.values():
        assert list(row) == [K.name for K in D4.subgroups()]
        for K in D4.subgroups():
            assert row[K.name] < TOLERANCES[dtype] if K <= H else 0.01 < row[K.name] <= 1


@pytest.mark.parametrize("name", ["Cs@x-y", "C3@xyz", "Oh"])
def test_distances_of_volumes_are_those_of_the_projection_by_definition(name):
    layer = Conv3d(1, 1, 3, group=OH, subgroup=name, source="trivial")
    table = em.distances(nn.Sequential(layer))
    assert len(table["0"]) == len(OH.subgroups())
    for other in ("C1", "C2@z", "Cs@x-y", "C3@xyz", "O", "Oh"):
        K = OH.subgroup(other)
        assert table["0"][K.name] == pytest.approx(slow_distance(layer, K), abs=1e-5)


def test_distances_grow_with_the_group():
    table = em.distances(network_of(D4.trivial))
    for row in table.rows.values():
        for H in D4.subgroups():
            assert all(row[K.name] <= row[H.name] for K in D4.subgroups() if K <= H)


def test_relaxing_keeps_the_distances_and_constraining_makes_them_vanish():
    network = network_of(D4.subgroup("C4"))
    relaxed = em.relax(network, "C1")
    assert em.distances(relaxed).rows == {
        name: pytest.approx(row, abs=1e-6) for name, row in em.distances(network).rows.items()
    }
    constrained = em.distances(em.constrain(relaxed, "D4"))
    assert all(distance < 1e-6 for row in constrained.rows.values() for distance in row.values())


def test_training_a_relaxed_site_moves_it_away_from_its_former_constraint():
    network = em.relax(nn.Sequential(Conv2d(1, 1, 3, group="D4", source="trivial")), "C2")
    assert em.distances(network)["0"]["D4"] < 1e-6
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    (network(torch.randn(1, 1, 3, 3)) * torch.randn(1, 8, 1, 1)).sum().backward()
    optimizer.step()
    row = em.distances(network)["0"]
    assert row["D4"] > 0.01 and row["C4"] > 0.01 and row["C2"] < 1e-6


def test_a_kernel_of_zeros_is_at_no_distance():
    conv = Conv2d(1, 1, 3, group="D4", subgroup="C1")
    nn.init.zeros_(conv.space.weight)
    assert set(em.distances(nn.Sequential(conv))["0"].values()) == {0.0}


def test_printing_gives_a_line_for_each_site_and_a_column_for_each_subgroup():
    network = nn.ModuleDict(
        {
            "first layer": Conv2d(1, 1, 3, group="D4", subgroup="C4", source="trivial"),
            "head": Linear(1, 2, group="D4", subgroup="C1"),
        }
    )
    table = em.distances(network)
    head, *lines = str(table).splitlines()
    assert head.split() == [H.name for H in D4.subgroups()]
    assert [line[: len("first layer")].strip() for line in lines] == ["first layer", "head"]
    for line, row in zip(lines, table.rows.values(), strict=True):
        assert line[len("first layer") :].split() == [f"{distance:.3f}" for distance in row.values()]
    assert len({len(line) for line in (head, *lines)}) == 1  # the columns stand under each other


def test_a_network_without_sites_has_an_empty_table():
    table = em.distances(nn.Sequential(nn.ReLU()))
    assert table.rows == {} and str(table).strip() == ""
