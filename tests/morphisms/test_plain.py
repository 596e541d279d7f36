"""Plain networks are made of torch's own classes and compute the same."""

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.errors import MorphismError


@pytest.mark.parametrize(("name", "sides"), [("Z2", (11,)), ("D4", (11, 11)), ("D4", (8, 8)), ("C4v@z", (5, 5, 5))])
def test_a_plain_network_has_the_same_output(name, sides, dtype):
    group = em.group(name)
    network = em.models.PaperNetwork(
        group=group, image_size=sides[0], in_channels=2, num_classes=3, fields=1, depth=2, kernel_size=3, pool_after=[1]
    ).to(dtype)
    x = torch.randn(4, 2, *sides, dtype=dtype)
    network(x)  # running statistics that are not the initial ones
    ordinary = em.plain(network, x)
    assert all(type(module).__module__.startswith("torch.nn") for module in ordinary.modules())
    assert (ordinary(x) - network.eval()(x)).abs().max() < em.testing.TOLERANCES[dtype]
    assert network.block1.conv.constraint == group.whole


def test_every_layer_has_its_plain_form():
    D4 = em.group("D4")
    network = nn.Sequential(
        em.layers.Conv2d(1, 2, 3, group=D4, subgroup="C2", source="trivial", stride=2, padding=1),
        em.layers.MaxPool(2),
        em.layers.Conv2d(2, 1, 3, group=D4, subgroup="C2", target="trivial", dilation=2, padding=2),
    )
    x = torch.randn(2, 1, 13, 13)
    assert torch.equal(em.plain(network, x)(x), network(x))


def test_containers_of_the_user_stay():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = em.layers.Conv2d(1, 1, 3, group="D4", source="trivial")

        def forward(self, x):
            return self.conv(x).relu()

    network, x = Own(), torch.randn(1, 1, 6, 6)
    ordinary = em.plain(network, x)
    assert isinstance(ordinary, Own) and type(ordinary.conv) is nn.Conv2d
    assert torch.equal(ordinary(x), network(x))


def test_a_layer_that_the_example_does_not_reach_is_named():
    class Unused(nn.Sequential):
        def forward(self, x):
            return self[0](x)

    network = Unused(em.layers.AvgPool(2), em.layers.AvgPool(2))
    with pytest.raises(MorphismError, match='"1"'):
        em.plain(network, torch.zeros(1, 1, 4, 4))


def test_a_layer_that_is_used_twice_stays_in_both_places():
    twice = em.layers.Conv2d(1, 1, 3, group="D4", padding=1)
    pool = em.layers.AvgPool(2)
    network = nn.Sequential(em.layers.Conv2d(1, 1, 3, group="D4", source="trivial"), twice, pool, twice, pool)
    x = torch.randn(2, 1, 18, 18)  # 16 and 8 pixels before the pooling: one window
    ordinary = em.plain(network, x)
    assert ordinary[1] is ordinary[3] and torch.equal(ordinary(x), network(x))


def test_a_pool_that_needs_two_windows_is_refused():
    pool = em.layers.AvgPool(2)
    with pytest.raises(MorphismError, match=r'"0" pools sides \(14, 14\) and \(7, 7\)'):
        em.plain(nn.Sequential(pool, pool), torch.zeros(1, 1, 14, 14))


def test_a_sequence_with_a_forward_of_its_own_keeps_it():
    class Backwards(nn.Sequential):
        def forward(self, x):
            return self[0](self[1](x))

    network = Backwards(
        em.layers.Conv2d(8, 1, 3, group="D4", source="trivial", target="trivial"),
        em.layers.Conv2d(1, 1, 3, group="D4", source="trivial"),
    )
    x = torch.randn(2, 1, 9, 9)
    assert torch.equal(em.plain(network, x)(x), network(x))
