"""Every strategy trains on regression targets, several labels and maps, puts that on record, and has its page."""

import csv
import json
import re
from html import unescape
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.cli.search import _summary
from equimorph.data import ImageData, Split
from equimorph.errors import ConfigurationError
from equimorph.search import strategy_named
from equimorph.search.catalog import FORMS
from equimorph.training import TrainingSettings, pixel_error

SMALL_SEARCH = "generations=1+population=2+children=3+start=group+selection=pareto"
STRATEGIES = [
    f"evolutionary:{SMALL_SEARCH}",
    "differentiable",
    "growth",
    "static:C4",
    "chain:D4,C4",
    "from-G:C4",
    "augmented",
    "narrow",
    "random-static",
    f"random-selection:{SMALL_SEARCH}",
    "random-steps",
    "rpp",
    "retrain:static",  # the folder of a run of that name
]
COUNTS = {"train": 24, "validation": 8, "test": 8}
SETTINGS = TrainingSettings(epochs=1, batch_size=8, optimizer="adam", device="cpu")


class Dense(nn.Module):
    """Two convolutions that keep the sides: an image in, a map out."""

    def __init__(self, out_channels, group="D4", fields=2, generator=None):
        super().__init__()
        self.out_channels = out_channels
        shared = {"group": group, "padding": 1, "generator": generator}
        self.first = em.layers.Conv2d(1, fields, 3, source="trivial", bias=False, **shared)
        self.norm = em.layers.BatchNorm(fields, group=group)
        self.last = em.layers.Conv2d(fields, out_channels, 3, target="trivial", **shared)

    def forward(self, x):
        return self.last(F.relu(self.norm(self.first(x))))

    def narrowed(self, num_parameters, generator):
        sizes = {fields: 9 * fields * (1 + self.out_channels) + 2 * fields for fields in range(1, 20)}
        fields = min(sizes, key=lambda fields: abs(sizes[fields] - num_parameters))
        return Dense(self.out_channels, em.group("C1"), fields, generator)


def vector(outputs):
    return em.models.PaperNetwork(
        group="D4",
        image_size=8,
        in_channels=1,
        num_classes=outputs,
        fields=1,
        depth=1,
        kernel_size=3,
        head_units=4,
        generator=torch.Generator().manual_seed(0),
    )


def dense(outputs):
    return Dense(outputs, generator=torch.Generator().manual_seed(0))


def kind(make_y, network, *, targets, metric="loss", classes=(), loss=None):
    return SimpleNamespace(make_y=make_y, network=network, targets=targets, metric=metric, classes=classes, loss=loss)


def means_of(x):
    return x.mean((1, 2, 3))


def quadrants_of(x):
    return torch.stack([x[:, 0, :4].mean((1, 2)), x[:, 0, :, :4].mean((1, 2))], 1)


KINDS = {
    "value": kind(means_of, lambda: vector(1), targets="values"),
    "values": kind(quadrants_of, lambda: vector(2), targets="values"),
    "labels": kind(
        lambda x: (quadrants_of(x) > 0).float(),
        lambda: vector(2),
        targets="values",
        classes=("up", "left"),
        loss=F.binary_cross_entropy_with_logits,
    ),
    "class maps": kind(
        lambda x: (x[:, 0] > 0).long() + (x[:, 0] > 1).long(),
        lambda: dense(3),
        targets="maps",
        metric="pixel-error",
        classes=("low", "middle", "high"),
    ),
    "value maps": kind(lambda x: torch.cat([x.abs(), -x], 1), lambda: dense(2), targets="maps"),
}


def data_of(made):
    generator = torch.Generator().manual_seed(0)
    splits = []
    for name, count in COUNTS.items():
        x = torch.randn(count, 1, 8, 8, generator=generator)
        splits.append(Split(x, made.make_y(x), tuple(f"{name} {number}" for number in range(count))))
    return ImageData.from_splits("noise", *splits, classes=made.classes)


def run(text, made, out=None, network=None, **changes):
    settings = TrainingSettings(**{"epochs": 1, "batch_size": 8, "optimizer": "adam", "device": "cpu"} | changes)
    return strategy_named(text).run(
        network or made.network(), data_of(made), training=settings, loss=made.loss, out=out
    )


