"""Training on values and maps: what is minimised and measured by default, and what the batches hold."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.data import Augmentation, ImageData, Split
from equimorph.data.targets import IGNORED
from equimorph.errors import ConfigurationError, ShapeError
from equimorph.training import Batches, Trainer, TrainingSettings, error_rate, pixel_error, squared_error
from equimorph.training.metrics import METRICS

SIDE = 6


def split_of(make_y, count, seed):
    x = torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Split(x, make_y(x))


def data_of(make_y, classes=()):
    return ImageData.from_splits(
        "noise", *(split_of(make_y, *each) for each in ((40, 0), (20, 1), (13, 2))), classes=classes
    )


MAKE = {
    "classes": (lambda x: (x.mean((1, 2, 3)) > 0).long(), ("a", "b")),
    "value": (lambda x: x.mean((1, 2, 3)), ()),
    "values": (lambda x: torch.stack([x.mean((1, 2, 3)), x.std((1, 2, 3))], 1), ()),
    "class maps": (lambda x: (x[:, 0] > 0).to(torch.uint8), ("low", "high")),
    "value maps": (lambda x: torch.cat([x, x.abs()], 1), ()),
}
every_kind = pytest.mark.parametrize("kind", MAKE)


class Shifted(nn.Module):
    """The first numbers of a sample's last layer, times a weight; the smallest network there is for each target."""

    def __init__(self, outputs, is_dense):
        super().__init__()
        self.conv = em.layers.Conv2d(1, outputs, 3, group="D4", source="trivial", target="trivial", padding=1)
        self.is_dense = is_dense

    def forward(self, x):
        y = self.conv(x)
        return y if self.is_dense else y.mean((2, 3))


def network_of(kind):
    return Shifted(1 if kind == "value" else 2, kind.endswith("maps"))


def trainer_of(kind, *, loss=None, metric=None, **changes):
    settings = TrainingSettings(**{"epochs": 2, "batch_size": 10, "device": "cpu", "lr": 0.01} | changes)
    return Trainer(data_of(*MAKE[kind]), settings, loss=loss, metric=metric)


@pytest.mark.parametrize(
    ("kind", "loss", "metric", "name"),
    [
        ("classes", F.cross_entropy, error_rate, "error"),
        ("value", squared_error, None, "loss"),
        ("values", squared_error, None, "loss"),
        ("class maps", F.cross_entropy, pixel_error, "pixel-error"),
        ("value maps", squared_error, None, "loss"),
    ],
)
def test_each_kind_of_targets_has_its_loss_and_metric(kind, loss, metric, name):
    trainer = trainer_of(kind)
    assert (trainer.loss, trainer.metric, trainer.metric_name) == (loss, metric, name)


@every_kind
def test_what_is_handed_in_wins(kind):
    def own(outputs, targets):
        return outputs.sum()

    trainer = trainer_of(kind, loss=own, metric=own)
    assert trainer.loss is own and trainer.metric is own and trainer.metric_name == "own"
    for name, metric in METRICS.items():
        assert trainer_of(kind, metric=metric).metric_name == name


@pytest.mark.parametrize("precision", ["32", "64", "bf16-mixed"])
@every_kind
def test_a_network_learns_and_is_measured_by_the_whole_split(kind, precision):
    trainer = trainer_of(kind, precision=precision)
    state = trainer.start(network_of(kind))
    before = trainer.evaluate(state.network, "validation")
    after = trainer.advance(state, trainer.total_steps)
    assert after.loss < before.loss
    outputs, targets = trainer.predict(state.network, "test")
    y = trainer.data.test.y
    expected = y.to(trainer.dtype) if y.is_floating_point() else y.long()
    assert torch.equal(targets, expected) and targets.dtype == expected.dtype
    found = trainer.measure(outputs, targets)
    assert found.loss == pytest.approx(float(trainer.loss(outputs, targets)), rel=1e-3)
    assert found.error == (found.loss if trainer.metric is None else float(trainer.metric(outputs, targets)))


@every_kind
def test_losses_in_parts_have_the_mean_of_the_whole(kind):
    trainer = trainer_of(kind)
    network = trainer.start(network_of(kind)).network
    parts = trainer.losses_in_parts(network, "validation", num_parts=5)  # of 4 samples each
    assert parts.shape == (5,)
    assert float(parts.mean()) == pytest.approx(trainer.evaluate(network, "validation").loss, rel=1e-5)


