"""A page whose errors are no shares tells plain numbers and the metric's name; no per cent, no binomial error."""

import json
import re
from dataclasses import replace
from html import unescape

import pytest

import equimorph.reports
from equimorph.reports import axes, measures, read_numbers
from equimorph.reports.comparison import Row, compare, read_rows, write_rows
from equimorph.reports.comparison.marks import describe_pair, describe_strategy, make_close_axis
from equimorph.reports.comparison.pairs import compare_pair

METRICS = {"loss": "mean loss", "own": "by the run's own metric", "f1": "by f1"}


def page_of(run):
    return equimorph.reports.write(run.write()).read_text(encoding="utf-8")


def show(page):
    """The text of a page without its scripts and its style."""
    page = re.sub(r"<(script|style)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def figures_of(page):
    return re.findall(r'<script type="application/json" id="\w+-data">(.*?)</script>', page)


def scaled(run, factor, **start):
    """The run with all its errors times a factor."""
    run.events[0] |= start
    for event in run.events:
        for key in ("validation_error", "test_error"):
            if event.get(key) is not None:
                event[key] *= factor
    return run


@pytest.mark.parametrize(("metric", "name"), METRICS.items())
@pytest.mark.parametrize("factor", [123.456, 0.01, -1])
def test_no_error_is_told_in_per_cent(finished_run, metric, name, factor):
    page = page_of(scaled(finished_run, factor, metric=metric, targets="values"))
    text = show(page)
    test, validation = (f"{factor * error:.4g}".replace("-", "−") for error in (0.12, 0.10))
    assert f"Test error {test} {name}; {validation} in validation" in text
    assert measures.describe_metric(metric) in text and measures.describe_metric(metric).startswith("Errors here are ")
    assert not re.search(r"\d ?%|±", text)
    figures = figures_of(page)
    assert len(figures) == 4
    for figure in figures:
        assert not re.search(r"\(%\)|\d %|:\.2f\} %", figure)
    told = unescape("".join(json.dumps(json.loads(figure), ensure_ascii=False) for figure in figures))
    assert (
        f"validation error ({'own metric' if metric == 'own' else name})" in told
        and f"{validation} validation error" in told
    )
    assert "error %{y:.4~g}" in told


def test_the_axes_of_a_page_hold_negative_errors(finished_run):
    figures = [json.loads(figure) for figure in figures_of(page_of(scaled(finished_run, -1, metric="own")))]
    front = next(figure for figure in figures if figure["layout"]["xaxis"].get("title", {}).get("text") == "parameters")
    low, high = front["layout"]["yaxis"]["range"]
    errors = [y for trace in front["data"] for y in trace["y"]]
    assert low < min(errors) <= max(errors) < high


@pytest.mark.parametrize("values", [[-3.0, -1.0], [-3.0, 5.0], [-2.0], [-1e-9, 0.0]])
def test_a_value_axis_holds_negative_values(values):
    for make in (axes.make_value_axis, make_close_axis):
        low, high = make(values)["range"]
        assert low < min(values) and max(values) < high
    scale = axes.colour_by_error(values)
    assert scale["cmin"] < scale["cmax"]


@pytest.mark.parametrize(
    ("start", "has"),
    [
        ({}, True),
        ({"metric": "error"}, True),
        ({"metric": "error", "targets": "classes"}, True),
        ({"metric": "error", "targets": "maps"}, False),
        ({"metric": "pixel-error", "targets": "maps"}, False),
        ({"metric": "loss", "targets": "values"}, False),
    ],
)
def test_the_binomial_error_is_for_shares_of_samples_of_classes(static_run, start, has):
    static_run.events[0] |= start
    numbers = read_numbers(static_run.write())
    assert (numbers.test_standard_error is not None) == has
    assert ("±" in show(page_of(static_run))) == has


def test_shares_of_pixels_are_told_in_per_cent(static_run):
    static_run.events[0] |= {"metric": "pixel-error", "targets": "maps"}
    page = page_of(static_run)
    assert "Test error 12.00 % share of pixels; 20.00 % in validation" in show(page)
    assert "Errors here are shares of the pixels of all samples, those whose class is wrong." in show(page)
    assert "validation error (%)" in "".join(figures_of(page))


def rows_of(metric, scale=1.0):
    errors = {"evolutionary": (0.10, 0.12, 0.11), "static:D4": (0.20, 0.23, 0.21), "static:C1": (0.10, 0.12, 0.11)}
    shared = {"data": "noise", "group": "D4", "network": "small", "split": 0, "architecture": "D4", "epochs": 1.0}
    shared |= {"parameters": 10, "samples": 100, "seconds": 1.0, "test_samples": 50, "metric": metric}
    return [
        Row(strategy=name, seed=seed, validation_error=scale * error, test_error=scale * error, **shared)
        for name, of_seed in errors.items()
        for seed, error in enumerate(of_seed)
    ]


@pytest.mark.parametrize(("metric", "name"), METRICS.items())
@pytest.mark.parametrize("scale", [1.0, 1000.0, -5.0])
def test_a_comparison_of_errors_that_are_no_shares_has_no_per_cent(tmp_path, metric, name, scale):
    write_rows(tmp_path / "comparison.csv", rows_of(metric, scale))
    page = equimorph.reports.write_comparison(tmp_path).read_text(encoding="utf-8")
    markdown = (tmp_path / "table.md").read_text(encoding="utf-8")
    for told in (show(page), markdown, *figures_of(page)):
        assert not re.search(r"\d ?%|\(%\)|percentage|\d points|[Nn]o regret", told.replace("95 %", ""))
    assert f"mean test error ({name})" in show(page)
    hovers = [
        text
        for figure in figures_of(page)
        for trace in json.loads(figure)["data"]
        for text in trace.get("hovertext", [])
    ]
    assert any(f"test error ({name})" in unescape(text) for text in hovers)


def test_a_comparison_of_shares_is_told_in_per_cent():
    comparison = compare(rows_of("pixel-error"))
    assert describe_strategy(comparison.strategies[0]).split("<br>")[1] == "11.00 ± 1.00 % test error"
    pair = comparison.pair("evolutionary", "static:D4")
    assert describe_pair(pair).split("<br>")[1] == "−10.33 points"


def test_no_loss_is_small_where_nobody_knows_what_small_is():
    differences = [0.001, 0.002, 0.0015]
    assert compare_pair("a", "b", differences).verdict == "no regret"
    assert compare_pair("a", "b", differences, metric="loss").verdict == "worse"
    assert compare_pair("a", "b", [0.0, 0.0], metric="loss").verdict == "open"
    assert compare_pair("a", "b", [-0.1, -0.11, -0.1], metric="loss").verdict == "better"
    assert compare_pair("a", "b", differences, metric="own").reverse().metric == "own"


@pytest.mark.parametrize("metric", ["own", "loss"])
def test_errors_that_are_no_shares_may_be_negative(tmp_path, metric):
    rows = tuple(replace(row, test_error=-2.5) for row in rows_of(metric))
    write_rows(tmp_path / "comparison.csv", rows)
    assert read_rows(tmp_path / "comparison.csv") == rows
