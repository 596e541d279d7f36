"""The scores of a test set, as a run's result holds them and as numbers, and what is said of them."""

import math

import pytest
import torch

from equimorph.errors import RunFolderError
from equimorph.reports import measures, read_numbers
from equimorph.reports.classes import Confusion, share_rows, worst_confusion
from equimorph.reports.classification import explain_confusion, make_class_table
from equimorph.reports.data_section import describe_weights
from equimorph.reports.records import read_records
from equimorph.training.metrics import scores


def score(confusion, classes="abc"):
    """The scores of a test set with this confusion matrix."""
    taken = [
        (true, predicted)
        for true, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        for _ in range(count)
    ]
    true, predicted = torch.tensor(taken).T
    return scores(torch.nn.functional.one_hot(predicted, len(confusion)).double(), true, list(classes))


@pytest.fixture
def found():
    return score([[6, 2, 0], [1, 3, 0], [0, 0, 0]])


def test_scores_are_read_as_they_were_recorded(static_run, found):
    static_run.events[-1]["scores"] = found.record()
    assert read_numbers(static_run.write()).scores == found


@pytest.mark.parametrize("changes", [{}, {"scores": None}])
def test_an_older_result_has_no_scores(static_run, changes):
    static_run.events[-1] |= changes
    assert read_numbers(static_run.write()).scores is None


def test_a_run_without_a_result_has_no_scores(unfinished_run):
    assert read_numbers(unfinished_run.write()).scores is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"accuracy": "all"}, '"accuracy" must be a number or null, got "all"'),
        ({"balanced_accuracy": None}, '"balanced_accuracy" must be a finite number, got null'),
        ({"classes": [1, 2, 3]}, '"classes" must be a list of texts'),
        ({"classes": []}, '"classes" is empty'),
        ({"support": [8, 4]}, '"support" has 2 entries for 3 classes'),
        ({"support": [8, 4, 1]}, 'the counts of "c" in "confusion" do not add up to its 1 in "support"'),
        ({"recall": [1.0, True, None]}, '"recall" must be a list of numbers or null'),
        ({"auroc": []}, '"auroc" has 0 entries for 3 classes'),
        ({"confusion": [[6, 2, 0], [1, 3, 0]]}, '"confusion" has 2 entries for 3 classes'),
        ({"confusion": [[6, 2], [1, 3], [0, 0]]}, '"confusion" has 2 counts for "a" and 3 classes'),
        ({"confusion": [[9, -1, 0], [1, 3, 0], [0, 0, 0]]}, 'the counts of "a" in "confusion"'),
        ({"confusion": [6, 2, 0]}, '"confusion" must be a list of lists of whole numbers, got [6, 2, 0]'),
        ({"confusion": [[6, 2.5, 0], [1, 3, 0], [0, 0, 0]]}, '"confusion" must be a list of lists of whole numbers'),
    ],
)
def test_scores_that_do_not_fit_are_named_with_their_line(static_run, found, changes, told):
    static_run.events[-1]["scores"] = found.record() | changes
    with pytest.raises(RunFolderError) as caught:
        read_records(static_run.write())
    assert 'history.jsonl, line 5, "scores"' in str(caught.value)
    assert told in str(caught.value)


def test_scores_that_are_no_finite_numbers_are_none(static_run, found):
    static_run.events[-1]["scores"] = found.record() | {"auroc": [math.nan, None, math.inf]}
    assert read_numbers(static_run.write()).scores.auroc == (None, None, None)


def test_shares_are_those_of_the_row(found):
    assert share_rows(found) == ((0.75, 0.25, 0.0), (0.25, 0.75, 0.0), (None, None, None))


@pytest.mark.parametrize(
    ("confusion", "worst"),
    [
        ([[6, 2, 0], [1, 3, 0], [0, 0, 0]], Confusion(0, 1, 2)),
        ([[6, 0, 2], [2, 1, 0], [0, 0, 5]], Confusion(1, 0, 2)),  # equally many, of a smaller class
        ([[6, 0, 0], [0, 1, 0], [0, 0, 5]], None),
    ],
)
def test_the_worst_confusion_is_the_most_frequent_mistake(confusion, worst):
    assert worst_confusion(score(confusion)) == worst


