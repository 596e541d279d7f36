"""Figures, by the numbers that they draw."""

import pytest

from equimorph.reports import read_numbers
from equimorph.reports.figures import draw_constraints, draw_family_tree, draw_front, draw_learning_curves

ALL = [draw_front, draw_family_tree, draw_constraints, draw_learning_curves]


@pytest.fixture
def numbers(finished_run):
    return read_numbers(finished_run.write())


def trace(figure, name):
    (found,) = [trace for trace in figure.data if trace.name == name and trace.showlegend is not False]
    return found


def points(trace):
    return list(zip(trace.x, trace.y, strict=True))


def test_the_front_shows_every_trained_candidate_once(numbers):
    figure = draw_front(numbers)
    assert points(trace(figure, "other generations")) == [(100, 30), (100, 25), (150, 20)]
    assert points(trace(figure, "final generation")) == [(150, 15), (250, 30)]
    assert points(trace(figure, "best")) == [(200, 10)]


def test_the_front_joins_its_members_from_small_to_large(numbers):
    line = trace(draw_front(numbers), "front")
    assert points(line) == [(150, 15), (200, 10)]
    assert line.line.shape == "hv"


def test_a_point_tells_candidate_architecture_and_move(numbers):
    (told,) = trace(draw_front(numbers), "best").hovertext
    assert told == "<b>candidate 5</b><br>D4, C4, C1<br>move 5<br>200 parameters<br>10.00 % validation error"


def test_errors_that_span_decades_have_a_logarithmic_axis(finished_run):
    finished_run.events[-4]["validation_error"] = 0.01
    axis = draw_front(read_numbers(finished_run.write())).layout.yaxis
    assert axis.type == "log"
    assert axis.tickvals == (1, 2, 5, 10, 20)
    assert axis.range[0] < 0 < axis.range[1]


def test_the_axis_of_errors_starts_at_zero_when_one_of_them_is(finished_run):
    finished_run.events[-4]["validation_error"] = 0.0
    axis = draw_front(read_numbers(finished_run.write())).layout.yaxis
    assert axis.type is None
    assert axis.range[0] == 0


def test_the_tree_puts_candidates_in_their_generations(numbers):
    figure = draw_family_tree(numbers)
    assert points(trace(figure, "selected")) == [(0, 0), (1, 1), (1, 0), (2, 0), (2, -1)]
    assert points(trace(figure, "not selected")) == [(2, 1)]
    assert points(trace(figure, "diverged")) == [(1, -1)]
    symbols = [trace(figure, name).marker.symbol for name in ("selected", "not selected", "diverged")]
    assert symbols == ["circle", "circle-open", "x"]


def test_the_tree_joins_children_to_parents(numbers):
    figure = draw_family_tree(numbers)
    gap = (None, None)
    assert points(trace(figure, "best lineage")) == [(0, 0), (1, 0), gap, (1, 0), (2, -1), gap]
    (others,) = [trace for trace in figure.data if trace.name is None]
    assert points(others) == [
        *[(0, 0), (1, 1), gap],
        *[(0, 0), (1, -1), gap],
        *[(1, 0), (2, 0), gap],
        *[(1, 1), (2, 1), gap],
    ]


def test_the_tree_is_coloured_by_validation_error(numbers):
    figure = draw_family_tree(numbers)
    selected = trace(figure, "selected").marker
    assert selected.color == pytest.approx((30, 25, 20, 15, 10))
    assert (selected.cmin, selected.cmax) == pytest.approx((10, 30))
    assert trace(figure, "diverged").hovertext[0].endswith("diverged at step 18")  # the history counts from 0


def test_the_constraints_are_one_bar_for_each_span(numbers):
    figure = draw_constraints(numbers)
    bars = {bar.name: list(zip(bar.y, bar.base, bar.x, bar.text, strict=True)) for bar in figure.data}
    assert bars == {
        "D4": [(1, 0, 8, "D4"), (2, 0, 6, "D4"), (3, 0, 4, "D4")],
        "C4": [(2, 6, 2, "C4")],
        "C1": [(3, 4, 4, "C1")],
    }
    assert list(bars) == ["D4", "C4", "C1"]
    assert figure.layout.yaxis.ticktext == ("block1.conv", "block2.conv", "head.linear")
    assert figure.layout.yaxis.range == (3.5, 0.5)


