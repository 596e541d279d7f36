"""Pointwise layers in the Fourier basis compute what the dense ones do, and only layers that gain are put there."""

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import equimorph as em
from equimorph.cli import main
from equimorph.data import ImageData, Split
from equimorph.layers import Linear
from equimorph.morphisms import fourier
from equimorph.morphisms.fourier import blocks_of, commutes, commuting_map, fourier_basis

GROUPS = [em.group(name) for name in ("Z2", "C1", "C2", "D1", "C4", "D2", "D4")]
GROUPS += [em.group(name, dim=3) for name in ("C4", "C4h", "D4h", "T", "Th", "Td", "O", "Oh")]
PRODUCTS = {"C4": 6, "D4": 12, "T": 32, "Th": 64, "Td": 64, "O": 64, "Oh": 128}


def convolution(group, in_fields=2, out_fields=3, **options):
    kind = getattr(em.layers, f"Conv{group.dim}d")
    return drawn(kind(in_fields, out_fields, 1, group=group, **options))


@torch.no_grad()
def drawn(layer):
    """With a bias that is not zero."""
    if layer.space.bias is not None:
        layer.space.bias.normal_()
    return layer


def blocks_in(network):
    return [name for name, part in network.named_modules() if isinstance(part, torch.fx.GraphModule)]


def difference(first, second, x):
    with torch.no_grad():
        expected = second(x)
        return float((first(x) - expected).abs().max() / expected.abs().max())


@pytest.fixture
def everywhere(monkeypatch):
    """Small layers are put into the basis, too."""
    monkeypatch.setattr(fourier, "is_faster", lambda layer, group, positions: True)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group.name}, {group.dim}-D")
def test_every_map_that_commutes_is_block_diagonal_in_the_basis(group):
    found = fourier_basis(group)
    assert np.abs(found.rows @ found.rows.T - np.eye(group.order)).max() < 1e-12  # measured: 3e-14
    assert sum(block.size * block.copies for block in found.blocks) == group.order
    assert found.num_products == PRODUCTS.get(group.name, found.num_products)
    for values in np.eye(group.order):  # they span all commuting maps
        changed = found.rows @ commuting_map(group, values) @ found.rows.T
        expected = np.zeros_like(changed)
        for block in found.blocks:
            once = slice(block.start, block.start + block.size)
            for start in range(block.start, block.stop, block.size):
                expected[start : start + block.size, start : start + block.size] = changed[once, once]
        assert np.abs(changed - expected).max() < 1e-11


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group.name}, {group.dim}-D")
def test_blocks_compute_what_the_convolution_does(group, bias, dtype):
    layer = convolution(group, bias=bias).to(dtype)
    x = torch.randn(2, 2 * group.order, *(3, 4, 5)[: group.dim], dtype=dtype)
    dense = em.plain(layer, x)
    assert commutes(dense, group)
    blocks = blocks_of(dense, group)
    assert (
        difference(blocks, layer, x) < {torch.float32: 3e-6, torch.float64: 1e-12}[dtype]
    )  # measured: 4.6e-7, 3.5e-14
    assert sum(p.numel() for p in blocks.parameters()) <= sum(p.numel() for p in dense.parameters())
    assert {type(module).__module__.split(".")[0] for module in blocks.modules()} == {"torch"}


def test_a_bias_need_not_commute():
    group = em.group("D4")
    dense = em.plain(convolution(group).double(), torch.zeros(1, 16, 2, 2, dtype=torch.float64))
    once = blocks_of(dense, group)
    biases = [value for name, value in once.named_parameters() if "bias" in name]
    assert [value.numel() for value in biases] == [3]  # of the trivial representation alone
    with torch.no_grad():
        dense.bias.normal_()
    assert difference(blocks_of(dense, group), dense, torch.randn(2, 16, 3, 4, dtype=torch.float64)) < 1e-12


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group.name}, {group.dim}-D")
def test_a_head_sums_each_field_first(group, dtype):
    head = drawn(Linear(3, 5, group=group)).to(dtype)
    x = torch.randn(2, 3 * group.order, dtype=dtype)
    summed = blocks_of(em.plain(head, x), group)
    assert difference(summed, head, x) < {torch.float32: 3e-6, torch.float64: 1e-13}[dtype]  # measured: 3.8e-7, 9e-16
    assert sum(p.numel() for p in summed.parameters()) == 3 * 5 + 5


def test_layers_that_are_not_fully_constrained_stay_dense(everywhere):
    D4 = em.group("D4")
    whole, head = convolution(D4, 2, 2), drawn(Linear(2, 3, group=D4))
    network = nn.Sequential(
        em.layers.Conv2d(1, 2, 1, group=D4, source="trivial"),
        em.relax(whole, "C4"),
        em.layers.Conv2d(2, 2, 3, group=D4, padding=1),
        convolution(D4, 2, 2, stride=2),
        convolution(D4, 2, 2, padding=1),
        convolution(D4, 2, 2, groups=2),
        convolution(D4, 2, 2, depthwise=True),
        em.layers.Conv2d(2, 2, 1, group=D4, subgroup="C1"),
        convolution(D4, 2, 2, padding="same"),
        whole,
        em.layers.GlobalAvgPool(),
        Linear(2, 2, group=D4, target="regular"),
        em.relax(head, "C4"),
    )
    network = nn.Sequential(network, nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Flatten()))
    x = torch.randn(2, 1, 9, 9)
    ordinary = em.plain(network, x, fourier=True)
    assert blocks_in(ordinary) == ["0.8", "0.9"]
    assert difference(ordinary, network, x) < 1e-5
    assert blocks_in(em.plain(network, x)) == []
    assert blocks_in(em.plain(head, torch.zeros(1, 16), fourier=True)) == [""]


