"""The confusion matrix, by the numbers that it draws."""

import pytest
import torch

from equimorph.reports.confusion_figure import MOST_DRAWN, draw_confusion, shorten_name
from equimorph.training.metrics import scores

HOSTILE = "<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}"


def draw(num_classes, *, names=None, n=200):
    generator = torch.Generator().manual_seed(0)
    targets = torch.cat([torch.arange(num_classes), torch.randint(num_classes, (n,), generator=generator)])
    outputs = torch.randn(len(targets), num_classes, generator=generator)
    return draw_confusion(scores(outputs, targets, names or [f"class {index}" for index in range(num_classes)]))


@pytest.fixture
def small():
    """Of 4 samples of "a" one is taken for "b"; "b" has 1, and "c" has none."""
    outputs = torch.eye(3)[torch.tensor([0, 0, 1, 0, 1])]
    return draw_confusion(scores(outputs, torch.tensor([0, 0, 0, 0, 1]), ["a", "b", "c"]))


def test_a_cell_is_the_share_of_its_row(small):
    (trace,) = small.data
    assert [list(row) for row in trace.z] == [[75, 25, 0], [0, 100, 0], [None, None, None]]
    assert (trace.zmin, trace.zmax) == (0, 100)


def test_rows_are_true_classes_from_the_top_and_columns_predicted_ones(small):
    layout = small.layout
    assert layout.xaxis.ticktext == layout.yaxis.ticktext == ("a", "b", "c")
    assert layout.xaxis.range == (-0.5, 2.5)
    assert layout.yaxis.range == (2.5, -0.5)
    assert (layout.xaxis.title.text, layout.yaxis.title.text) == ("predicted class", "true class")


def test_counts_stand_in_the_cells(small):
    assert [list(row) for row in small.data[0].text] == [["3", "1", "0"], ["0", "1", "0"], ["0", "0", "0"]]


def test_a_cell_tells_classes_count_and_share(small):
    told = small.data[0].hovertext
    assert told[0][1] == "true: a<br>predicted: b<br>1 of 4 (25.0 %)"
    assert told[2][0] == "true: c<br>predicted: a<br>no sample of this class"


@pytest.mark.parametrize("num_classes", [1, 2, 5, 12, 13, 30, MOST_DRAWN])
def test_counts_are_written_while_there_is_room_and_shades_explained_otherwise(num_classes):
    (trace,) = draw(num_classes).data
    assert (len(trace.z), len(trace.z[0]), len(trace.hovertext)) == (num_classes,) * 3
    is_written = num_classes <= 12
    assert (trace.text is not None) == (trace.texttemplate is not None) == is_written
    assert trace.showscale == (not is_written)


@pytest.mark.parametrize("num_classes", [2, 7, 30])
def test_cells_are_square_and_fit_on_the_page(num_classes):
    layout = draw(num_classes).layout
    assert layout.yaxis.scaleanchor == "x"
    margin = layout.margin
    side = (layout.height - margin.t - margin.b) / num_classes
    assert margin.l + num_classes * side + margin.r <= 980


def test_too_many_classes_are_not_drawn():
    assert not draw(MOST_DRAWN + 1).data


def test_long_names_are_shortened_and_turned_and_told_whole_by_the_cell():
    names = [f"an uncommonly long name of the class {index}" for index in range(7)]
    figure = draw(7, names=names)
    assert figure.layout.xaxis.ticktext[3] == "an uncommonly…he class 3"
    assert len(set(figure.layout.xaxis.ticktext)) == 7
    assert figure.layout.xaxis.tickangle == -45
    assert names[3] in figure.data[0].hovertext[3][0]
    assert draw(7, names="abcdefg").layout.xaxis.tickangle == 0


def test_a_short_name_stays():
    assert shorten_name("melanoma") == "melanoma"
    assert len(shorten_name("x" * 100)) <= 24


def test_names_are_escaped_for_plotly():
    figure = draw(2, names=[HOSTILE, "b"])
    shown = figure.to_json().replace("\\u003c", "<")
    assert "<img" not in shown
    assert "</script" not in shown
    assert figure.data[0].texttemplate == "%{text}"
