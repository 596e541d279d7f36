"""Layers together, as a network is built of them."""

import copy
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import equimorph as em
from equimorph.layers import (
    AvgPool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Conv3d,
    GlobalAvgPool,
    Linear,
    MaxPool,
    constrained_modules,
    sites_of,
)
from equimorph.testing import TOLERANCES, assert_equivariant, equivariance_errors

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("C3@xyz", "C4v@z", "Oh"))]
CONVOLUTIONS = {1: Conv1d, 2: Conv2d, 3: Conv3d}
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")
every_subgroup_of_d4 = pytest.mark.parametrize("H", D4.subgroups(), ids=str)
# Torch's own tracer makes objects that its typing machinery warns about.
ignores_tracer_warning = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def small_network(*constraints, fields=2, dtype=None):
    """Two blocks and a head, constrained one by one; the last constraint stands for those left out."""
    first, second, third = (*constraints, *constraints[-1:] * 2)[:3]
    options = {"group": first.group, "dtype": dtype}
    convolution = CONVOLUTIONS[first.group.dim]
    return nn.Sequential(
        convolution(1, fields, 3, source="trivial", padding="same", bias=False, subgroup=first, **options),
        BatchNorm(fields, subgroup=first, **options),
        nn.ReLU(),
        AvgPool(2),
        convolution(fields, fields, 3, padding="same", subgroup=second, **options),
        nn.ELU(),
        BatchNorm(fields, subgroup=second, **options),
        MaxPool(2),
        GlobalAvgPool(),
        Linear(fields, 3, subgroup=third, **options),
    )


def random_images(dim, side, *, batch=16, dtype=None):
    return torch.randn(batch, 1, *(side,) * dim, dtype=dtype)


def train(network, x, *, steps=3):
    """A few steps of SGD towards labels that break every symmetry, so that only the constraint keeps it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    labels = torch.arange(len(x)) % 3
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()


@every_subgroup
def test_networks_are_invariant_after_training_in_both_modes(H, dtype):
    network = small_network(H, fields=1 if H.group.dim == 3 else 2, dtype=dtype)
    for side in (4, 5):
        x = random_images(H.group.dim, side, dtype=dtype)
        train(network.train(), x)
        for training in (False, True):
            assert_equivariant(network.train(training), x, source="trivial", target="trivial")


@every_subgroup
def test_feature_maps_are_equivariant_after_training(H, dtype):
    network = small_network(H, fields=1, dtype=dtype)
    x = random_images(H.group.dim, 5, dtype=dtype)
    train(network, x)
    for depth in (2, 4, 7):
        assert_equivariant(network[:depth].eval(), x, source="trivial")


@pytest.mark.parametrize(
    ("constraints", "common"),
    [
        (("D4", "C4", "C2"), "C2"),
        (("D4", "D2@0", "C1"), "C1"),
        (("D1@0", "C4", "D4"), "C1"),
        (("D2@45", "D4", "C2"), "C2"),
        (("D4", "D2@45", "D1@135"), "D1@135"),
    ],
    ids=str,
)
def test_networks_keep_what_all_their_sites_keep_and_no_more(constraints, common, dtype):
    network = small_network(*map(D4.subgroup, constraints), dtype=dtype).eval()
    x = random_images(2, 9, dtype=dtype)
    assert_equivariant(network, x, source="trivial", target="trivial")
    errors = equivariance_errors(network, x, source="trivial", target="trivial", constraint=D4.whole)
    kept = {h for h, error in errors.items() if error < 100 * TOLERANCES[dtype]}
    assert kept == set(D4.subgroup(common).indices)


@pytest.mark.parametrize("seed", range(4))
def test_relaxing_random_modules_keeps_what_the_network_computes_to_the_bit(seed, dtype):
    choose = random.Random(seed)
    network = small_network(D4.whole, dtype=dtype)
    x = random_images(2, 9, dtype=dtype)
    train(network, x)
    network.eval()
    expected = network(x)
    for _ in range(6):
        name, module = choose.choice(list(constrained_modules(network)))
        smaller = [K for K in D4.subgroups() if module.constraint >= K]
        network[int(name)] = module.relaxed(choose.choice(smaller))
        assert torch.equal(network(x), expected)


@every_subgroup_of_d4
def test_saved_weights_load_and_compute_the_same_to_the_bit(H, dtype, tmp_path):
    network, twin = (small_network(H, dtype=dtype) for _ in range(2))
    x = random_images(2, 9, dtype=dtype)
    train(network, x)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    twin.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for training in (False, True):
        assert torch.equal(twin.train(training)(x), network.train(training)(x))


@every_subgroup_of_d4
def test_state_is_the_same_in_training_and_evaluation_and_holds_no_index_table(H):
    network = small_network(H)
    shapes = [
        {name: tuple(table.shape) for name, table in network.train(training).state_dict().items()}
        for training in (True, False)
    ]
    statistics = {f"{norm}.running_{what}" for norm in (1, 6) for what in ("mean", "var")}
    assert shapes[0] == shapes[1]
    assert set(shapes[0]) == {name for name, _ in network.named_parameters()} | statistics


def test_copies_compute_the_same_and_train_apart():
    network = small_network(D4.subgroup("C4"), D4.subgroup("C2"))
    x = random_images(2, 8)
    twin = copy.deepcopy(network)
    assert torch.equal(twin(x), network(x)) and [site.constraint for site in sites_of(twin).values()] == [
        site.constraint for site in sites_of(network).values()
    ]
    expected = network.eval()(x)
    train(twin, x)
    assert torch.equal(network(x), expected) and not torch.equal(twin.eval()(x), expected)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@every_subgroup_of_d4
def test_half_precision_by_autocast_stays_finite_forward_and_backward(H, training):
    network = small_network(H).train(training)
    x = random_images(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(x)
        loss = nn.functional.cross_entropy(out, torch.arange(16) % 3)
    loss.backward()
    assert out.dtype == torch.bfloat16 and out.isfinite().all()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)
    assert (out - network(x)).abs().max() < 0.1 * out.abs().max()  # measured: 0.008


@ignores_tracer_warning
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_compiled_networks_compute_and_learn_as_eager_ones(training):
    eager = small_network(D4.subgroup("D2@0"), D4.subgroup("C2"), D4.trivial).train(training)
    twin = copy.deepcopy(eager)
    torch._dynamo.reset()
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    x = random_images(2, 8)
    for network in (eager, compiled):
        network(x).square().sum().backward()
    torch.testing.assert_close(compiled(x), eager(x), rtol=0, atol=TOLERANCES[x.dtype])
    for found, expected in zip(twin.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-5)
    for name, table in eager.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], table, rtol=0, atol=TOLERANCES[x.dtype])


@ignores_tracer_warning
@pytest.mark.parametrize("name", ["D4", "D1@90"])
def test_exported_networks_compute_the_same(name):
    network = small_network(D4.subgroup(name)).eval()
    x = random_images(2, 8)
    exported = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(exported(x), network(x), rtol=0, atol=TOLERANCES[x.dtype])
