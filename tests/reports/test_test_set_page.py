"""What the page of a run says of its test set, its metric and its data; older folders say nothing of these."""

import re
from html import unescape

import pytest
import torch

import equimorph.reports
from equimorph.reports import read_numbers, words
from equimorph.training.metrics import scores

HOSTILE = "<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}"


def record(classes=("nevus", "melanoma"), *, n=100):
    """With as many samples of each class, of which the first is often taken for the second."""
    targets = torch.arange(n) % len(classes)
    outputs = torch.nn.functional.one_hot(targets, len(classes)).double()
    outputs[: n // 5, 1] += 2
    return scores(outputs, targets, list(classes)).record()


def page_of(run):
    return equimorph.reports.write(run.write()).read_text(encoding="utf-8")


def show(page):
    """The text of a page without its scripts and its style."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_a_page_with_scores_shows_them(static_run):
    static_run.events[-1]["scores"] = record()
    page = page_of(static_run)
    text = show(page)
    for said in (
        "On the test set A row for each class",
        "The most frequent mistake: 10 of the 50 samples of “nevus” were taken for “melanoma”.",
        "class samples recall precision AUROC nevus 50 80.0 % 100.0 % 0.920 melanoma 50 100.0 % 83.3 % 0.920",
        "The confusion matrix as a table",
        "true class as nevus as melanoma nevus 40 10 melanoma 0 50",
        "20.00 % in validation; accuracy 90.00 %, balanced accuracy 90.00 %",
    ):
        assert said in text
    assert 'class="plot" id="confusion"' in page
    assert 'role="img" aria-labelledby="confusion-heading"' in page
    assert 'id="confusion-data"' in page


def test_many_classes_have_a_table_without_a_figure(static_run):
    static_run.events[-1]["scores"] = record([f"class {index}" for index in range(80)], n=400)
    page = page_of(static_run)
    assert "On the test set" in show(page)
    assert "class 79" in page
    assert 'id="confusion"' not in page
    assert "as a table" not in page


def test_an_older_folder_has_the_page_that_it_had(finished_run):
    text = show(page_of(finished_run))
    for unsaid in ("On the test set", "The data", "Errors here", "accuracy", "changed at random", "confusion"):
        assert unsaid not in text
    assert "12.00 % ± 3.25 on 100 test images; 10.00 % in validation" in text


@pytest.mark.parametrize(
    ("metric", "said", "named"),
    [
        ("balanced-error", "1 − balanced accuracy, the mean recall of the classes.", "1 − balanced accuracy; 20.00 %"),
        ("auroc-error", "1 − AUROC, the area under the ROC curve", "1 − AUROC; 20.00 %"),
    ],
)
def test_a_page_says_what_its_errors_are(static_run, metric, said, named):
    static_run.events[0]["metric"] = metric
    text = show(page_of(static_run))
    assert f"Errors here are {said}" in text
    assert f"12.00 % {named} in validation" in text
    assert "±" not in text


def test_a_perfect_score_of_another_metric_is_not_told_as_no_mistake(static_run):
    static_run.events[0]["metric"] = "auroc-error"
    static_run.events[-1]["test_error"] = 0.0
    assert "none of 100" not in show(page_of(static_run))


def test_a_run_without_a_test_error_still_tells_its_accuracy(static_run):
    static_run.events[0]["metric"] = "auroc-error"
    static_run.events[-1] |= {"test_error": None, "scores": record()}
    text = show(page_of(static_run))
    assert "Validation error 20.00 % 1 − AUROC; no test error was measured; in the test accuracy 90.00 %" in text


def test_an_unfinished_run_says_what_its_errors_are(unfinished_run):
    unfinished_run.events[0]["metric"] = "balanced-error"
    assert "Errors here are 1 − balanced accuracy" in show(page_of(unfinished_run))


def test_the_data_are_told(static_run):
    static_run.events[0]["data"] |= {
        "split": "70 % train, 30 % test, by patient",
        "handled": {"turned by EXIF": 12, "grey made RGB": 3},
        "left_out": {"unreadable": 2, "no label": 1500},
    }
    static_run.events[0]["class_weights"] = "sampling"
    assert (
        "The data 70 % train, 30 % test, by patient. In training every class was drawn equally often, however many "
        "samples it has. Handled when the data were read. what was done images turned by EXIF 12 grey made RGB 3 "
        "Left out: 1,502 in all. reason images unreadable 2 no label 1,500"
    ) in show(page_of(static_run))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"split": "as the folders are."}, "The data As the folders are. "),
        ({"left_out": {"unreadable": 1}}, "The data Left out: 1 in all."),
        ({"handled": {"turned": 1}}, "The data Handled when the data were read."),
    ],
)
def test_each_part_of_the_data_stands_alone(static_run, data, said):
    static_run.events[0]["data"] |= data
    assert said in show(page_of(static_run))


def test_nothing_handled_and_nothing_left_out_is_not_told(static_run):
    static_run.events[0]["data"] |= {"handled": {}, "left_out": {"unreadable": 0}, "split": ""}
    assert "The data" not in show(page_of(static_run))


@pytest.mark.parametrize("constraints", [["C1"] * 3, ["D4", "C4", "C1"], ["D4"] * 3, ["D4", "mixed", "C1"]])
def test_a_description_of_changed_images_is_told_for_every_architecture(static_run, constraints):
    static_run.events[0]["augmentation"] = "turn, mirror, shift=0.1"
    static_run.events[-2]["constraints"] = constraints
    told = words.describe_whole(read_numbers(static_run.write()))
    assert told.endswith("Training images were changed at random: turn, mirror, shift=0.1.")
    assert "moved at random" not in told


@pytest.mark.parametrize("name", ["C4", "D1", "D4"])
def test_a_subgroup_that_moved_the_images_is_told_as_before(static_run, name):
    static_run.events[0]["augmentation"] = name
    static_run.events[-2]["constraints"] = ["C1"] * 3
    told = words.describe_whole(read_numbers(static_run.write()))
    assert f"Its training images were moved at random by {name}" in told
    assert "changed" not in told


def test_hostile_texts_stay_text(static_run):
    static_run.events[0] |= {"metric": HOSTILE, "augmentation": HOSTILE, "class_weights": HOSTILE}
    counts = {HOSTILE: 1}
    static_run.events[0]["data"] |= {"split": HOSTILE, "handled": counts, "left_out": counts}
    static_run.events[-1]["scores"] = record([HOSTILE, "b"])
    page = page_of(static_run)
    shell = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "<img" not in shell
    assert "<!--" not in shell
    data = re.findall(r'<script type="application/json" id="\w+-data">(.*?)</script>', shell)
    assert data
    assert not any("<" in figure for figure in data)
    assert show(shell).count("onerror=alert(1)") >= 8