@pytest.fixture(scope="module", params=KINDS)
def made(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def prior(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("prior") / "static"
    run("static:C4", made, out)
    return out


def test_no_strategy_is_left_out():
    assert {text.partition(":")[0] for text in STRATEGIES} == {form.partition(":")[0] for form in FORMS}


@pytest.mark.parametrize("text", STRATEGIES)
def test_every_strategy_trains_on_all_targets_and_has_its_page(made, prior, tmp_path, text):
    name = f"retrain:{prior}" if text.startswith("retrain") else text
    out = tmp_path / "run"
    result = run(name, made, out)
    start = json.loads((out / "history.jsonl").read_text().partition("\n")[0])
    assert (start["targets"], start["metric"]) == (made.targets, made.metric)
    assert start["data"]["classes"] == list(made.classes) == json.loads((out / "best" / "labels.json").read_text())
    assert "scores" not in result.history[-1]
    rows = list(csv.DictReader((out / "splits.csv").read_text().splitlines()))
    assert len(rows) == sum(COUNTS.values()) and {row["class"] for row in rows} == {""}
    data = data_of(made)
    with torch.no_grad():
        outputs, y = result.best(data.standardize(data.test.x)), data.test.y
    if made.metric == "loss":
        assert result.test_error == result.history[-1]["test_loss"]
        loss = made.loss or F.mse_loss
        assert result.test_error == pytest.approx(float(loss(outputs.reshape(y.shape), y)), rel=1e-5)
    else:
        assert result.test_error == float(pixel_error(outputs, y))
    page = em.reports.write(out).read_text(encoding="utf-8")
    told = unescape(re.sub(r"<[^>]*>", " ", page.partition("<body>")[2].partition("<script>")[0]))
    assert "±" not in told
    if made.metric == "loss":
        card = f"{result.test_error:.4g}".replace("-", "−")
        assert f"Test error {card}" in " ".join(told.split()) and "mean loss" in told
        figures = re.findall(r'<script type="application/json" id="\w+-data">(.*?)</script>', page)
        assert not re.search(r"\d\s*%", told.partition("Settings")[0])
        assert figures and all("(%)" not in figure and " % validation" not in figure for figure in figures)
    else:
        assert f"{100 * result.test_error:.2f} %" in told and "share of pixels" in told


def test_the_found_network_is_read_back_and_its_plain_weights_work_alone(made, prior):
    data = data_of(made)
    x = data.standardize(data.test.x)
    found = em.load(prior, network=made.network())
    assert found(x).shape[0] == len(x)
    assert (prior / "best" / "weights.safetensors").is_file()


def test_the_loss_and_the_metric_that_are_handed_in_win(made):
    data = data_of(made)
    strategy = strategy_named("static:C4")
    seen = []

    def loss(outputs, targets):
        seen.append((tuple(outputs.shape[1:]), tuple(targets.shape[1:]), targets.dtype))
        return outputs.square().mean()

    result = strategy.run(
        made.network(), data, training=SETTINGS, loss=loss, metric=lambda outputs, targets: outputs.mean() - 7
    )
    dtype = torch.float32 if data.train.y.is_floating_point() else torch.int64
    assert {each[1:] for each in seen} == {(tuple(data.train.y.shape[1:]), dtype)}
    assert result.history[0]["metric"] == "own" and result.test_error < 0


@pytest.mark.parametrize("class_weights", ["loss", "sampling"])
def test_class_weights_need_classes(made, class_weights):
    with pytest.raises(ConfigurationError, match=f"class_weights .* one class per sample, .* are {made.targets}"):
        run("static:C4", made, class_weights=class_weights)


@pytest.mark.parametrize("text", ["static:D4", "augmented"])
def test_every_augmentation_goes_with_all_targets(made, text):
    augment = "turn, mirror, shift=0.1, scale=0.1, intensity=0.1, move=C4, fill=mean"
    assert run(text, made, augment=augment).history[-1]["event"] == "result"


def test_runs_repeat_to_the_bit(made):
    text = "augmented"
    one, two = (run(text, made, augment="turn").history for _ in range(2))
    assert one == two


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_sums_up_in_the_unit_of_the_metric(kind, tmp_path):
    made = KINDS[kind]
    result, data = run("static:C4", made), data_of(made)
    told = _summary(result, data, tmp_path / "report.html")
    error, validation = result.test_error, result.candidate.validation_error
    if made.metric == "loss":
        assert f"test error      {error:.4g} (mean loss; 8 samples, used once)" in told
        assert f"validation      {validation:.4g}\n" in told and "%" not in told
    else:
        assert f"test error      {100 * error:.2f} % (share of pixels; 8 samples, used once)" in told
        assert f"validation      {100 * validation:.2f} %\n" in told and "±" not in told


def test_classes_have_the_history_that_they_had():
    x = torch.randn(24, 1, 8, 8)
    split = Split(x, (means_of(x) > 0).long())
    data = ImageData.from_splits("noise", split, split, split, classes=("a", "b"))
    start = strategy_named("static:C4").run(vector(2), data, training=SETTINGS).history[0]
    assert "targets" not in start and start["metric"] == "error"