@pytest.mark.parametrize(
    ("confusion", "said"),
    [
        ([[6, 2, 0], [1, 3, 0], [0, 0, 0]], "2 of the 8 samples of “a” were taken for “b”."),
        ([[6, 0, 0], [1, 3, 0], [0, 0, 0]], "1 of the 4 samples of “b” was taken for “a”."),
        ([[6, 0, 0], [0, 3, 0], [0, 1, 0]], "the only sample of “c” was taken for “b”."),
        ([[6, 0, 0], [0, 3, 0], [0, 0, 1]], "There was no mistake."),
    ],
)
def test_the_worst_confusion_is_told(confusion, said):
    assert explain_confusion(score(confusion)).endswith(said)


def test_the_table_has_a_row_for_each_class(found):
    table = make_class_table(found).replace('<td class="number">', "<td>")
    assert "<tr><td>a</td><td>8</td><td>75.0 %</td><td>85.7 %</td><td>0.750</td></tr>" in table
    assert "<tr><td>c</td><td>0</td><td>–</td><td>–</td><td>–</td></tr>" in table
    assert "recall 75.00 %, AUROC 0.750." in table


@pytest.mark.parametrize("metric", ["balanced-error", "auroc-error", "own", "f1"])
def test_another_metric_has_no_binomial_error_and_is_explained(static_run, metric):
    static_run.events[0]["metric"] = metric
    numbers = read_numbers(static_run.write())
    assert numbers.start.metric == metric
    assert numbers.test_standard_error is None
    assert measures.describe_metric(metric).startswith("Errors here are ")
    assert measures.name_metric(metric)


@pytest.mark.parametrize("changes", [{}, {"metric": None}, {"metric": "error"}])
def test_the_error_rate_needs_no_explanation(static_run, changes):
    static_run.events[0] |= changes
    numbers = read_numbers(static_run.write())
    assert numbers.start.metric == "error"
    assert numbers.test_standard_error is not None
    assert measures.describe_metric("error") == measures.name_metric("error") == ""


def test_an_older_start_tells_nothing_of_the_data(static_run):
    start = read_records(static_run.write()).start
    assert (start.class_weights, start.split, start.handled, start.left_out) == (None, "", (), ())


def test_counts_of_the_data_are_read(static_run):
    static_run.events[0]["data"] |= {"handled": {"turned by EXIF": 12, "made RGB": 0}, "left_out": {"unreadable": 2}}
    static_run.events[0]["data"]["split"] = "by patient"
    start = read_records(static_run.write()).start
    assert (start.handled, start.left_out) == ((("turned by EXIF", 12),), (("unreadable", 2),))
    assert start.split == "by patient"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"handled": [1]}, '"data": "handled" must be an object, got [1]'),
        ({"handled": {"turned": "x"}}, '"handled": "turned" must be a whole number, got "x"'),
        ({"left_out": {"unreadable": -1}}, '"left_out": "unreadable" must not be negative, got -1'),
        ({"split": 3}, '"split" must be a text, got 3'),
    ],
)
def test_data_that_do_not_fit_are_named(static_run, data, told):
    static_run.events[0]["data"] |= data
    with pytest.raises(RunFolderError) as caught:
        read_records(static_run.write())
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("written", "read", "said"),
    [
        (None, None, ""),
        ("none", None, ""),
        ("loss", "loss", "In the loss every class weighed the same"),
        ("sampling", "sampling", "every class was drawn equally often"),
        ("by hand", "by hand", "Classes were weighed: by hand."),
    ],
)
def test_class_weights_are_told(static_run, written, read, said):
    static_run.events[0]["class_weights"] = written
    assert read_records(static_run.write()).start.class_weights == read
    assert said in describe_weights(read)
