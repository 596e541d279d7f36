"""Compiled and exported networks: one graph of the whole, made once, with the outputs and gradients of eager."""

import copy

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.layers import GlobalAvgPool, Linear

# While it traces, torch makes an instance of a custom function and is warned by itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

SPACES = {
    "mixed": lambda network: em.mix(network, ["C1", "D1", "D4"]),
    "tied mixed": lambda network: em.mix(network, ["C1", "D1", "D4"], tied=True),
    "residual": em.add_residual,
}


@pytest.fixture(autouse=True)
def _one_graph():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield
    torch._dynamo.reset()


def paper(constraints="D4", **changes):
    sizes = {"image_size": 8, "in_channels": 1, "num_classes": 3, "fields": (1, 2), "depth": 2, "kernel_size": 3}
    return em.models.PaperNetwork(group="D4", constraints=constraints, head_units=4, **sizes | changes).double()


def small(space):
    """A convolution and a head, both of one space, whose values are no longer those of the layers before."""
    convolution = em.layers.Conv2d(1, 2, 3, group="D4", source="trivial")
    network = nn.Sequential(convolution, nn.ReLU(), GlobalAvgPool(), Linear(2, 3, group="D4"))
    network = SPACES[space](network).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.rand_like(parameter))
    return network


def whole(network):
    return torch.compile(network, fullgraph=True, backend="aot_eager")


def images(batch=4):
    return torch.randn(batch, 1, 8, 8, dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)  # measured: 2e-13


def assert_trains_alike(network, *, steps=3):
    """Several steps of both, each from new images, with the same outputs, gradients and state all along."""
    other = copy.deepcopy(network)
    compiled = whole(other)
    pairs = [(one, torch.optim.SGD(one.parameters(), lr=0.1)) for one in (network, other)]
    for _ in range(steps):
        x = images()
        outputs = []
        for forward, (_, optimizer) in zip((network, compiled), pairs, strict=True):
            optimizer.zero_grad()
            outputs.append(forward(x))
            outputs[-1].square().mean().backward()
        close(outputs[1], outputs[0])
        for (name, one), two in zip(network.named_parameters(), other.parameters(), strict=True):
            close(two.grad, one.grad)
            assert one.grad.any(), name
        for _, optimizer in pairs:
            optimizer.step()
    for one, two in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        close(two, one)


@pytest.mark.parametrize("constraints", ["D4", ("D4", "D2", "D1")], ids=["static", "chain"])
def test_training_is_one_graph(constraints):
    """D2 and D1 have cosets whose channels lie apart."""
    assert_trains_alike(paper(constraints))


@pytest.mark.parametrize("space", SPACES)
def test_training_of_every_space_is_one_graph(space):
    assert_trains_alike(small(space), steps=2)


def test_training_of_images_with_channels_last_is_one_graph():
    network = paper("D1", in_channels=2, depth=1)
    other, x = copy.deepcopy(network), torch.randn(4, 2, 8, 8, dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last)
    compiled = whole(other)
    for _ in range(2):
        outputs = [forward(x) for forward in (network, compiled)]
        close(outputs[1], outputs[0])
        for output in outputs:
            output.square().mean().backward()
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        close(two.grad, one.grad)


def test_training_under_autocast_is_one_graph():
    network = paper("D1", depth=1).float()
    other, x = copy.deepcopy(network), images().float()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = network(x), whole(other)(x)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    for output in (expected, found):
        output.float().square().mean().backward()
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=0.05, atol=0.05)


def test_evaluation_is_one_graph_and_frozen_kernels_are_seen():
    network = paper(("D4", "D2", "D1")).eval()
    compiled, x = whole(network), images()
    for _ in range(2):
        y = compiled(x)
        close(y, network(x))
    y.square().mean().backward()
    assert network[0].conv.space.weight.grad.any()
    # Another graph where no gradient is wanted, and one for kernels that are kept.
    with torch.no_grad(), torch._dynamo.config.patch(error_on_recompile=False):
        for factor in (1, 2):  # what was kept is not taken for what is
            network[0].conv.space.weight.mul_(factor)
            expected = network(x)
            with em.frozen_kernels(network):
                for _ in range(3):
                    close(compiled(x), expected)
            close(compiled(x), expected)


@pytest.mark.parametrize("space", ["tied mixed", "residual"])
def test_evaluation_of_every_space_without_gradients_is_one_graph(space):
    network = small(space).eval()
    compiled = whole(network)
    with torch.no_grad():
        for _ in range(2):
            x = images()
            close(compiled(x), network(x))


@pytest.mark.parametrize("space", [None, *SPACES])
@torch.no_grad()
def test_exported_programs_compute_the_same(space):
    network = (paper(("D4", "D2", "D1")) if space is None else small(space)).eval()
    program = torch.export.export(network, (images(),), strict=False)
    x = images()
    close(program.module()(x), network(x))
