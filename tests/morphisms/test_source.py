"""The source of a plain network rebuilds it without the library, whatever its containers."""

import sys

import pytest
import safetensors.torch
import torch
from torch import nn

import equimorph as em
from equimorph.errors import MorphismError
from equimorph.morphisms import plain_source


def rebuilt(source, network):
    """The network that a source builds, with the weights of another, in evaluation mode."""
    assert "equimorph" not in source
    written = {"__file__": "network.py", "__name__": "network"}
    exec(source, written)
    built = written["build"]()
    built.load_state_dict(network.state_dict())
    assert {name: value.dtype for name, value in built.state_dict().items()} == {
        name: value.dtype for name, value in network.state_dict().items()
    }
    return built.eval()


def assert_written(network, example, *, traced=True):
    source = plain_source(network, example)
    assert ("torch.ops.aten" in source) == traced
    assert source == plain_source(network, example)
    built = rebuilt(source, network)
    for batch in (1, 2, 5):
        x = torch.randn(batch, *example.shape[1:], dtype=example.dtype)
        assert torch.equal(built(x), network(x))
    return source


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift = em.layers.Conv2d(1, 1, 3, group="D4", source="trivial", padding=1)
        self.conv = em.layers.Conv2d(1, 1, 3, group="D4", padding=1)
        self.again = self.conv
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("kept", torch.full((1,), 0.5))
        self.register_buffer("mask", torch.linspace(0, 1, 36).reshape(6, 6), persistent=False)
        self.scale = torch.tensor([2.0])

    def forward(self, x):
        lifted = self.lift(x)
        y = lifted + self.norm(self.conv(lifted)).relu()
        return (y + self.again(y)) * self.mask.to(x) * self.scale.to(x) + self.kept


def test_the_written_source_rebuilds_the_network_without_the_library(tmp_path, monkeypatch):
    network = em.models.PaperNetwork(group="D4", image_size=8, in_channels=1, num_classes=3, fields=1, depth=2).eval()
    x = torch.randn(3, 1, 8, 8)
    ordinary = em.plain(network, x)
    source = plain_source(ordinary, x)
    assert "equimorph" not in source
    (tmp_path / "network.py").write_text(source)
    safetensors.torch.save_file(ordinary.state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "network", raising=False)
    import network as written

    assert torch.equal(written.load()(x), ordinary(x))
    monkeypatch.delitem(sys.modules, "network")


@pytest.mark.parametrize(("name", "sides"), [("Z2", (5,)), ("D4", (5, 5)), ("C4v@z", (5, 5, 5))])
def test_sequences_are_written_as_the_calls_that_make_them(name, sides, dtype):
    sizes = {"image_size": 5, "in_channels": 1, "num_classes": 3, "fields": 1, "depth": 2, "kernel_size": 3}
    network = em.models.PaperNetwork(group=name, **sizes).to(dtype).eval()
    x = torch.randn(1, 1, *sides, dtype=dtype)
    assert_written(em.plain(network, x), x, traced=False)


def test_a_layer_that_is_used_twice_is_written_in_both_places():
    twice = em.layers.Conv2d(1, 1, 3, group="D4", padding=1)
    pool = em.layers.AvgPool(2)
    network = nn.Sequential(em.layers.Conv2d(1, 1, 3, group="D4", source="trivial"), twice, pool, twice, pool)
    x = torch.randn(2, 1, 18, 18)
    ordinary = em.plain(network, x)
    assert len(rebuilt(plain_source(ordinary, x), ordinary)) == 5


def test_own_containers_are_written_as_what_they_compute(dtype):
    x = torch.randn(1, 1, 6, 6, dtype=dtype)
    source = assert_written(em.plain(Block().to(dtype), x), x)
    assert "# conv: Conv2d" in source and "_share(self, 'again.weight', 'conv.weight')" in source


def test_an_fx_graph_is_written():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(x) + self.fc(x.flip(1))

    assert_written(torch.fx.symbolic_trace(Doubled().eval()), torch.randn(1, 4))


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"),
    ],
    ids=["average that leaves the border out", "padding by name", "circular"],
)
def test_a_layer_that_torch_prints_without_all_its_arguments_is_traced(layer):
    assert_written(nn.Sequential(layer).eval(), torch.randn(1, 1, 7, 7))


def test_constants_lie_where_the_input_lies():
    class Ramp(nn.Module):
        def forward(self, x):
            return x + torch.arange(4, device=x.device) + torch.zeros_like(x, device=x.device)

    source = assert_written(Ramp(), torch.randn(1, 4))
    assert "cpu" not in source and source.count("device=x.device") == 2


def test_a_written_network_moves_to_another_device_whole():
    x = torch.randn(1, 1, 6, 6)
    ordinary = em.plain(Block(), x)
    built = rebuilt(plain_source(ordinary, x), ordinary).to("meta")
    assert built(torch.empty(3, 1, 6, 6, device="meta")).shape == (3, 8, 6, 6)  # raises where a constant stayed behind


def test_a_tensor_that_is_no_number_is_kept_as_it_is():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.values = torch.tensor([float("inf"), -0.0, 1 / 3])
            self.flags = torch.tensor([True, False, True])

        def forward(self, x):
            return torch.where(self.flags, torch.minimum(x, self.values), x.clamp(max=float("inf")))

    assert_written(Odd(), torch.randn(1, 3))


def test_a_network_of_mixed_dtypes_keeps_them():
    class Precise(nn.Linear):
        def forward(self, x):
            return super().forward(x.double()).float()

    network = nn.Sequential(nn.Linear(4, 4), Precise(4, 2).double()).eval()
    assert_written(network, torch.randn(1, 4))


def test_what_torch_cannot_trace_is_refused_with_its_reason():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(MorphismError, match=r"cannot trace Branching .*data-dependent") as raised:
        plain_source(Branching(), torch.randn(1, 4))
    assert "\n" not in str(raised.value)


def test_a_batch_that_is_fixed_is_refused():
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(2, 8) if x.shape[0] == 2 else x.flatten(1)

    with pytest.raises(MorphismError, match="batches of any size"):
        plain_source(Fixed(), torch.randn(1, 2, 4))


def test_two_outputs_are_refused():
    class Two(nn.Module):
        def forward(self, x):
            return x, -x

    with pytest.raises(MorphismError, match="one tensor"):
        plain_source(Two(), torch.randn(1, 4))


def test_a_long_constant_is_refused():
    class Long(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.zeros(2**20 + 1)

        def forward(self, x):
            return x + self.table[:4]

    with pytest.raises(MorphismError, match='"table" has 1,048,577 numbers'):
        plain_source(Long(), torch.randn(1, 4))


def test_the_network_is_left_as_it_was():
    network = Block().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain_source(em.plain(network, torch.randn(1, 1, 6, 6)), torch.randn(1, 1, 6, 6))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
