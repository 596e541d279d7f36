"""Under automatic mixed precision kernels are made in the low precision, and gradients are those of the parameters."""

import copy

import pytest
import reference
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.layers import BatchNorm, Conv1d, Conv2d, Conv3d, ConvTranspose2d, Linear

SPACES = {
    "tied": lambda module: module,
    "mixed": lambda module: em.mix(module, ["C1", "D4"]),
    "tied mixed": lambda module: em.mix(module, ["C1", "D4"], tied=True),
    "residual": em.add_residual,
}
every_space = pytest.mark.parametrize("space", SPACES)
LAYERS = {
    "conv1d": (lambda: Conv1d(1, 2, 3, group="Z2"), (2, 2, 7)),
    "conv2d": (lambda: Conv2d(1, 2, 3, group="D4"), (2, 8, 5, 5)),
    "conv3d": (lambda: Conv3d(1, 1, 2, group="O"), (1, 24, 3, 3, 3)),
    "conv_transpose2d": (lambda: ConvTranspose2d(1, 2, 3, group="D4"), (2, 8, 4, 4)),
    "linear": (lambda: Linear(1, 3, group="D4"), (2, 8)),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture
def kernels(monkeypatch):
    """The dense kernels that reach torch, in turn."""
    found = []
    for name in LAYERS:
        product = getattr(F, name)

        def watched(x, weight, *rest, product=product):
            found.append(weight)
            return product(x, weight, *rest)

        monkeypatch.setattr(F, name, watched)
    return found


def autocast(dtype=torch.bfloat16, **options):
    return torch.autocast("cpu", dtype, **options)


def network(space="tied"):
    parts = [
        Conv2d(1, 2, 3, group="D4", source="trivial", padding="same", bias=False),
        BatchNorm(2, group="D4", subgroup="D1"),
        nn.ReLU(),
        Conv2d(2, 2, 3, group="D4"),
        em.layers.GlobalAvgPool(),
        Linear(2, 3, group="D4"),
    ]
    return SPACES[space](nn.Sequential(*parts))


@every_layer
def test_kernels_reach_torch_in_the_precision_of_the_product(name, kernels):
    make, shape = LAYERS[name]
    layer, x = make(), torch.randn(shape)
    expected = layer(x)
    for low in (torch.bfloat16, torch.float16) if name == "linear" else (torch.bfloat16,):
        with autocast(low):
            y = layer(x)
            assert layer(x.to(low)).dtype is low
        assert y.dtype is low and layer.dense_weight().dtype is torch.float32
        assert [kernel.dtype for kernel in kernels[-2:]] == [low, low]
        assert reference.relative_error(y.float(), expected) < 0.05  # measured: 0.006
    with autocast(enabled=False):
        assert torch.equal(layer(x), expected)
    assert kernels[-1].dtype is torch.float32


@every_layer
def test_a_kernel_of_low_precision_is_the_one_cast_afterwards(name, kernels):
    make, shape = LAYERS[name]
    layer, x = make(), torch.randn(shape)
    layer(x)
    with autocast():
        layer(x)
    assert torch.equal(kernels[1], kernels[0].to(torch.bfloat16))


@every_space
def test_every_space_makes_kernels_in_low_precision_and_in_the_inputs_layout(space, kernels):
    layer, x = SPACES[space](Conv2d(2, 3, 3, group="D4")), torch.randn(2, 16, 5, 5)
    for layout in (torch.contiguous_format, torch.channels_last):
        with autocast():
            layer(x.contiguous(memory_format=layout))
        assert kernels[-1].dtype is torch.bfloat16 and kernels[-1].is_contiguous(memory_format=layout)
        assert torch.equal(kernels[-1], layer.dense_weight().to(torch.bfloat16))


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels last"])
@every_space
def test_training_under_autocast_stays_close_to_float32(space, channels_last):
    net = network(space)
    low, x = copy.deepcopy(net), torch.randn(8, 1, 6, 6)
    if channels_last:
        x = net[0](x).detach()[:, :1].contiguous(memory_format=torch.channels_last)
    outputs = net(x)
    with autocast():
        found = low(x)
    assert found.dtype is torch.bfloat16
    assert reference.relative_error(found.float(), outputs) < 0.05  # measured: 0.012
    towards = torch.randn_like(outputs)
    (outputs * towards).sum().backward()
    (found.float() * towards).sum().backward()
    for name, parameter in net.named_parameters():
        gradient = low.get_parameter(name).grad
        assert gradient.dtype is torch.float32
        scale = parameter.grad.norm().clamp_min(0.1)
        assert float((gradient - parameter.grad).norm() / scale) < 0.1, name  # measured: 0.03
    for name, table in net.state_dict().items():
        assert low.state_dict()[name].dtype is table.dtype
        torch.testing.assert_close(low.state_dict()[name], table, rtol=0, atol=0.02)


def test_tables_gradients_are_summed_in_float32(kernels):
    """A gradient of 256 and seven ones: in bfloat16, where 256 + 1 is 256, the ones would be lost."""
    layer = Conv2d(1, 1, 1, group="D4", source="trivial", bias=False)
    with autocast():
        y = layer(torch.ones(1, 1, 1, 1))
    y.backward(torch.tensor([256.0, *[1.0] * 7], dtype=y.dtype).view(1, 8, 1, 1))
    assert layer.space.weight.grad.tolist() == [[263.0]]


@every_space
def test_networks_of_float64_are_left_alone(space, kernels):
    net, x = network(space).double(), torch.randn(2, 1, 6, 6, dtype=torch.float64)
    expected = net(x)
    with autocast():
        found = net(x)
    assert found.dtype is torch.float64 and torch.equal(found, expected)
    assert {kernel.dtype for kernel in kernels} == {torch.float64}


def test_networks_of_low_precision_themselves_run_without_autocast(kernels):
    net, x = network().bfloat16(), torch.randn(2, 1, 6, 6).bfloat16()
    with autocast():
        assert net(x).dtype is torch.bfloat16
    y = net(x)
    y.float().sum().backward()
    assert {kernel.dtype for kernel in kernels} == {torch.bfloat16}
    assert {parameter.grad.dtype for parameter in net.parameters()} == {torch.bfloat16}
