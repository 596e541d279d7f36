"""Kernels that are kept are those that would have been made, and their gradients reach the same parameters."""

import copy
import pickle

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError
from equimorph.layers import BatchNorm, Conv2d, Linear, TiedParameter
from equimorph.layers.kept import Keeper

SPACES = {
    "tied": lambda network: network,
    "mixed": lambda network: em.mix(network, ["C1", "D1", "D4"]),
    "tied mixed": lambda network: em.mix(network, ["C1", "D1", "D4"], tied=True),
    "residual": em.add_residual,
}
every_space = pytest.mark.parametrize("space", SPACES)
both_layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)


def network(space="tied", dtype=None):
    """Convolutions with bias, a norm over cosets that are apart, pooling and a head."""
    parts = [
        Conv2d(2, 2, 3, group="D4", source="trivial", dtype=dtype),
        BatchNorm(2, group="D4", subgroup="D1", dtype=dtype),
        nn.ReLU(),
        Conv2d(2, 2, 3, group="D4", dtype=dtype),
        em.layers.GlobalAvgPool(),
        Linear(2, 3, group="D4", dtype=dtype),
    ]
    made = SPACES[space](nn.Sequential(*parts))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.rand_like(parameter) * 0.1)
    return made


def images(batch=2, dtype=None, layout=torch.contiguous_format):
    return torch.randn(batch, 2, 7, 7, dtype=dtype).contiguous(memory_format=layout)


def keepers(module):
    return [part for part in module.modules() if isinstance(part, Keeper)]


def count_kernels(module, monkeypatch):
    """A list that grows by one whenever a layer makes its dense kernel."""
    made = []
    for part in keepers(module):
        if hasattr(part, "space"):
            make = part.space.dense_weight
            monkeypatch.setattr(part.space, "dense_weight", lambda make=make, **o: made.append(o) or make(**o))
    return made


def gradients_of(module):
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def assert_same_gradients(found, expected, *, tolerance=1e-12):
    for name, parameter in expected.named_parameters():
        gradient = found.get_parameter(name).grad
        assert (gradient is None) == (parameter.grad is None), name
        if gradient is not None:
            assert gradient.dtype is parameter.dtype
            scale = parameter.grad.abs().max().item()
            torch.testing.assert_close(gradient, parameter.grad, rtol=0, atol=tolerance * max(scale, 1), msg=name)


# Frozen kernels.


@both_layouts
@every_space
def test_frozen_kernels_give_the_same_outputs_to_the_bit_and_are_made_once(space, layout, dtype, monkeypatch):
    net, x = network(space, dtype).eval(), images(dtype=dtype, layout=layout)
    expected = net(x).detach()
    made = count_kernels(net, monkeypatch)
    with em.frozen_kernels(net):
        for _ in range(3):
            assert torch.equal(net(x), expected)
        assert len(made) == 3  # one for each layer that has a kernel
        other = net(images(3, dtype=dtype, layout=layout))
        assert len(made) == 3 and not other.requires_grad
    assert torch.equal(net(x), expected) and len(made) == 6


def test_frozen_kernels_are_made_once_for_each_layout_and_precision(monkeypatch):
    net = network().eval()
    made = count_kernels(net[3], monkeypatch)
    contiguous = torch.randn(1, 16, 5, 5)
    last = contiguous.contiguous(memory_format=torch.channels_last)
    with em.frozen_kernels(net):
        for _ in range(2):
            net[3](contiguous), net[3](last)
            with torch.autocast("cpu", torch.bfloat16):
                net[3](contiguous), net[3](last)
    assert {(options["dtype"], options["channels_last"]) for options in made} == {
        (None, False), (None, True), (torch.bfloat16, False), (torch.bfloat16, True),
    }  # fmt: skip
    assert len(made) == 4


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_frozen_kernels_made_in_any_mode_serve_in_every_mode(mode):
    net, x = network("mixed").eval(), images()
    expected = net(x).detach()
    with em.frozen_kernels(net):
        with mode():
            assert torch.equal(net(x), expected)
        given = x.clone().requires_grad_()
        net(given).sum().backward()  # gradients for the input pass through
        with torch.inference_mode():
            assert torch.equal(net(x), expected)
    assert given.grad.any() and not any(parameter.grad is not None for parameter in net.parameters())


@every_space
def test_frozen_kernels_give_the_same_outputs_to_the_bit_under_autocast(space):
    net, x = network(space).eval(), images()
    with torch.autocast("cpu", torch.bfloat16):
        expected = net(x)
        with em.frozen_kernels(net):
            assert torch.equal(net(x), expected) and torch.equal(net(x), expected)
    assert expected.dtype is torch.bfloat16


def test_changes_are_seen_after_the_context_and_not_within():
    net, x = network().eval(), images()
    before = net(x).detach()
    with em.frozen_kernels(net):
        net(x)
        with torch.no_grad():
            net[0].space.weight.mul_(2)
        assert torch.equal(net(x), before)
    assert not torch.equal(net(x), before)


def test_nested_contexts_give_back_what_the_outer_one_kept(monkeypatch):
    net, x = network().eval(), images()
    expected = net(x).detach()
    made = count_kernels(net, monkeypatch)
    with em.frozen_kernels(net):
        net(x)
        with em.frozen_kernels(net[3]):
            assert torch.equal(net(x), expected) and len(made) == 4
        with em.shared_kernels(net):
            assert net(x).requires_grad and len(made) == 7
        assert torch.equal(net(x), expected) and len(made) == 7
    assert all(part.kept is None for part in keepers(net))


