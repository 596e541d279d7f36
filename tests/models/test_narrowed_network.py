"""The paper's network made narrow: ordinary, and as near to a number of parameters as widths allow."""

import pytest
import torch

import equimorph as em
from equimorph.models import PaperNetwork


def make(dim, **options):
    name = {1: "Z2", 2: "D4", 3: "O"}[dim]
    settings = {"image_size": 6, "in_channels": 2, "num_classes": 3, "fields": 1, "depth": 2, "kernel_size": 3}
    return PaperNetwork(group=em.group(name), head_units=4, **settings | options)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def at_width(network, width):
    """An ordinary network of the same shape at another width of the first stage."""
    arguments = network.arguments | {"group": "C1"}
    first, second = arguments.pop("fields")
    return PaperNetwork.from_arguments(arguments | {"fields": [width, max(1, round(width * second / first))]}, None)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("fields", [1, (2, 3), (3, 1)], ids=str)
def test_it_has_the_nearest_number_of_parameters_of_all_widths(dim, fields):
    network = make(dim, fields=fields)
    sizes = {width: count(at_width(network, width)) for width in range(1, 16)}
    middles = [(sizes[width] + sizes[width + 1]) // 2 + shift for width in (1, 4) for shift in (-1, 2)]
    for wanted in (1, *(sizes[width] for width in (1, 2, 7)), *middles, count(network)):
        found = network.narrowed(wanted)
        distance = min(abs(size - wanted) for size in sizes.values())
        assert abs(count(found) - wanted) == distance and sizes[found.arguments["fields"][0]] == count(found)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_it_is_ordinary_and_of_the_same_shape(dim):
    network = make(dim, pool_after=(1,))
    narrow = network.narrowed(count(network))
    assert {(H.group.name, H.name, H.group.dim) for H in em.sites(narrow).values()} == {("C1", "C1", dim)}
    changed = {key for key in network.arguments if network.arguments[key] != narrow.arguments[key]}
    assert changed <= {"group", "fields"} and "group" in changed
    assert narrow(torch.zeros(2, 2, *(6,) * dim)).shape == (2, 3)


def test_its_values_are_the_generators_alone_and_the_network_stays():
    network = make(2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random_before = torch.get_rng_state()
    one, two, other = (network.narrowed(400, torch.Generator().manual_seed(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), random_before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
