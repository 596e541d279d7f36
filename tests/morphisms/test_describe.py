"""A network of any weight spaces comes back from its description and its state, to the bit."""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, SiteError
from equimorph.layers import BatchNorm, Conv2d, GlobalAvgPool, Linear
from equimorph.morphisms.describe import describe_spaces, rebuild_spaces
from equimorph.spaces import KernelShape, space_described

D4 = em.group("D4")
MEMBERS = ["D4", "C4", "D1@45", "C1"]
WAYS = {
    "tied": lambda network: em.relax(network, {"2": "C4", "5": "D1@0"}),
    "mixed": lambda network: em.mix(network, MEMBERS),
    "mixed, prior, skip": lambda network: em.mix(network, MEMBERS, start="prior", skip=True),
    "mixed, penalties": lambda network: em.mix(network, MEMBERS, penalties={"C4": 0.5, "C1": 1e-6}),
    "tied-mixed": lambda network: em.mix(network, MEMBERS, tied=True),
    "tied-mixed, skip": lambda network: em.mix(network, MEMBERS, tied=True, skip=True),
    "residual": lambda network: em.add_residual(network, equivariant_penalty=0.25, residual_penalty=3.0),
    "discretized": lambda network: em.discretize(em.mix(network, MEMBERS)),
    "some of each": lambda network: nn.Sequential(
        em.mix(network[0], ["C1", "D4"]), network[1], em.add_residual(network[2]), *network[3:5],
        em.mix(network[5], ["C2", "C4"], tied=True),
    ),
}  # fmt: skip


def make_network(dtype=None):
    return nn.Sequential(
        Conv2d(1, 2, 3, group=D4, source="trivial"),
        BatchNorm(2, group=D4),
        Conv2d(2, 2, 3, group=D4, padding="same"),
        BatchNorm(2, group=D4),
        GlobalAvgPool(),
        Linear(2, 3, group=D4),
    ).to(dtype)


@torch.no_grad()
def trained(network, x):
    """As far from its start as a network can be: other parameters, temperatures, norms and running statistics."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith("temperature"):
            tensor.fill_(0.3)
        elif tensor.is_floating_point() and "space" in name and not name.endswith("identity"):
            tensor.normal_()
    network.train()(x)
    return network.eval()


@pytest.mark.parametrize("way", WAYS)
def test_a_network_comes_back_from_description_and_state_to_the_bit(way, dtype, tmp_path):
    x = torch.randn(4, 1, 7, 7, dtype=dtype)
    network = trained(WAYS[way](make_network(dtype)), x)
    written = json.dumps(describe_spaces(network))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    state = torch.get_rng_state()
    ordinary = make_network(dtype)
    torch.set_rng_state(state)
    rebuilt = rebuild_spaces(ordinary, json.loads(written)).eval()
    assert torch.equal(torch.get_rng_state(), state)
    rebuilt.load_state_dict(safetensors.torch.load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(rebuilt(x), network(x)) and torch.equal(rebuilt.train()(x), network.train()(x))
    assert json.dumps(describe_spaces(rebuilt)) == written
    options = {"lr": 0.1, "weight_decay": 0.01}
    one, other = (em.parameter_groups(which, **options) for which in (network, rebuilt))
    assert [(group["lr"], group["weight_decay"]) for group in one] == [
        (group["lr"], group["weight_decay"]) for group in other
    ]


def test_descriptions_say_the_family_and_its_arguments():
    network = make_network()
    described = {way: describe_spaces(make(network)) for way, make in WAYS.items()}
    assert described["tied"]["2"] == {"space": "tied", "subgroup": "C4"}
    assert described["mixed"]["0"] == {"space": "mixed", "members": MEMBERS, "skip": False, "penalties": {}}
    assert described["mixed, prior, skip"]["2"]["skip"] and not described["mixed, prior, skip"]["0"]["skip"]
    assert described["mixed, penalties"]["5"]["penalties"] == {"C4": 0.5, "C1": 1e-6}
    assert described["tied-mixed"]["0"] == {"space": "tied-mixed", "members": MEMBERS, "skip": False}
    residual = {"space": "residual", "equivariant_penalty": 0.25, "residual_penalty": 3.0}
    assert described["residual"] == {"0": residual, "2": residual, "5": residual}


def test_norms_of_a_rebuilt_network_follow_its_spaces():
    rebuilt = rebuild_spaces(make_network(), describe_spaces(WAYS["tied"](make_network())))
    assert [norm.constraint.name for norm in (rebuilt[1], rebuilt[3])] == ["D4", "C4"]
    rebuilt = rebuild_spaces(WAYS["tied"](make_network()), describe_spaces(WAYS["mixed"](make_network())))
    assert [norm.constraint.name for norm in (rebuilt[1], rebuilt[3])] == ["D4", "D4"]


def test_a_single_layer_comes_back_too():
    layer = em.mix(Conv2d(2, 2, 3, group=D4), tied=True)
    rebuilt = rebuild_spaces(Conv2d(2, 2, 3, group=D4), describe_spaces(layer))
    rebuilt.load_state_dict(layer.state_dict())
    assert torch.equal(rebuilt.dense_weight(), layer.dense_weight())


def test_the_argument_is_left_alone():
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    rebuild_spaces(network, describe_spaces(em.mix(network)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(constraint == D4.whole for constraint in em.sites(network).values())


def test_descriptions_of_another_network_are_refused():
    descriptions = describe_spaces(make_network())
    del descriptions["2"]
    with pytest.raises(SiteError, match="has the sites 0, 2, 5, and spaces are given for 0, 5; take the network"):
        rebuild_spaces(make_network(), descriptions)


@pytest.mark.parametrize(
    ("description", "error", "needed"),
    [
        ({"space": "wild"}, ConfigurationError, 'no family "wild"; there are tied, mixed, tied-mixed and residual'),
        ({"members": ["C1"]}, ConfigurationError, 'no family "None"'),
        ({"space": "tied", "subgroup": "C3"}, GroupError, 'no subgroup "C3"'),
        ({"space": "mixed", "members": ["C3"], "skip": False}, GroupError, 'no subgroup "C3"'),
        ({"space": "tied-mixed", "members": []}, GroupError, "there are no members"),
        ({"space": "residual", "residual_penalty": -1.0}, ConfigurationError, r"residual_penalty is -1\.0"),
    ],
    ids=str,
)
def test_descriptions_that_cannot_be_understood_are_refused(description, error, needed):
    with pytest.raises(error, match=needed):
        space_described(description, KernelShape(D4, 2, 3, (3, 3)), bias=False)