@pytest.mark.parametrize("context", [em.frozen_kernels, em.shared_kernels])
def test_an_exception_leaves_nothing_kept(context):
    net = network().eval()
    with pytest.raises(ZeroDivisionError), context(net):
        net(images())
        raise ZeroDivisionError
    assert all(part.kept is None for part in keepers(net)) and net(images()).requires_grad


def test_layers_in_training_mode_are_refused():
    net = network()
    message = r"frozen_kernels: a layer runs in training mode.*network\.eval\(\).*em\.shared_kernels is for training"
    with em.frozen_kernels(net), pytest.raises(ConfigurationError, match=message):
        net(images())
    net.eval()[3].train()
    with em.frozen_kernels(net), pytest.raises(ConfigurationError, match=message):
        net(images())


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))], ids=["copy", "pickle"]
)
def test_copies_are_not_frozen(copied):
    net, x = network().eval(), images()
    with em.frozen_kernels(net):
        net(x)
        other = copied(net)
        assert all(part.kept is None for part in keepers(other))
        assert other(x).requires_grad and torch.equal(other(x), net(x))


def test_norms_and_tied_parameters_are_kept_too(monkeypatch):
    norm = BatchNorm(2, group="D4", subgroup="D1").eval()
    table = TiedParameter(torch.randn(16), group="D4", subgroup="D1").eval()
    made = []
    for part, name in ((norm, "dense_statistics"), (table, "dense")):
        make = getattr(part, name)
        monkeypatch.setattr(part, name, lambda make=make, name=name: made.append(name) or make())
    both = nn.ModuleList([norm, table])
    x = torch.randn(2, 16, 3, 3)
    expected = norm(x), table()
    made.clear()
    with em.frozen_kernels(both):
        for _ in range(2):
            assert torch.equal(norm(x), expected[0]) and torch.equal(table(), expected[1])
    assert made == ["dense_statistics", "dense"]


# Shared kernels.


@every_space
def test_gradients_of_several_passes_are_those_without_sharing(space, dtype, monkeypatch):
    net = network(space, dtype)
    shared = copy.deepcopy(net)
    batches = [images(dtype=dtype, layout=layout) for layout in (torch.contiguous_format, torch.channels_last) * 2]
    for module in (net, shared):
        torch.manual_seed(1)
        module[3].space.bias_rows().sum().backward()  # what is there already is added to
    made = count_kernels(shared, monkeypatch)
    outputs = []
    with em.shared_kernels(shared):
        for x in batches:
            y = shared(x)
            outputs.append(y.detach())
            (y.square().mean() / 4).backward()
    assert len(made) <= 6  # three layers, two layouts
    for x, y in zip(batches, outputs, strict=True):
        expected = net(x)
        assert torch.equal(y, expected)
        (expected.square().mean() / 4).backward()
    assert_same_gradients(shared, net, tolerance=1e-12 if dtype is torch.float64 else 1e-5)


@every_space
def test_a_layer_that_runs_twice_in_a_pass_gets_both_gradients(space):
    layer = SPACES[space](Conv2d(2, 2, 3, group="D4", padding="same", dtype=torch.float64))
    net = nn.Sequential(layer, nn.ReLU(), layer)
    shared, x = copy.deepcopy(net), torch.randn(2, 16, 4, 4, dtype=torch.float64)
    net(x).square().sum().backward()
    with em.shared_kernels(shared):
        shared(x).square().sum().backward()
    assert_same_gradients(shared, net)


def test_gradients_appear_when_the_context_ends_and_never_after_an_exception():
    net = network()
    with em.shared_kernels(net):
        net(images()).sum().backward()
        assert net[0].space.weight.grad is None and net[1].weight.grad is not None  # a norm in training mode keeps none
    assert net[0].space.weight.grad.any()
    net.zero_grad()
    with pytest.raises(ZeroDivisionError), em.shared_kernels(net):
        net(images()).sum().backward()
        raise ZeroDivisionError
    assert all(part.space.weight.grad is None for part in (net[0], net[3], net[5]))


@pytest.mark.parametrize("frozen", ["weight", "bias", "both"])
def test_frozen_parameters_get_no_gradient(frozen):
    net = network(dtype=torch.float64)
    net[0].space.weight.requires_grad_(frozen == "bias")
    net[0].space.bias.requires_grad_(frozen == "weight")
    shared, x = copy.deepcopy(net), images(dtype=torch.float64)
    net(x).square().sum().backward()
    with em.shared_kernels(shared):
        shared(x).square().sum().backward()
    assert_same_gradients(shared, net)


def test_passes_without_a_gradient_leave_the_parameters_alone():
    net = network()
    with em.shared_kernels(net):
        with torch.no_grad():
            net(images())
        net(images())  # and no backward pass
    assert all(gradient is None for gradient in gradients_of(net).values())
    with em.shared_kernels(net):
        with torch.no_grad():
            net(images())
        net(images()).sum().backward()  # of kernels that were made when no gradient was wanted
    assert net[0].space.weight.grad.any()


@every_space
def test_sharing_works_under_autocast(space):
    net, parts = network(space), [images() for _ in range(2)]
    shared = copy.deepcopy(net)
    with torch.autocast("cpu", torch.bfloat16), em.shared_kernels(shared):
        for x in parts:
            y = shared(x)
            y.float().square().mean().backward()
    for x in parts:
        with torch.autocast("cpu", torch.bfloat16):
            expected = net(x)
        expected.float().square().mean().backward()
    assert torch.equal(y, expected) and y.dtype is torch.bfloat16
    assert_same_gradients(shared, net, tolerance=0.02)  # sums of a few gradients of two digits
