"""Figures of a comparison, by the numbers that they draw."""

import pytest

from equimorph.reports import style
from equimorph.reports.comparison import compare
from equimorph.reports.comparison.figures import draw_differences, draw_errors
from equimorph.reports.comparison.labels import Rectangle, place_labels, shorten_name
from equimorph.reports.comparison.panels import draw_cost, draw_size

ALL = [draw_errors, draw_size, draw_cost, draw_differences]
HOSTILE = "evolutionary<img src=https://evil.example onerror=alert(1)></script>%{x}"


@pytest.fixture
def comparison(compared):
    return compare(compared)


def of_type(figure, kind):
    return [trace for trace in figure.data if trace.type == kind]


def means(figure):
    named = [trace for trace in figure.data if trace.text]
    return {text: (x, y) for trace in named for text, x, y in zip(trace.text, trace.x, trace.y, strict=True)}


def faint(figure):
    return [trace for trace in figure.data if trace.type == "scatter" and trace.showlegend is False and not trace.text]


def test_boxes_are_sorted_by_mean_with_the_least_on_top(comparison):
    figure = draw_errors(comparison)
    assert figure.layout.yaxis.ticktext == ("evolutionary", "static:C4", "static:C1")
    assert figure.layout.yaxis.range == (2.5, -0.5)
    assert [box.y for box in of_type(figure, "box")] == [(0,), (1,), (2,)]


def test_a_box_is_drawn_of_the_numbers_computed_before(comparison):
    box = of_type(draw_errors(comparison), "box")[2]
    five = (*box.lowerfence, *box.q1, *box.median, *box.q3, *box.upperfence)
    assert five == pytest.approx((8.0, 8.5, 9.0, 9.5, 10.0))


def test_every_run_is_a_point_that_tells_what_it_was(comparison):
    first, *others = faint(draw_errors(comparison))
    assert first.x == pytest.approx((4.9, 5.3, 4.6, 5.2, 4.7))
    assert first.y == pytest.approx((-0.2, -0.1, 0.0, 0.1, 0.2))
    assert [len(trace.x) for trace in others] == [5, 5]
    assert first.hovertext[1] == "<b>evolutionary</b>, seed 1<br>D4, C4 ×7<br>1,500 parameters<br>5.30 % test error"


@pytest.mark.parametrize("draw", [draw_errors, draw_size, draw_cost])
def test_searches_stand_out_by_colour(comparison, draw):
    colours = {trace.name: trace.marker.color for trace in draw(comparison).data if trace.name}
    (search,) = {colour for name, colour in colours.items() if "search" in name}
    (other,) = {colour for name, colour in colours.items() if "other" in name}
    assert search == style.ACCENT != other


def test_error_against_size_has_means_with_names_and_deviations(comparison):
    figure = draw_size(comparison)
    assert means(figure) == {
        "static:C1": (1000, pytest.approx(9.0)),
        "static:C4": (1000, pytest.approx(5.0)),
        "evolutionary": (1500, pytest.approx(4.94)),
    }
    (search,) = [trace for trace in figure.data if trace.name == "search"]
    assert search.error_y.array == pytest.approx([100 * comparison.searches[0].test.deviation])


def test_error_against_cost_has_samples_above_and_time_below(comparison):
    figure = draw_cost(comparison)
    searches = [trace for trace in figure.data if trace.text and "evolutionary" in trace.text]
    assert [trace.x for trace in searches] == [(24000,), (90.0,)]
    assert (figure.layout.xaxis.title.text, figure.layout.xaxis2.title.text) == (
        "training samples",
        "wall time (seconds)",
    )
    assert [trace.showlegend for trace in searches] == [True, False]
    assert [trace.error_y.array for trace in searches] == [(None,), (None,)]


@pytest.mark.parametrize(("seconds", "shown", "unit"), [(600.0, 10.0, "minutes"), (9000.0, 2.5, "hours")])
def test_long_times_have_a_larger_unit(row, seconds, shown, unit):
    figure = draw_cost(compare([row("static:C4", 0, 0.1, seconds=seconds)]))
    assert figure.layout.xaxis2.title.text == f"wall time ({unit})"
    assert figure.data[-1].x == (shown,)


