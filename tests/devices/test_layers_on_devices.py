"""Kernels, norms and morphisms obey on every device the laws that they obey on a CPU."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.layers import AvgPool, BatchNorm, Conv1d, Conv2d, Conv3d, ConvTranspose2d, Linear, MaxPool
from equimorph.spaces.dense import dense_from_rows, rows_from_dense

D4 = em.group("D4")
SPACES = {
    "tied": lambda module: module,
    "mixed": em.mix,
    "tied mixed": lambda module: em.mix(module, tied=True),
    "residual": em.add_residual,
}
every_space = pytest.mark.parametrize("space", SPACES)
every_subgroup = pytest.mark.parametrize("H", D4.subgroups(), ids=str)
LAYERS = {
    "conv1d": (lambda **to: Conv1d(2, 3, 3, group="Z2", **to), (2, 4, 9)),
    "conv2d": (lambda **to: Conv2d(2, 3, 5, group="D4", padding="same", **to), (2, 16, 9, 9)),
    "depthwise": (lambda **to: Conv2d(2, 2, 3, group="D4", groups=2, **to), (2, 16, 9, 9)),
    "conv3d": (lambda **to: Conv3d(1, 2, 3, group="Oh", **to), (2, 48, 5, 5, 5)),
    "transposed": (lambda **to: ConvTranspose2d(2, 1, 3, group="D4", stride=2, **to), (2, 16, 4, 4)),
    "norm": (lambda **to: BatchNorm(2, group="D4", subgroup="D1", **to), (2, 16, 5, 5)),
    "pooling": (lambda **to: AvgPool(2), (2, 16, 6, 6)),
    "max pooling": (lambda **to: MaxPool(2), (2, 16, 6, 6)),
}


def network(space="tied", seed=0, **changes):
    sizes = {"image_size": 8, "in_channels": 1, "num_classes": 3, "fields": (1, 2), "depth": 2, "kernel_size": 3}
    generator = torch.Generator().manual_seed(seed)
    made = em.models.PaperNetwork(group="D4", head_units=4, generator=generator, **sizes | changes)
    return SPACES[space](made)


def images(device, batch=6, dtype=torch.float32):
    return torch.randn(batch, 1, 8, 8, dtype=dtype).to(device)


def pass_of(module, x):
    """Output, and the gradients of input and parameters."""
    x = x.detach().clone().requires_grad_()
    module.zero_grad()
    y = module(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view(y.shape)
    (weights * y).sum().backward()
    return [y.detach(), x.grad, *(parameter.grad.clone() for parameter in module.parameters())]


@pytest.mark.parametrize("name", LAYERS)
def test_layers_commute_with_every_element(name, device, dtype):
    make, shape = LAYERS[name]
    layer = make().to(device, dtype)
    layer(torch.randn(shape, dtype=dtype, device=device))  # statistics of a norm
    constraint = em.group("D4").whole if "pool" in name else None
    em.testing.assert_equivariant(layer.eval(), torch.randn(shape, dtype=dtype, device=device), constraint=constraint)


@pytest.mark.parametrize("channels_last", [False, True], ids=["first", "last"])
@every_space
def test_a_pass_is_the_one_on_a_cpu_in_double_precision(space, channels_last, device):
    layer = SPACES[space](Conv2d(2, 3, 5, group="D4", padding="same"))
    with torch.no_grad():
        for parameter in layer.parameters():  # a mixture's members no longer make the same kernel
            parameter.add_(0.1 * torch.rand_like(parameter))
    x = torch.randn(4, 16, 9, 9)
    expected = pass_of(copy.deepcopy(layer).double(), x.double())
    layer, x = layer.to(device), x.to(device)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    for found, wanted in zip(pass_of(layer, x), expected, strict=True):
        scale = wanted.abs().max()
        torch.testing.assert_close(found.cpu().double() / scale, wanted / scale, rtol=0, atol=2e-5)


SHAPES = {"vector": (12, 16), "image": (6, 16, 5, 5), "channels last": (6, 16, 5, 5), "bf16": (6, 16, 5, 5)}


@pytest.mark.parametrize("kind", SHAPES)
@every_subgroup
def test_norms_are_those_on_a_cpu_in_double_precision(H, kind, device):
    norm = BatchNorm(2, group="D4", subgroup=H)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.uniform_(-1, 1)
    x = 3 + 2 * torch.randn(SHAPES[kind])
    low = kind == "bf16"
    x = x.bfloat16().float() if low else x
    expected = pass_of(copy.deepcopy(norm).double(), x.double())
    other, x = copy.deepcopy(norm).to(device), x.to(device, torch.bfloat16 if low else None)
    x = x.to(memory_format=torch.channels_last) if kind == "channels last" else x
    found = pass_of(other, x)
    reference = copy.deepcopy(norm).double()
    reference(x.cpu().double().contiguous())
    for one, wanted in zip(found, expected, strict=True):
        scale = wanted.abs().max()
        torch.testing.assert_close(one.cpu().double() / scale, wanted / scale, rtol=0, atol=0.02 if low else 2e-5)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(other, name).cpu().double(), getattr(reference, name), rtol=1e-4, atol=1e-4)


@every_subgroup
def test_norms_have_second_derivatives(H, device):
    norm = BatchNorm(1, group="D4", subgroup=H).to(device).double()
    x = torch.randn(3, 8, 2, 2, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradgradcheck(norm, (x,), nondet_tol=1e-9)


@every_subgroup
def test_kernels_have_second_derivatives(H, device):
    layer = Conv2d(1, 1, 3, group="D4", subgroup=H, bias=False).to(device).double()
    table = torch.randn_like(layer.space.weight, requires_grad=True)
    assert torch.autograd.gradcheck(layer.space.dense_expansion, (table,))
    assert torch.autograd.gradgradcheck(layer.space.dense_expansion, (table,))


@every_subgroup
def test_fast_kernels_are_plain_indexing_to_the_bit(H, device, dtype):
    layer = Conv2d(3, 2, 5, group="D4", subgroup=H, padding="same", bias=False).to(device, dtype)
    space = layer.space
    rows = space.rows()
    plain = dense_from_rows(rows, space.shape.format)
    assert torch.equal(layer.dense_weight(), plain)
    assert torch.equal(rows_from_dense(plain, space.shape.format), rows)


@every_subgroup
def test_relaxing_keeps_the_function_to_the_bit(H, device, dtype):
    parent = network().to(device, dtype)
    parent(images(device, dtype=dtype))
    child = em.relax(parent, H)
    x = images(device, dtype=dtype)
    assert next(child.parameters()).device.type == torch.device(device).type
    assert torch.equal(parent.eval()(x), child.eval()(x))


@every_space
def test_norms_and_kernels_under_mixed_precision_are_near_those_in_float32(space, device):
    one = network(space, fields=(2, 4)).to(device)
    x = images(device)
    expected = one(x)
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        found = one(x)
    found.float().square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in one.parameters())
    assert float(((found.float() - expected).norm() / expected.norm()).detach()) < 0.05  # measured: 8e-3


@every_space
def test_a_compiled_network_trains_as_the_eager_one(space, device):
    if torch.device(device).type != "cuda":
        pytest.skip("tests/layers/test_compiled.py has it for a CPU, where there need be no compiler")
    eager = network(space).to(device).double()
    with torch.no_grad():
        for parameter in eager.parameters():  # a mixture's members no longer make the same kernel
            parameter.add_(0.1 * torch.rand_like(parameter))
    other = copy.deepcopy(eager)
    compiled = torch.compile(other, fullgraph=True)
    x = images(device, dtype=torch.float64)
    outputs = [run(x) for run in (eager, compiled)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-8, atol=1e-8)
    for output in outputs:
        output.square().sum().backward()
    for (name, first), second in zip(eager.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(second.grad, first.grad, rtol=1e-6, atol=1e-8), name


@every_space
def test_the_plain_network_is_the_same_function(space, device):
    one = network(space).to(device)
    one(images(device))
    x = images(device)
    ordinary = em.plain(one.eval(), x[:2])
    torch.testing.assert_close(ordinary(x), one(x), rtol=1e-5, atol=1e-5)


def test_moving_to_the_device_and_back_changes_nothing(device):
    for space in SPACES:
        one = network(space)
        before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
        x = images("cpu")
        expected = one.eval()(x)
        one.to(device)(x.to(device))
        one.to("cpu")
        assert torch.equal(one(x), expected)
        assert all(torch.equal(tensor, before[name]) for name, tensor in one.state_dict().items())


def test_kept_kernels_are_those_made_anew(device):
    one = network().to(device).eval()
    x = images(device)
    with em.frozen_kernels(one), torch.inference_mode():
        assert torch.equal(one(x), one(x))
        assert torch.equal(one(x), network().to(device).eval()(x))


@every_space
def test_distances_and_discretising_work_where_the_network_is(space, device):
    one = network(space).to(device)
    assert set(em.distances(one).rows) == set(em.sites(one))
    if "mixed" in space:
        found = em.discretize(one)
        assert found(images(device)).device.type == torch.device(device).type


def test_an_ordinary_network_is_converted_where_it_is(device):
    torch.manual_seed(1)
    ordinary = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(8, 3),
    ).to(device)
    example = images(device)
    found = em.equivariantize(ordinary, "C4", example)
    em.testing.assert_equivariant(found.eval(), example, source="trivial", target="trivial")
    assert found.conversion.breaks == ()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_optimizers_follow_a_relaxed_network(kind, device):
    parent = network().to(device)
    make = {"sgd": lambda g: torch.optim.SGD(g, momentum=0.9), "adam": torch.optim.Adam}[kind]
    options = {"optimizer": torch.optim.SGD if kind == "sgd" else torch.optim.Adam}
    optimizer = make(em.parameter_groups(parent, lr=0.01, **options))
    F.cross_entropy(parent(images(device)), torch.zeros(6, dtype=torch.long, device=device)).backward()
    optimizer.step()
    child = em.relax(parent, "C2")
    carried = em.carry_optimizer(optimizer, source=parent, target=child)
    F.cross_entropy(child(images(device)), torch.zeros(6, dtype=torch.long, device=device)).backward()
    carried.step()
    assert all(parameter.isfinite().all() for parameter in child.parameters())


def test_heads_are_averaged_over_cosets(device, dtype):
    head = Linear(3, 4, group="D4", subgroup="C4").to(device, dtype)
    em.testing.assert_equivariant(head, torch.randn(2, 24, dtype=dtype, device=device), target="trivial")
