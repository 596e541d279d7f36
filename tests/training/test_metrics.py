"""The metrics and scores, against scikit-learn and by exact value."""

import json
import math

import pytest
import sklearn.metrics
import torch

from equimorph.errors import ConfigurationError, ShapeError
from equimorph.training.metrics import (
    METRICS,
    auroc_error,
    balanced_error,
    class_weights,
    error_rate,
    metric_named,
    scores,
)


def draw(num_classes, *, n=200, seed=0, ties=False):
    """Outputs that lean to the targets, every class occurring."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.cat([torch.arange(num_classes), torch.randint(num_classes, (n,), generator=generator) ** 2])
    targets %= num_classes
    outputs = torch.randn(len(targets), num_classes, generator=generator, dtype=torch.float64)
    outputs += torch.nn.functional.one_hot(targets, num_classes)
    return (outputs.round() if ties else outputs), targets


def areas_by_sklearn(outputs, targets):
    probabilities = outputs.softmax(1)
    return [
        sklearn.metrics.roc_auc_score((targets == own).numpy(), probabilities[:, own].numpy())
        for own in range(outputs.shape[1])
        if 0 < (targets == own).sum() < len(targets)
    ]


@pytest.mark.parametrize("num_classes", [2, 3, 10, 30])
@pytest.mark.parametrize("ties", [False, True])
def test_metrics_are_those_of_scikit_learn(num_classes, ties):
    outputs, targets = draw(num_classes, ties=ties)
    predicted = outputs.argmax(1)
    assert float(error_rate(outputs, targets)) == pytest.approx(1 - sklearn.metrics.accuracy_score(targets, predicted))
    recall = sklearn.metrics.balanced_accuracy_score(targets, predicted)
    assert float(balanced_error(outputs, targets)) == pytest.approx(1 - recall, rel=1e-12)
    areas = areas_by_sklearn(outputs, targets)
    assert float(auroc_error(outputs, targets)) == pytest.approx(1 - sum(areas) / len(areas), rel=1e-10)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
@pytest.mark.parametrize("ties", [False, True])
def test_scores_are_those_of_scikit_learn(num_classes, ties):
    outputs, targets = draw(num_classes, ties=ties)
    predicted = outputs.argmax(1)
    found = scores(outputs, targets, [f"class {index}" for index in range(num_classes)])
    precision, recall, _, support = sklearn.metrics.precision_recall_fscore_support(
        targets, predicted, labels=range(num_classes), zero_division=math.nan
    )
    assert found.accuracy == pytest.approx(sklearn.metrics.accuracy_score(targets, predicted))
    assert found.balanced_accuracy == pytest.approx(sklearn.metrics.balanced_accuracy_score(targets, predicted))
    assert found.support == tuple(support)
    assert found.recall == pytest.approx(recall)
    assert found.precision == pytest.approx(precision)
    assert found.auroc == pytest.approx(areas_by_sklearn(outputs, targets))
    confusion = sklearn.metrics.confusion_matrix(targets, predicted, labels=range(num_classes))
    assert found.confusion == tuple(tuple(row) for row in confusion.tolist())


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_metric_is_a_double_scalar_whatever_the_outputs_are(name, dtype):
    outputs, targets = draw(4)
    value = metric_named(name)(outputs.to(dtype).requires_grad_(), targets)
    assert (value.dtype, value.shape, value.device.type, value.requires_grad) == (torch.float64, (), "cpu", False)
    assert 0 <= value <= 1


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_network_has_no_error_and_a_constant_one_that_of_chance(name):
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    assert float(METRICS[name](torch.nn.functional.one_hot(targets).double(), targets)) == 0
    by_chance = {"error": 2 / 3, "balanced-error": 2 / 3, "auroc-error": 1 / 2, "pixel-error": 2 / 3}
    assert float(METRICS[name](torch.zeros(6, 3), targets)) == pytest.approx(by_chance[name])


def test_metrics_leave_their_arguments_alone():
    outputs, targets = draw(3)
    before = outputs.clone(), targets.clone()
    for metric in METRICS.values():
        metric(outputs, targets)
    assert torch.equal(outputs, before[0]) and torch.equal(targets, before[1])


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    targets = torch.tensor([0] * 99 + [1])
    outputs = torch.tensor([[1.0, 0.0]]).expand(100, 2)
    assert float(error_rate(outputs, targets)) == pytest.approx(0.01)
    assert float(balanced_error(outputs, targets)) == 0.5


def test_classes_that_do_not_occur_are_left_out():
    outputs = torch.tensor([[3.0, 0.0, 1.0], [2.0, 0.0, 4.0], [0.0, 0.0, 2.0]])
    targets = torch.tensor([0, 0, 2])
    assert float(balanced_error(outputs, targets)) == pytest.approx(1 - (1 / 2 + 1) / 2)
    assert float(auroc_error(outputs, targets)) == pytest.approx(1 - (1 + 1 / 2) / 2)
    found = scores(outputs, targets, ["a", "b", "c"])
    assert (found.recall, found.precision, found.auroc) == ((0.5, None, 1.0), (1.0, None, 0.5), (1.0, None, 0.5))
    assert found.support == (2, 0, 1)
    assert found.mean_auroc == 0.75


@pytest.mark.parametrize(("n", "told"), [(5, "here is one"), (0, "here is none")])
def test_an_auroc_of_fewer_than_two_classes_is_refused(n, told):
    with pytest.raises(ConfigurationError, match=told):
        auroc_error(torch.randn(n, 3), torch.full((n,), 1))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_network_that_diverged_has_scores_without_an_auroc(bad):
    outputs, targets = draw(3)
    outputs[0, 1] = bad
    found = scores(outputs, targets, ["a", "b", "c"])
    assert found.auroc == (None, None, None)
    assert found.mean_auroc is None
    assert found.accuracy == pytest.approx(1 - float(error_rate(outputs, targets)))
    assert math.isnan(auroc_error(outputs, targets))
    everywhere = scores(torch.full((4, 2), bad), torch.tensor([0, 1, 0, 1]), ["a", "b"])
    assert sum(everywhere.support) == 4
    json.dumps(everywhere.record(), allow_nan=False)


def test_one_class_has_no_auroc_and_no_crash():
    found = scores(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 0]), ["a", "b"])
    assert (found.accuracy, found.balanced_accuracy, found.auroc) == (1.0, 1.0, (None, None))


def test_a_record_goes_through_json_unchanged():
    outputs, targets = draw(3)
    found = scores(outputs, targets, ["a", "b", "c"])
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record == found.record()
    assert list(record) == [
        "accuracy",
        "balanced_accuracy",
        "classes",
        "support",
        "recall",
        "precision",
        "auroc",
        "confusion",
    ]
    assert [sum(row) for row in record["confusion"]] == record["support"]


@pytest.mark.parametrize("metric", [*METRICS.values(), lambda outputs, targets: scores(outputs, targets, "ab")])
@pytest.mark.parametrize(
    ("outputs", "targets", "told"),
    [
        (torch.zeros(3), torch.tensor([0, 1, 0]), r"got \(3,\) and \(3,\)"),
        (torch.zeros(3, 2), torch.tensor([0, 1]), r"got \(3, 2\) and \(2,\)"),
        (torch.zeros(3, 2), torch.tensor([[0], [1], [0]]), r"and \(3, 1\)"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), "needed targets from 0 to 1, got 0 to 2"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 1]), "got -1 to 1"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(metric, outputs, targets, told):
    with pytest.raises(ShapeError, match=told):
        metric(outputs, targets)


def test_scores_need_a_name_for_each_output_and_a_sample():
    with pytest.raises(ShapeError, match=r"needed outputs \(at least 1, 3\), got \(4, 2\)"):
        scores(torch.zeros(4, 2), torch.zeros(4, dtype=torch.long), ["a", "b", "c"])
    with pytest.raises(ShapeError, match=r"got \(0, 2\)"):
        scores(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), ["a", "b"])


def test_an_unknown_metric_is_refused_with_those_there_are():
    with pytest.raises(ConfigurationError) as caught:
        metric_named("f1")
    known = "error, balanced-error, auroc-error, pixel-error"
    assert str(caught.value) == f'training: metric is "f1"; it is one of {known}.'


def test_class_weights_make_all_classes_weigh_the_same():
    labels = torch.tensor([0] * 6 + [1] * 3 + [3])
    weights = class_weights(labels, 5)
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 0, 10 / 3, 0])
    assert float(weights[labels].mean()) == pytest.approx(1)
    totals = [float(weights[labels[labels == own]].sum()) for own in (0, 1, 3)]
    assert totals == pytest.approx([10 / 3] * 3)
    assert weights.dtype is torch.float64


@pytest.mark.parametrize(
    ("labels", "told"),
    [([], r"shape \(0,\)"), ([0, 3], "got 0 to 3"), ([-1, 0], "got -1 to 0"), ([[0]], r"shape \(1, 1\)")],
)
def test_labels_that_are_no_classes_are_refused(labels, told):
    with pytest.raises(ShapeError, match=told):
        class_weights(torch.tensor(labels, dtype=torch.long), 3)