@pytest.mark.parametrize("class_weights", ["loss", "sampling"])
@pytest.mark.parametrize("kind", ["value", "values", "class maps", "value maps"])
def test_class_weights_are_for_classes(kind, class_weights):
    with pytest.raises(ConfigurationError, match=f'class_weights "{class_weights}" is for one class per sample'):
        trainer_of(kind, class_weights=class_weights)


def test_one_output_for_one_number_needs_no_axis_of_its_own():
    outputs, targets = torch.randn(7, 1), torch.randn(7)
    assert (
        squared_error(outputs, targets) == F.mse_loss(outputs[:, 0], targets) == squared_error(outputs[:, 0], targets)
    )


@pytest.mark.parametrize(("outputs", "targets"), [((7, 2), (7,)), ((7,), (7, 1)), ((7, 1, 4, 4), (7, 1, 8, 8))])
def test_outputs_are_never_stretched_to_the_targets(outputs, targets):
    with pytest.raises(ShapeError, match="the squared error needs one output for each number"):
        squared_error(torch.zeros(outputs), torch.zeros(targets))


@pytest.mark.parametrize("sides", [(), (5,), (3, 4), (2, 3, 2)])
def test_the_pixel_error_is_the_error_rate_of_all_pixels_with_a_class(sides, dtype):
    outputs = torch.randn(6, 3, *sides, dtype=dtype)
    targets = torch.randint(0, 3, (6, *sides))
    flat = outputs.movedim(1, -1).reshape(-1, 3)
    found = pixel_error(outputs, targets)
    assert found.dtype == torch.float64 and found == error_rate(flat, targets.flatten())
    targets[0] = IGNORED
    kept = targets.flatten() != IGNORED
    assert pixel_error(outputs, targets) == error_rate(flat[kept], targets.flatten()[kept])
    assert pixel_error(outputs, torch.full_like(targets, IGNORED)) == 0


def test_the_pixel_error_says_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"got \(2, 3, 4, 4\) and \(2, 4\)"):
        pixel_error(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match="needed targets from 0 to 2, got 0 to 3"):
        pixel_error(torch.zeros(1, 3, 2), torch.tensor([[0, 3]]))
    with pytest.raises(ShapeError, match="take pixel-error"):
        error_rate(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64))


@pytest.mark.parametrize("text", ["move=D4", "turn, mirror, shift=0.2, scale=0.2", "move=C4, turn, intensity=0.3"])
@pytest.mark.parametrize("fill", ["reflection", "border", "mean"])
def test_maps_in_a_batch_are_where_their_samples_are(text, fill):
    """The targets are the samples: what moves one moves the other, and only samples grow brighter."""
    data = data_of(lambda x: 3 + 2 * x)
    augmentation = Augmentation.parse(f"{text}, fill={fill}", dim=2)
    batches = Batches(data, data.train, 8, seed=0, dtype=torch.float64, augmentation=augmentation)
    plain = Batches(data, data.train, 8, seed=0, dtype=torch.float64)
    for step in range(3):
        x, y = batches.at(step)
        assert x.shape == y.shape and not torch.equal(y, plain.at(step)[1])
        expected = data.standardize((y - 3) / 2, torch.float64)
        if augmentation.intensity:
            gains = ((x - x.mean((2, 3), keepdim=True)).std((2, 3)) / expected.std((2, 3))).flatten()
            assert gains.std() > 0.01 and (gains - 1).abs().max() < 0.31
        else:
            torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("kind", MAKE)
def test_samples_are_changed_alike_whatever_their_targets_are(kind):
    augmentation = Augmentation.parse("move=D4, turn, mirror, shift=0.2, scale=0.2, intensity=0.2, fill=mean", dim=2)
    found = []
    for each in (kind, "classes"):
        data = data_of(*MAKE[each])
        found.append(Batches(data, data.train, 8, seed=0, augmentation=augmentation).at(3))
    assert torch.equal(found[0][0], found[1][0])
    y = data_of(*MAKE[kind]).train.y
    chosen = Batches(data_of(*MAKE[kind]), Split(torch.zeros(40, 1, 2, 2), torch.arange(40)), 8, seed=0).at(3)[1]
    if kind.endswith("maps"):
        assert found[0][1].shape == y[chosen].shape
    else:
        assert torch.equal(found[0][1], y[chosen].float() if y.is_floating_point() else y[chosen])


def test_what_comes_in_from_outside_has_no_class():
    data = data_of(*MAKE["class maps"])
    augmentation = Augmentation.parse("shift=0.4, fill=mean", dim=2)
    _, y = Batches(data, data.train, 40, seed=0, augmentation=augmentation).at(0)
    assert set(y.unique().tolist()) == {IGNORED, 0, 1} and y.dtype == torch.int64
