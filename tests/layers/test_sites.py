import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.layers import BatchNorm, Conv2d, GlobalAvgPool, Linear, constrained_modules, sites_of
from equimorph.layers._base import parameter_orbits


class Branched(nn.Module):
    """Two branches beside each other, registered one after the other."""

    def __init__(self):
        super().__init__()
        self.before = BatchNorm(1, group="D4", representation="trivial")
        self.left = nn.Sequential(Conv2d(1, 2, 3, group="D4", source="trivial"), BatchNorm(2, group="D4"), nn.ReLU())
        self.right = Conv2d(1, 2, 3, group="D4", subgroup="C4", source="trivial", bias=False)
        self.first_norm, self.second_norm = BatchNorm(2, group="D4"), BatchNorm(2, group="D4", subgroup="C4")
        self.pool, self.head = GlobalAvgPool(), Linear(2, 5, group="D4", subgroup="C2")


def test_sites_are_the_layers_with_a_weight_space_in_the_order_of_registration():
    sites = sites_of(Branched())
    assert [(name, site.name, site.constraint.name) for name, site in sites.items()] == [
        ("left.0", "left.0", "D4"),
        ("right", "right", "C4"),
        ("head", "head", "C2"),
    ]
    assert [type(site.layer) for site in sites.values()] == [Conv2d, Conv2d, Linear]


def test_norms_follow_the_nearest_site_before_them():
    norms = {name: site.norms for name, site in sites_of(Branched()).items()}
    assert norms == {"left.0": ("left.1",), "right": ("first_norm", "second_norm"), "head": ()}


def test_constrained_modules_are_the_sites_and_the_norms():
    assert [name for name, _ in constrained_modules(Branched())] == [
        "before",
        "left.0",
        "left.1",
        "right",
        "first_norm",
        "second_norm",
        "head",
    ]


def test_a_layer_alone_is_a_site_without_a_name():
    assert list(sites_of(Conv2d(1, 1, 3, group="D4"))) == [""] and not sites_of(nn.Conv2d(1, 1, 3))


def test_every_parameter_that_is_a_table_tells_its_orbits_by_its_full_name():
    network = Branched()
    orbits = parameter_orbits(network)
    assert set(orbits) == {name for name, _ in network.named_parameters()}
    assert all(len(parameter) == orbits[name].num_orbits for name, parameter in network.named_parameters())
    assert set(parameter_orbits(network.head)) == {"space.weight", "space.bias"}
    assert not parameter_orbits(nn.Linear(2, 3))


@pytest.mark.parametrize("move", ["relaxed", "projected"])
def test_morphisms_of_a_layer_leave_the_layer_alone(move):
    layer = Conv2d(1, 2, 3, group="D4", subgroup="C4", stride=2)
    before = {name: table.clone() for name, table in layer.state_dict().items()}
    moved = getattr(layer, move)(em.group("D4").subgroup("C2"))
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.add_(1)
    moved.eval().requires_grad_(False)
    moved.extra = nn.Identity()
    assert layer.constraint.name == "C4" and layer.training and "extra" not in dict(layer.named_children())
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert all(torch.equal(table, before[name]) for name, table in layer.state_dict().items())


def test_reset_draws_from_the_generator():
    layer = Conv2d(1, 2, 3, group="D4", generator=torch.Generator().manual_seed(5))
    first = layer.dense_weight()
    layer.reset_parameters(torch.Generator().manual_seed(6))
    assert not torch.equal(layer.dense_weight(), first)
    layer.reset_parameters(torch.Generator().manual_seed(5))
    assert torch.equal(layer.dense_weight(), first)


def test_hooks_of_a_relaxed_layer_are_its_own():
    conv = em.layers.Conv2d(1, 1, 3, group="D4")
    called = []
    em.relax(conv, "C4").register_forward_hook(lambda *inputs: called.append(inputs))
    conv(torch.zeros(1, 8, 4, 4))
    assert not called