def test_the_learning_curves_follow_the_best_lineage(numbers):
    figure = draw_learning_curves(numbers)
    loss, error = [trace for trace in figure.data if trace.name == "best lineage"]
    assert points(loss) == [(2, 2.0), (4, 1.0), (6, 0.8), (8, 0.4)]
    assert points(error) == [(2, 50), (4, 30), (6, 20), (8, 10)]
    assert [shape.x0 for shape in figure.layout.shapes if shape.yref == "y domain"] == [4, 6]


def test_the_learning_curves_of_a_network_trained_anew_are_its_own(retrained_run):
    figure = draw_learning_curves(read_numbers(retrained_run.write()))
    loss, _ = [trace for trace in figure.data if trace.name == "best lineage"]
    before, _ = [trace for trace in figure.data if trace.name == "others"]
    assert points(loss) == [(8, 0.5)]
    assert points(before) == [(8, 1.0), (None, None)]
    assert not figure.layout.shapes


def test_the_learning_curves_keep_the_others_apart(numbers):
    loss, error = [trace for trace in draw_learning_curves(numbers).data if trace.name == "others"]
    assert points(loss) == [(4, 1.0), (5, None), (None, None)]
    assert points(error) == [(4, 30), (5, None), (None, None)]


def test_a_diverging_loss_does_not_stretch_the_axis(finished_run):
    finished_run.epoch(3, 4.5, 1e9, 0.9)
    assert max(draw_learning_curves(read_numbers(finished_run.write())).layout.yaxis.range) < 10


@pytest.mark.parametrize("draw", ALL)
def test_every_figure_can_be_drawn_of_a_run_with_one_candidate(static_run, draw):
    assert draw(read_numbers(static_run.write())).data


@pytest.mark.parametrize("draw", ALL)
def test_every_figure_can_be_drawn_of_a_run_without_any_result(empty_run, draw):
    empty_run.start()
    draw(read_numbers(empty_run.write())).to_json()
    empty_run.diverged(0, None, 0, ["D4"] * 3, step=3)
    draw(read_numbers(empty_run.write())).to_json()


@pytest.mark.parametrize("draw", ALL)
def test_every_figure_can_be_drawn_of_an_unfinished_run(unfinished_run, draw):
    assert draw(read_numbers(unfinished_run.write())).data


@pytest.fixture
def large(empty_run):
    """50 generations of 8 candidates, and a network of 60 sites with long names."""
    sites = [f"model.backbone.stage{index}.block.conv" for index in range(60)]
    empty_run.start(sites=sites, generations=50)
    empty_run.candidate(0, None, 0, ["D4"] * 60, parameters=1000, epochs=(0, 1), error=0.9)
    for number in range(1, 401):
        generation = (number + 7) // 8
        free = min(60, generation)
        parent = max(0, 8 * (generation - 1))
        constraints = ["D4"] * (60 - free) + ["C1"] * free
        epochs, error = (generation, generation + 1), 0.9 / generation + number / 1e5
        empty_run.epoch(number, generation + 1, 1 / generation, error)
        empty_run.candidate(
            number, parent, generation, constraints, parameters=1000 + number, epochs=epochs, error=error
        )
    empty_run.result(400, [400], samples=40100)
    return read_numbers(empty_run.write())


def test_a_large_run_keeps_every_candidate(large):
    front = draw_front(large)
    assert sum(len(trace.x) for trace in front.data if trace.mode == "markers") == 401
    tree = draw_family_tree(large)
    assert sum(len(trace.x) for trace in tree.data if trace.mode == "markers") == 401


def test_a_large_run_has_a_figure_of_bounded_height_and_small_marks(large):
    tree = draw_family_tree(large)
    assert tree.layout.height <= 900
    assert tree.layout.meta["min_width"] == 13 * 51
    assert trace(tree, "selected").marker.size < 15


def test_long_lists_of_sites_have_a_row_each_and_short_labels(large):
    figure = draw_constraints(large)
    assert figure.layout.height == 80 + 30 * 60
    assert figure.layout.yaxis.ticktext[59] == "…stage59.block.conv"


def test_labels_are_escaped_for_plotly(hostile_run):
    numbers = read_numbers(hostile_run.write())
    shown = [draw(numbers).to_json().replace("\\u003c", "<") for draw in ALL]
    assert not any("<img" in text or "</script" in text for text in shown)
    assert "&lt;img src=" in "".join(shown)
