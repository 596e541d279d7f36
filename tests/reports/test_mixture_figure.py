"""The stacked areas of a mixture, by the numbers that they draw."""

import pytest

from equimorph.reports import read_numbers, style
from equimorph.reports.mixture_figure import draw_mixture

SITES = ["block1.conv", "block2.conv", "head.linear"]


def draw(run):
    return draw_mixture(read_numbers(run.write()))


def areas(figure):
    """By panel and name, the points of each area of the mixture."""
    return {
        (trace.xaxis, trace.name): list(zip(trace.x, trace.y, strict=True))
        for trace in figure.data
        if trace.stackgroup == "mixture"
    }


def panels(figure):
    return len({trace.xaxis for trace in figure.data})


def test_each_site_has_the_share_of_each_member_at_each_epoch(mixture_run):
    assert areas(draw(mixture_run)) == {
        ("x", "D4"): [(0, 0.5), (8, 0.75)],
        ("x", "C4"): [(0, 0.25), (8, 0.125)],
        ("x", "C1"): [(0, 0.25), (8, 0.125)],
        ("x2", "D4"): [(0, 0.5), (8, 0.625)],
        ("x2", "C4"): [(0, 0.25), (8, 0.25)],
        ("x2", "C1"): [(0, 0.25), (8, 0.125)],
        ("x3", "D4"): [(0, 0.5), (8, 0.25)],
        ("x3", "C4"): [(0, 0.25), (8, 0.5)],
        ("x3", "C1"): [(0, 0.25), (8, 0.25)],
    }


def test_panels_are_named_after_their_sites_and_share_their_axes(mixture_run):
    figure = draw(mixture_run)
    assert [title.text for title in figure.layout.annotations] == SITES
    layout = figure.layout
    assert {axis.range for axis in (layout.xaxis, layout.xaxis2, layout.xaxis3)} == {(0, 8)}
    assert {axis.range for axis in (layout.yaxis, layout.yaxis2, layout.yaxis3)} == {(0, 1)}


def test_groups_have_the_colours_of_the_page_and_one_legend(mixture_run):
    figure = draw(mixture_run)
    colours = style.colour_subgroups(["C1", "C4", "D4"])
    assert {trace.name: trace.fillcolor for trace in figure.data} == colours
    assert [trace.name for trace in figure.data if trace.showlegend] == ["D4", "C4", "C1"]


def test_a_point_tells_site_member_share_and_epoch(mixture_run):
    assert draw(mixture_run).data[0].hovertext == (
        "block1.conv<br>D4 0.500 at epoch 0",
        "block1.conv<br>D4 0.750 at epoch 8",
    )


def test_a_mixture_that_stays_one_has_no_line(mixture_run):
    assert not draw(mixture_run).layout.shapes


def test_a_dashed_line_stands_where_the_mixture_was_discretised(discretised_run):
    figure = draw(discretised_run)
    dashed = [shape for shape in figure.layout.shapes if shape.line.dash == "dash"]
    assert [(shape.x0, shape.x1, shape.xref) for shape in dashed] == [(4, 4, "x"), (4, 4, "x2"), (4, 4, "x3")]
    assert figure.layout.xaxis.range == (0, 8)


def test_the_group_that_a_site_took_stands_right_of_the_line(discretised_run):
    figure = draw(discretised_run)
    choices = [trace for trace in figure.data if trace.stackgroup == "choice"]
    colours = style.colour_subgroups(["C1", "C4", "D4"])
    assert [(trace.x, trace.y) for trace in choices] == [((4, 8), (1, 1))] * 3
    assert [trace.fillcolor for trace in choices] == [colours["D4"], colours["D4"], colours["C4"]]
    assert [label.text for label in figure.layout.annotations[3:]] == ["D4", "D4", "C4"]


def test_with_a_skip_path_the_weights_are_drawn(mixture_run):
    mixed = {"D4": 0.5, "C4": 0.125, "C1": 0.125}
    for event in mixture_run.events:
        if event["event"] == "mixture":
            event["weights"] = {site: mixed | {"skip": 0.25} for site in SITES[1:]} | {SITES[0]: mixed | {"C1": 0.375}}
    figure = draw(mixture_run)
    drawn = areas(figure)
    assert drawn["x2", "skip (identity)"] == [(0, 0.25), (8, 0.25)]
    assert drawn["x2", "D4"] == [(0, 0.5), (8, 0.5)]
    assert drawn["x", "skip (identity)"] == [(0, 0), (8, 0)]
    assert drawn["x", "C1"] == [(0, 0.375), (8, 0.375)]
    assert figure.layout.yaxis.title.text == "weight z"


def test_a_single_epoch_is_a_band_around_it(mixture_run):
    del mixture_run.events[3]
    figure = draw(mixture_run)
    assert areas(figure)["x", "D4"] == [(-0.5, 0.5), (0.5, 0.5)]
    assert figure.layout.xaxis.tickvals == (0,)
    assert figure.data[0].hovertext == ("block1.conv<br>D4 0.500 at epoch 0",) * 2


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (4, 1, 4), (5, 2, 3), (9, 3, 3), (17, 5, 4), (30, 8, 4)]
)
@pytest.mark.parametrize("members", [2, 12])
def test_any_number_of_sites_and_members_can_be_drawn(empty_run, count, rows, columns, members):
    sites = [f"model.stage{index}.convolution.deep" for index in range(count)]
    names = [f"H{index}" for index in range(members)]
    empty_run.start(sites=sites, subgroups=names, group="D4")
    for epoch in (0, 1, 2):
        empty_run.mixture(0, epoch, {site: dict.fromkeys(names, 1 / members) for site in sites})
    empty_run.candidate(0, None, 0, [names[0]] * count, parameters=1, epochs=(0, 2), error=0.5)
    empty_run.result(0, [0], samples=1)
    figure = draw(empty_run)
    assert panels(figure) == count
    assert len(figure.data) == count * members
    lefts = {round(figure.layout[axis].domain[0], 6) for axis in figure.layout if axis.startswith("xaxis")}
    bottoms = {round(figure.layout[axis].domain[0], 6) for axis in figure.layout if axis.startswith("yaxis")}
    assert (len(lefts), len(bottoms)) == (columns, rows)


def test_names_are_escaped_for_plotly(hostile_run):
    hostile = "<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}"
    hostile_run.mixture(0, 0, {f"block1.{hostile}": {"D4": 0.5, hostile: 0.5}})
    shown = draw(hostile_run).to_json().replace("\\u003c", "<")
    assert "<img" not in shown
    assert "</script" not in shown


def test_a_run_without_a_mixture_draws_nothing(static_run):
    assert not draw(static_run).data
