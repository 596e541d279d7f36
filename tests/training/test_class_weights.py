"""Unequal classes: weighed in the loss, or drawn more often; and the metric by which trainings are judged."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equimorph.data import ImageData, Split
from equimorph.errors import ConfigurationError
from equimorph.training import METRICS, Batches, Trainer, TrainingSettings
from equimorph.training.metrics import class_weights

COUNTS = (60, 15, 5)


def split(*counts, seed=0):
    y = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    x = torch.randn(len(y), 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return Split(x, y[order])


@pytest.fixture(scope="module")
def data():
    return ImageData.from_splits(
        "unequal", split(*COUNTS), split(30, 8, 4, seed=1), split(20, 7, 3, seed=2), classes=("a", "b", "c")
    )


def trainer_of(data, **changes):
    options = {name: changes.pop(name) for name in ("loss", "metric") if name in changes}
    return Trainer(data, TrainingSettings(**{"epochs": 1, "batch_size": 20, "device": "cpu"} | changes), **options)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def test_drawn_by_weight_each_class_comes_as_often(data):
    batches = trainer_of(data, class_weights="sampling").batches
    passes = 200
    counts = sum(batches.at(step)[1].bincount(minlength=3) for step in range(passes * batches.per_pass))
    total = passes * 80
    assert counts.sum() == total
    assert (counts - total / 3).abs().max() < 5 * (total * 2 / 9) ** 0.5  # five standard deviations


def test_within_a_class_each_sample_is_drawn_as_often(data):
    numbered = Split(data.train.x, torch.arange(80))
    weights = class_weights(data.train.y, 3)[data.train.y]
    batches = Batches(data, numbered, 80, seed=0, weights=weights)
    counts = sum(batches.at(step)[1].bincount(minlength=80) for step in range(300)).double()
    for label, count in enumerate(COUNTS):
        expected = 300 * 80 / 3 / count
        assert (counts[data.train.y == label] - expected).abs().max() < 5 * expected**0.5


@pytest.mark.parametrize("class_weights_", ["none", "loss"])
def test_drawn_without_weights_each_sample_comes_once_in_a_pass(data, class_weights_):
    batches = trainer_of(data, class_weights=class_weights_).batches
    seen = sum(batches.at(step)[1].bincount(minlength=3) for step in range(batches.per_pass))
    assert seen.tolist() == list(COUNTS)


def test_weighed_draws_repeat_with_the_seed_and_leave_torchs_generator_alone(data):
    before = torch.get_rng_state()
    one, again, other = (trainer_of(data, class_weights="sampling", seed=seed).batches.at(5)[0] for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", ["32", "64"])
def test_the_weighed_loss_is_torchs_with_one_over_the_number_of_each_class(data, precision):
    trainer = trainer_of(data, class_weights="loss", precision=precision)
    kind = torch.float64 if precision == "64" else torch.float32
    outputs, targets = torch.randn(30, 3, dtype=kind), torch.arange(30) % 3
    weight = torch.tensor([80 / 3 / count for count in COUNTS], dtype=kind)
    torch.testing.assert_close(trainer.loss(outputs, targets), F.cross_entropy(outputs, targets, weight=weight))
    state = trainer.start(network())
    x, y = trainer.batches.at(0)
    expected = F.cross_entropy(state.network(x), y, weight=weight)
    reports = []
    trainer.advance(state, 1, on_report=reports.append)
    assert reports[0].train_loss == pytest.approx(float(expected.detach()))


def test_a_class_without_training_samples_has_no_weight(data):
    lacking = ImageData.from_splits("lacking", split(20, 0, 10), data.validation, data.test, classes=("a", "b", "c"))
    loss = trainer_of(lacking, class_weights="loss").loss
    outputs = torch.randn(4, 3)
    weight = torch.tensor([30 / 2 / 20, 0, 30 / 2 / 10])
    targets = torch.tensor([0, 2, 2, 1])
    assert float(loss(outputs, targets)) == pytest.approx(float(F.cross_entropy(outputs, targets, weight=weight)))


def test_a_loss_of_ones_own_is_not_weighed_but_may_be_drawn_for(data):
    def own(outputs, targets):
        return F.cross_entropy(outputs, targets)

    with pytest.raises(ConfigurationError, match=r'"loss" is for the cross-entropy; .* or take "sampling"'):
        trainer_of(data, class_weights="loss", loss=own)
    assert trainer_of(data, class_weights="sampling", loss=own).loss is own
    assert trainer_of(data, class_weights="none", loss=own).loss is own


@pytest.mark.parametrize("name", METRICS)
def test_the_validation_error_is_the_metric_that_was_named(data, name):
    trainer = trainer_of(data, metric=METRICS[name])
    state = trainer.start(network())
    evaluation = trainer.advance(state, 4)
    outputs, targets = trainer.predict(state.network, "validation")
    assert torch.equal(targets, data.validation.y)
    assert evaluation.error == float(METRICS[name](outputs, targets))
    assert trainer.measure(outputs, targets) == evaluation


def test_metrics_tell_unequal_classes_apart(data):
    always_the_first = torch.tensor([1.0, 0, 0]).expand(42, -1)
    errors = {name: float(metric(always_the_first, data.validation.y)) for name, metric in METRICS.items()}
    share = pytest.approx(12 / 42)
    assert errors == {"error": share, "balanced-error": pytest.approx(2 / 3), "auroc-error": 0.5, "pixel-error": share}