def test_a_layer_that_is_used_twice_stays_one(everywhere):
    layer = convolution(em.group("D4"), 2, 2)
    network, x = nn.Sequential(layer, nn.ReLU(), layer), torch.randn(1, 16, 4, 4)
    ordinary = em.plain(network, x, fourier=True)
    assert ordinary[0] is ordinary[2] and blocks_in(ordinary) == ["0"]
    assert difference(ordinary, network, x) < 1e-5


@pytest.mark.parametrize(("norm", "folds"), [("D4", True), ("C2", False)])
def test_a_norm_is_folded_first_and_must_commute_too(norm, folds, everywhere):
    D4 = em.group("D4")
    network = nn.Sequential(
        convolution(D4, 2, 2, bias=False), em.layers.BatchNorm(2, group=D4, subgroup=norm), nn.ReLU()
    ).double()
    with torch.no_grad():
        for parameter in network[1].parameters():
            parameter.normal_()
    x = torch.randn(6, 16, 5, 5, dtype=torch.float64)
    network(x)
    ordinary = em.plain(network.eval(), x, fourier=True, fold_norms=True)
    assert isinstance(ordinary[1], nn.Identity) and blocks_in(ordinary) == (["0"] if folds else [])
    assert difference(ordinary, network, x) < 1e-12
    assert difference(em.plain(network, x, fourier=True), network, x) < 1e-12  # beside its norm, and in blocks


@pytest.mark.parametrize(
    ("group", "fields", "sides", "gains"),
    [
        (em.group("D4"), 128, (5, 5), True),
        (em.group("D4"), 128, (2, 2), False),
        (em.group("D4"), 64, (14, 14), False),
        (em.group("D4"), 16, (28, 28), False),
        (em.group("C4"), 64, (14, 14), False),
        (em.group("O", dim=3), 32, (3, 3, 3), True),
        (em.group("O", dim=3), 16, (7, 7, 7), False),
    ],
    ids=str,
)
def test_only_wide_layers_on_maps_are_put_in_blocks(group, fields, sides, gains):
    layer = convolution(group, fields, fields)
    x = torch.randn(1, fields * group.order, *sides)
    ordinary = em.plain(layer, x, fourier=True)
    assert blocks_in(ordinary) == ([""] if gains else [])
    assert difference(ordinary, layer, x) < 1e-5


@pytest.mark.parametrize("form", ["onnx", "torch", "torch-export"])
def test_an_export_with_blocks_is_right_and_smaller(form, tmp_path):
    network = nn.Sequential(
        em.layers.Conv2d(1, 128, 3, group="D4", source="trivial"),
        nn.ReLU(),
        convolution(em.group("D4"), 128, 128),
        nn.ReLU(),
        em.layers.GlobalAvgPool(),
        Linear(128, 64, group="D4"),
    )
    x = torch.zeros(1, 1, 9, 9)
    dense = em.export(network, tmp_path / "dense", format=form, example=x)
    done = em.export(network, tmp_path / "out", format=form, example=x, fourier=True)
    assert done.largest_difference <= done.tolerance
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in (done.folder, dense.folder)]
    assert 4 * sizes[0] < sizes[1]
    if form == "onnx":
        session = onnxruntime.InferenceSession(done.folder / "network.onnx")
        sample = torch.randn(3, 1, 9, 9)
        found = torch.from_numpy(session.run(None, {"image": sample.numpy()})[0])
        assert difference(lambda _: found, network.eval(), sample) < 1e-5


def test_the_command_takes_it(everywhere, tmp_path):
    noise = Split(torch.randn(8, 1, 6, 6), torch.arange(8) % 2)
    data = ImageData.from_splits("noise", noise, noise, noise, classes=("ants", "bees"))
    network = em.models.PaperNetwork(
        group="D4", image_size=6, in_channels=1, num_classes=2, fields=1, depth=1, kernel_size=3
    )
    settings = em.training.TrainingSettings(epochs=1, batch_size=4, device="cpu")
    em.search.Static("D4").run(network, data, training=settings, out=tmp_path / "run")
    sizes = []
    for options in ([], ["--fourier"]):
        out = tmp_path / f"out{len(options)}"
        assert main(["export", str(tmp_path / "run"), "--out", str(out), *options]) == 0
        sizes.append(sum(value.numel() for value in load_file(out / "weights.safetensors").values()))
    assert sizes[0] > sizes[1]  # of the head's weight an eighth is left


def test_networks_of_the_library_and_of_the_user_are_put_in_blocks(everywhere):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = em.models.ResNet(
                group="D4", image_size=9, in_channels=1, num_classes=3, fields=(1, 2), blocks=1
            )
            self.scale = 2.0

        def forward(self, x):
            return self.scale * self.body(x)

    network, x = Own().double().eval(), torch.randn(2, 1, 9, 9, dtype=torch.float64)
    ordinary = em.plain(network, x, fourier=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert set(blocks_in(ordinary)) > set(blocks_in(em.plain(network, x)))  # containers of ours are graphs, too
    assert difference(ordinary, network, x) < 1e-11
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
