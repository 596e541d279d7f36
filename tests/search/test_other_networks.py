"""Every strategy runs on networks that are not the paper's: our residual one, and converted ones of a user's own."""

import csv
import functools
import json
import runpy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.data import ImageData, Split
from equimorph.errors import MorphismError
from equimorph.layers import Conv2d, ConvTranspose2d, TiedParameter
from equimorph.search import run_folder, strategy_named
from equimorph.search.catalog import FORMS
from equimorph.training import TrainingSettings

SMALL = "generations=1+population=2+children=3"
SIDE = 8
CLASSES = ("low", "middle", "high")
STRATEGIES = [
    f"evolutionary:{SMALL}+start=group+selection=pareto",
    f"evolutionary:{SMALL}+moves=paper",
    "differentiable",
    "differentiable:tied=true+start=uniform",
    "differentiable:skip=true+result=mixture",
    "differentiable:tied=true+skip=true+batches=same",
    "differentiable:result=retrained+batches=train",
    "growth",
    "static:C4",
    "chain",  # of as many subgroups as the network has sites
    "from-G:C4",
    "augmented",
    "narrow",
    "random-static",
    f"random-selection:{SMALL}+start=group+selection=pareto",
    "random-steps",
    "rpp",
    "rpp:mixture",
    "retrain",  # the folder of a run
]


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.expand = nn.Conv2d(channels // 2, channels, 1)  # registered before what runs before it
        self.reduce = nn.Conv2d(channels, channels // 2, 1)

    def forward(self, x):
        gate = self.reduce(x.mean((2, 3), keepdim=True)).relu()
        return x * self.expand(gate).sigmoid()


class Residual(nn.Module):
    """A depthwise and a pointwise convolution, a gate, and a scale for each channel on the branch."""

    def __init__(self, in_channels, num_classes, width=16):
        super().__init__()
        self.head = nn.Linear(width, num_classes)  # registered first, runs last
        self.scale = nn.Parameter(torch.full((width, 1, 1), 0.3))
        self.gate = SqueezeExcite(width)
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(width)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        branch = self.gate(F.gelu(self.pointwise(self.depthwise(x))))
        x = F.relu(self.last_norm(x + self.scale * branch))
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    """One level down and up again; an activation with a slope for each channel."""

    def __init__(self, in_channels, num_outputs, width=8):
        super().__init__()
        self.out = nn.Conv2d(width, num_outputs, 1)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join = nn.Conv2d(2 * width, width, 3, padding=1)
        self.slope = nn.PReLU(width)
        self.enter = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.down = nn.Conv2d(width, 2 * width, 3, padding=1)

    def forward(self, x):
        skip = F.relu(self.enter(x))
        low = F.relu(self.down(F.max_pool2d(skip, 2)))
        return self.out(self.slope(self.join(torch.cat([skip, self.up(low)], 1))))


@dataclass(frozen=True)
class Case:
    """A network, what it predicts, and its sites in the order in which they run.

    Attributes:
        model: The user's network, of the number of outputs; None for our own residual network.
        dense: Whether there is a class for each pixel.
        sites: The sites.
    """

    model: type[nn.Module] | None
    dense: bool
    sites: tuple[str, ...]

    def network(self):
        generator = torch.Generator().manual_seed(0)
        if self.model is None:
            sizes = {"image_size": SIDE, "in_channels": 1, "num_classes": len(CLASSES), "fields": (1, 2), "blocks": 1}
            return em.models.ResNet(group="D4", generator=generator, **sizes)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.model(1, len(CLASSES))
        return em.equivariantize(model, "D4", torch.zeros(1, 1, SIDE, SIDE), generator=generator)


CASES = {
    "resnet": Case(
        None,
        False,
        (
            "stem.conv",
            *(f"stage{stage}.block1.branch.conv{place}" for stage in (1, 2) for place in (1, 2)),
            "stage2.block1.shortcut.conv",
            "head.linear",
        ),
    ),
    "converted residual": Case(
        Residual, False, ("stem", "depthwise", "pointwise", "gate.reduce", "gate.expand", "head")
    ),
    "converted U-Net": Case(UNet, True, ("enter.0", "down", "up", "join", "out")),
}


@functools.cache
def data_of(dense):
    """Noise; the class tells how bright a pixel is, or the whole image."""
    generator = torch.Generator().manual_seed(0)
    splits = []
    for name, count in (("train", 24), ("validation", 8), ("test", 8)):
        x = torch.randn(count, 1, SIDE, SIDE, generator=generator)
        if not dense:
            x[::3] += 0.5
            x[1::3] -= 0.5
        y = (x[:, 0] > -0.5).long() + (x[:, 0] > 0.5).long() if dense else torch.arange(count) % 3
        splits.append(Split(x, y, tuple(f"{name} {number}" for number in range(count))))
    return ImageData.from_splits("noise", *splits, classes=CLASSES)


@functools.cache
def network_of(name):
    return CASES[name].network()


def run(text, name, out=None):
    settings = TrainingSettings(epochs=1, batch_size=8, optimizer="adam", device="cpu")
    return strategy_named(text).run(network_of(name), data_of(CASES[name].dense), training=settings, out=out)


@pytest.fixture(scope="module", params=CASES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def prior(name, tmp_path_factory):
    out = tmp_path_factory.mktemp("prior") / "chain"
    run(chain_of(name), name, out)
    return out


def chain_of(name):
    return "chain:" + ",".join(["D4", "D4", "C4", "C4", "C2", "C2", "C1"][: len(CASES[name].sites)])


def start_of(text, name, result):
    """The network that `load` is handed: the one that the run began with, at the width it came to."""
    network = network_of(name)
    return network.narrowed(result.candidate.parameters) if text == "narrow" else network


def test_no_strategy_is_left_out():
    assert {text.partition(":")[0] for text in STRATEGIES} == {form.partition(":")[0] for form in FORMS}


def untraceable(*_):
    raise MorphismError("not traced here")


@pytest.mark.parametrize("text", STRATEGIES)
def test_every_strategy_runs_repeats_and_is_read_back(name, prior, tmp_path, text, monkeypatch):
    monkeypatch.setattr(run_folder, "plain_source", untraceable)  # it takes longer than the run
    case, data, out = CASES[name], data_of(CASES[name].dense), tmp_path / "run"
    full = {"chain": chain_of(name), "retrain": f"retrain:{prior}"}.get(text, text)
    before = {key: tensor.clone() for key, tensor in network_of(name).state_dict().items()}
    result = run(full, name, out)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network_of(name).state_dict().items())

    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert lines[0]["sites"] == list(case.sites) and lines[-1]["event"] == "result"
    assert len(list(csv.reader((out / "splits.csv").read_text().splitlines()))) == 41
    em.inspection.check_chain(em.sites(result.best))
    if case.model is not None:
        assert run(full, name).history == result.history
        assert "<body>" in em.reports.write(out).read_text(encoding="utf-8")

    x = data.standardize(data.test.x)
    with torch.no_grad():
        expected = result.best(x)
        found = em.search.load(out, network=start_of(text, name, result))
        assert torch.equal(found(x), expected)
        assert list(em.sites(found).values()) == list(em.sites(result.best).values())
        assert (em.plain(result.best, x)(x) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (out / "best" / "weights.safetensors").is_file()


def test_what_was_found_runs_without_the_library_and_has_its_page(name, prior):
    data = data_of(CASES[name].dense)
    x = data.standardize(data.test.x)
    alone = runpy.run_path(str(prior / "best" / "network.py"))["load"](prior / "best")
    expected = em.search.load(prior, network=network_of(name))(x)
    assert (alone(x) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert "<body>" in em.reports.write(prior).read_text(encoding="utf-8")


def test_sites_are_in_the_order_in_which_they_run(name):
    network, seen = network_of(name), []
    layers = {path: network.get_submodule(path) for path in em.sites(network)}
    hooks = [layer.register_forward_hook(lambda *_, path=path: seen.append(path)) for path, layer in layers.items()]
    network(torch.zeros(2, 1, SIDE, SIDE))
    for hook in hooks:
        hook.remove()
    assert tuple(seen) == tuple(layers) == CASES[name].sites


def test_the_converted_networks_have_what_the_paper_s_has_not():
    residual, unet = network_of("converted residual"), network_of("converted U-Net")
    assert isinstance(residual.depthwise, Conv2d) and residual.depthwise.depthwise
    assert isinstance(unet.up, ConvTranspose2d)
    tied = [name for name, module in residual.named_modules() if isinstance(module, TiedParameter)]
    assert set(tied) == {"scale_tied", "norm.weight_tied", "norm.bias_tied"}
    assert isinstance(unet.slope.weight_tied, TiedParameter)


@pytest.mark.parametrize("name", ["converted residual", "converted U-Net"])
def test_a_narrow_network_has_about_as_many_parameters_and_no_symmetry(name):
    wanted = sum(parameter.numel() for parameter in network_of(name).parameters())
    result = run("narrow", name)
    assert result.candidate.parameters == sum(parameter.numel() for parameter in result.best.parameters())
    assert abs(result.candidate.parameters - wanted) < wanted / 2
    assert {constraint.group.name for constraint in em.sites(result.best).values()} == {"C1"}


def test_a_search_goes_on_where_another_one_ended(name):
    best = run("static:C4", name).best
    settings = TrainingSettings(epochs=1, batch_size=8, device="cpu")
    again = strategy_named("evolutionary:generations=1+start=group").run(
        best, data_of(CASES[name].dense), training=settings
    )
    assert all(constraint.order <= 4 for constraint in em.sites(again.best).values())


def test_skip_paths_are_members_where_a_layer_has_its_input_s_features_alone(name):
    """Neither a depthwise nor a transposed layer, nor one that changes the type or the width, has the identity."""
    result = run("differentiable:skip=true+result=mixture", name)
    skipping = {path for path in em.sites(result.best) if result.best.get_submodule(path).space.has_skip}
    assert (
        skipping
        == {
            "resnet": {f"stage{stage}.block1.branch.conv{place}" for stage, place in ((1, 1), (1, 2), (2, 2))},
            "converted residual": {"pointwise"},
            "converted U-Net": set(),
        }[name]
    )
