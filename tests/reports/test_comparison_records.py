"""What a comparison's file may hold, and what is said when it holds something else."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from equimorph.errors import RunFolderError
from equimorph.reports.comparison import read_rows, write_rows
from equimorph.reports.comparison.records import COLUMNS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "comparison.csv"


def refusal(path):
    with pytest.raises(RunFolderError) as caught:
        read_rows(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def edit(path, row, **changes):
    """Write one good row, and one whose values were changed by column."""
    write_rows(path, [row("static:C4", 0, 0.05)])
    second = dataclasses.asdict(row("static:C4", 1, 0.06)) | changes
    with path.open("a", newline="") as file:
        file.write(",".join(str(second[column]) for column in COLUMNS) + "\n")


def test_rows_come_back_as_they_were_written(path, row):
    rows = [
        row("static:C4", 0, 0.1 + 0.2),
        row("with, comma", -1, None, validation_error=None),
        row('quotes " and\nlines', 0, 0.0),
        row(" spaces ", 0, 1.0, architecture=""),
    ]
    write_rows(path, rows)
    assert read_rows(str(path)) == tuple(rows)


def test_numbers_of_numpy_are_written_as_numbers(path, row):
    write_rows(path, [row("static:C4", np.int64(3), np.float64(0.25))])
    assert read_rows(path) == (row("static:C4", 3, 0.25),)


def test_a_file_is_replaced_whole(path, row, monkeypatch):
    write_rows(path, [row("static:C4", 0, 0.1)])
    before = path.read_bytes()

    def rows():
        yield row("static:C4", 0, 0.2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(path, rows())
    assert path.read_bytes() == before
    write_rows(path, [row("static:C4", 0, 0.2)])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_with_column_names_alone_has_no_rows(path):
    write_rows(path, [])
    assert read_rows(path) == ()


def test_columns_may_be_in_any_order(path, row):
    write_rows(path, [row("static:C4", 0, 0.1)])
    lines = [",".join(reversed(line.split(","))) for line in path.read_text().splitlines()]
    path.write_text("\ufeff" + "\n".join(lines) + "\n\n", encoding="utf-8")
    assert read_rows(path) == (row("static:C4", 0, 0.1),)


def test_a_file_without_a_metric_has_shares_of_samples(path, row):
    write_rows(path, [row("static:C4", 0, 0.1)])
    lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    assert "metric" not in lines[0]
    path.write_text("\n".join(lines))
    assert read_rows(path) == (row("static:C4", 0, 0.1, metric="error"),)


@pytest.mark.parametrize("metric", ["error", "balanced-error", "auroc-error", "own"])
def test_the_metric_is_always_written(path, row, metric):
    write_rows(path, [row("static:C4", 0, 0.1, metric=metric)])
    head, line = path.read_text().splitlines()
    assert head.endswith(",metric")
    assert line.endswith(f",{metric}")
    assert read_rows(path) == (row("static:C4", 0, 0.1, metric=metric),)


def test_an_error_of_a_metric_of_ones_own_may_be_above_one(path, row):
    rows = (row("static:C4", 0, 4.6, metric="own"),)
    write_rows(path, rows)
    assert read_rows(path) == rows


def test_rows_of_different_metrics_are_not_written(path, row):
    rows = [row("static:C4", 0, 0.1)]
    write_rows(path, rows)
    with pytest.raises(RunFolderError) as caught:
        write_rows(path, [*rows, row("static:C4", 1, 0.1, metric="auroc-error")])
    assert str(caught.value).endswith(
        'rows of the metrics "error" and "auroc-error" cannot be compared; give each its own file.'
    )
    assert read_rows(path) == tuple(rows)


@pytest.mark.parametrize("name", ["galaxies", "rotmnist", "skin"])
def test_results_that_were_published_without_a_metric_are_read(name):
    rows = read_rows(Path(__file__).parents[2] / "benchmarks" / "results" / f"{name}.csv")
    assert rows
    assert {row.metric for row in rows} == {"error"}


def test_a_missing_file_is_named(path):
    assert "no file" in refusal(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("seed,", "", 'line 1: lacks "seed"'),
        ("seed,", "seed,colour,", 'line 1: does not know "colour"'),
        ("seed,", "seed,seed,", 'line 1: repeats "seed"'),
    ],
)
def test_wrong_columns_are_named(path, row, old, new, told):
    write_rows(path, [row("static:C4", 0, 0.1)])
    path.write_text(path.read_text().replace(old, new, 1))
    assert told in refusal(path)


def test_an_empty_file_lacks_all_columns(path):
    path.write_text("")
    assert 'line 1: lacks "data"' in refusal(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": "first"}, '"seed" must be a whole number, got "first"'),
        ({"seed": ""}, '"seed" must be a whole number, got nothing'),
        ({"parameters": 1.5}, '"parameters" must be a whole number, got "1.5"'),
        ({"samples": -1}, '"samples" must be at least 0, got "-1"'),
        ({"seconds": "nan"}, '"seconds" must be a finite number, got "nan"'),
        ({"seconds": -1}, '"seconds" must be at least 0, got "-1"'),
        ({"test_error": "inf"}, '"test_error" must be a finite number, got "inf"'),
        ({"test_error": "low"}, '"test_error" must be a finite number, got "low"'),
        ({"test_error": 4.6}, '"test_error" must be from 0 to 1, got "4.6"'),
        ({"strategy": ""}, '"strategy" must be a text, got nothing'),
        ({"seed": 0, "split": 0}, '"static:C4" has seed 0 already, in line 2'),
        ({"data": "letters"}, '"data" is "letters", but "digits" in line 2; all rows of one comparison'),
        ({"metric": ""}, '"metric" must be a text, got nothing'),
        ({"metric": "auroc-error"}, '"metric" is "auroc-error", but "error" in line 2; all rows of one comparison'),
        ({"strategy": "other", "seed": 0}, '"split" is 1, but 0 in line 2; all rows of one seed'),
        ({"network": "a,b"}, "16 values for 15 columns"),
        ({"network": '"open'}, "not csv"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_line(path, row, changes, told):
    edit(path, row, **changes)
    message = refusal(path)
    assert f"{path}, line 3: " in message
    assert told in message


def test_bytes_that_are_no_text_are_refused(path):
    path.write_bytes(b"data,\xff\xfe")
    assert "cannot be read" in refusal(path)