def test_costs_that_span_decades_have_a_logarithmic_axis_with_short_ticks(row):
    rows = [row("evolutionary", 0, 0.1, samples=40_000_000), row("static:C4", 0, 0.1, samples=400_000)]
    axis = draw_cost(compare(rows)).layout.xaxis
    assert axis.type == "log"
    assert axis.ticktext == ("500k", "1M", "2M", "5M", "10M", "20M")


def test_axes_hold_every_run_and_every_deviation(comparison):
    axis = draw_size(comparison).layout
    ends = [strategy.test.mean + sign * strategy.test.deviation for strategy in comparison.ranked for sign in (-1, 1)]
    errors = [row.test_error for row in comparison.rows] + ends
    assert axis.yaxis.range[0] < 100 * min(errors) < 100 * max(errors) < axis.yaxis.range[1]
    assert axis.xaxis.range[0] < 1000 < 1500 < axis.xaxis.range[1]


def test_the_forest_has_a_row_for_each_pair_below_its_search(comparison):
    figure = draw_differences(comparison)
    assert figure.layout.yaxis.ticktext == ("<b>evolutionary</b>", "− static:C4", "− static:C1")
    (trace,) = figure.data
    against_c4, against_c1 = comparison.pairs_of(comparison.searches[0])
    assert trace.y == (1, 2)
    assert trace.x == pytest.approx((-0.06, -4.06))
    assert trace.error_x.array == pytest.approx(
        [100 * (pair.high - pair.low) / 2 for pair in (against_c4, against_c1)], rel=1e-9
    )
    assert [note.text for note in figure.layout.annotations] == ["no regret", "better", "0.3 points"]


def test_the_forest_shows_zero_and_the_bound_of_no_regret(comparison):
    figure = draw_differences(comparison)
    assert [(line.x0, line.line.dash) for line in figure.layout.shapes] == [(0, None), (0.3, "dot")]
    low, high = figure.layout.xaxis.range
    assert low < -4.06
    assert high > 0.3


def test_one_seed_is_drawn_without_an_interval(row):
    figure = draw_differences(compare([row("evolutionary", 0, 0.1), row("static:C4", 0, 0.2)]))
    (trace,) = figure.data
    assert trace.marker.symbol == "circle-open"
    assert list(trace.error_x.array) == [None]
    assert figure.layout.annotations[0].text == "open"


@pytest.mark.parametrize("draw", ALL)
@pytest.mark.parametrize("errors", [(0.0, 0.0), (0.1, 0.1), (0.1, None), (1.0, 0.0)])
def test_every_figure_can_be_drawn_of_few_runs(row, draw, errors):
    rows = [row(name, seed, error) for name in ("evolutionary", "b") for seed, error in enumerate(errors)]
    draw(compare(rows)).to_json()


@pytest.mark.parametrize("draw", ALL)
def test_strategy_names_are_escaped_for_plotly(row, draw):
    rows = [row(HOSTILE, seed, 0.1, architecture=HOSTILE) for seed in (0, 1)] + [row("b", seed, 0.1) for seed in (0, 1)]
    shown = draw(compare(rows)).to_json().replace("\\u003c", "<")
    assert "<img" not in shown
    assert "</script" not in shown
    assert "&lt;" in shown


def test_labels_leave_their_points_and_each_other_free():
    points = [(200, 100), (210, 104), (205, 92), (390, 100)]
    labels = ["static:C4", "static:D4", "evolutionary", "at the edge"]
    places = place_labels(points, labels, size=(400, 200))
    assert len(set(places[:3])) == 3
    assert places[3] == "middle left"


def test_a_label_goes_around_an_obstacle():
    assert place_labels([(100, 50)], ["name"], size=(400, 100)) == ["middle right"]
    obstacle = Rectangle(105, 40, 150, 60)
    assert place_labels([(100, 50)], ["name"], size=(400, 100), obstacles=[obstacle]) == ["middle left"]


def test_a_long_name_keeps_both_ends():
    short = shorten_name("evolutionary with 8 parents and 40 generations")
    assert len(short) == 26
    assert (short[:12], short[-11:]) == ("evolutionary", "generations")
