"""Plotly figures of test error against what it took: parameters, training samples, wall time.

Each strategy is one mean with its name beside it, between the faint points of its runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[attr-defined]
from plotly.subplots import make_subplots

from equimorph.reports.axes import base_layout, escape_label, make_value_axis
from equimorph.reports.comparison.labels import Rectangle, place_labels, shorten_name
from equimorph.reports.comparison.marks import (
    add_runs,
    choose_colour,
    describe_strategy,
    error_of,
    make_close_axis,
    name_kind,
)
from equimorph.reports.comparison.numbers import Comparison, Strategy
from equimorph.reports.comparison.records import Row
from equimorph.reports.comparison.words import name_error
from equimorph.reports.measures import shown

# The least size for which labels are placed, in pixels; on a narrower screen a figure scrolls sideways.
_WIDTH = 560
_HEIGHT = 300
_MARGIN = 70

_RADIUS = 3

_Quantity = Callable[[Row], float]
_MakeAxis = Callable[[Sequence[float]], dict[str, Any]]


@dataclass(frozen=True)
class _Panel:
    """One pair of axes with everything that is drawn in it; sequences have one entry for each strategy.

    `deviations` are None where none is drawn.
    """

    strategies: tuple[Strategy, ...]
    of: _Quantity
    across: dict[str, Any]
    up: dict[str, Any]
    means: list[tuple[float, float]]
    deviations: list[float | None]
    names: list[str]
    places: list[str]


def draw_size(comparison: Comparison) -> Figure:
    """Test error against parameters: the mean of each strategy, its standard deviation, and every run."""
    figure = Figure()
    panel = _plan(comparison.ranked, lambda row: row.parameters, make_axis=make_close_axis, shows_deviation=True)
    error = escape_label(name_error(comparison, has_unit=True))
    _add_panel(figure, panel, titles=("parameters", error), at={}, is_first=True)
    figure.update_layout(base_layout(height=_HEIGHT + 110), meta={"min_width": _WIDTH})
    return figure


def draw_cost(comparison: Comparison) -> Figure:
    """Test error against what the whole search cost: training samples above, wall time below.

    Many strategies cost the same, so their deviations would cover each other; the single runs show the spread.
    """
    figure: Figure = make_subplots(rows=2, cols=1, vertical_spacing=0.15)
    samples = _plan(comparison.ranked, lambda row: row.samples, make_axis=make_value_axis)
    error = escape_label(name_error(comparison, has_unit=True))
    _add_panel(figure, samples, titles=("training samples", error), at={"row": 1, "col": 1}, is_first=True)
    longest = max((row.seconds for strategy in comparison.ranked for row in strategy.measured), default=0.0)
    unit, name = (3600, "hours") if longest >= 7200 else (60, "minutes") if longest >= 120 else (1, "seconds")
    seconds = _plan(comparison.ranked, lambda row: row.seconds / unit, make_axis=make_value_axis)
    _add_panel(figure, seconds, titles=(f"wall time ({name})", error), at={"row": 2, "col": 1}, is_first=False)
    figure.update_layout(base_layout(height=2 * _HEIGHT + 180), meta={"min_width": _WIDTH})
    return figure


def _plan(
    strategies: tuple[Strategy, ...], of: _Quantity, *, make_axis: _MakeAxis, shows_deviation: bool = False
) -> _Panel:
    """Choose axes that hold every run and every deviation, and a place for each name."""
    runs = [row for strategy in strategies for row in strategy.measured]
    across = _shorten_ticks(make_axis([of(row) for row in runs]))
    deviations = [
        shown(strategy.test.deviation, strategy.metric) if shows_deviation else None for strategy in strategies
    ]
    errors = [shown(strategy.test.mean, strategy.metric) or 0.0 for strategy in strategies]
    ends = [
        (max(min(0.0, mean), mean - (width or 0.0)), mean + (width or 0.0))
        for mean, width in zip(errors, deviations, strict=True)
    ]
    up = make_close_axis([*map(error_of, runs), *(end for both in ends for end in both)])
    means = [(fmean(map(of, strategy.measured)), mean) for strategy, mean in zip(strategies, errors, strict=True)]
    names = [shorten_name(strategy.name) for strategy in strategies]
    size = (_WIDTH - _MARGIN, _HEIGHT)

    def place(x: float, y: float) -> tuple[float, float]:
        return _pixel(x, across, size[0]), _pixel(y, up, size[1])

    bars = [_surround(place(x, low), place(x, high)) for (x, _), (low, high) in zip(means, ends, strict=True)]
    spots = [place(of(row), error) for row in runs if (error := error_of(row)) is not None]
    obstacles = [*bars, *(_surround(spot, spot) for spot in spots)]
    places = place_labels([place(*mean) for mean in means], names, size=size, obstacles=obstacles)
    return _Panel(strategies, of, across, up, means, deviations, names, places)


def _add_panel(figure: Figure, panel: _Panel, *, titles: tuple[str, str], at: dict[str, int], is_first: bool) -> None:
    # The faint runs first, so that no mean is covered.
    for strategy in panel.strategies:
        add_runs(
            figure,
            strategy.measured,
            x=[panel.of(row) for row in strategy.measured],
            y=[error_of(row) for row in strategy.measured],
            at=at,
            size=6,
            color=choose_colour(strategy.is_search),
            opacity=0.28,
        )
    for is_search in (False, True):
        chosen = [index for index, strategy in enumerate(panel.strategies) if strategy.is_search == is_search]
        if chosen:
            _add_means(figure, panel, chosen, is_search=is_search, showlegend=is_first, **at)
    figure.update_xaxes(title=titles[0], **panel.across, **at)
    figure.update_yaxes(title=titles[1], **panel.up, **at)


def _add_means(figure: Figure, panel: _Panel, chosen: Sequence[int], *, is_search: bool, **options: Any) -> None:
    colour = choose_colour(is_search)
    widths = [panel.deviations[index] for index in chosen]
    figure.add_scatter(
        mode="markers+text",
        name=name_kind(is_search),
        x=[panel.means[index][0] for index in chosen],
        y=[panel.means[index][1] for index in chosen],
        error_y={"type": "data", "array": widths, "color": colour, "thickness": 1.5, "width": 5},
        marker={"size": 11, "color": colour, "line": {"color": "#ffffff", "width": 1}},
        text=[escape_label(panel.names[index]) for index in chosen],
        textposition=[panel.places[index] for index in chosen],
        textfont={"color": colour},
        cliponaxis=False,
        hovertext=[describe_strategy(panel.strategies[index]) for index in chosen],
        hoverinfo="text",
        **options,
    )


def _surround(low: tuple[float, float], high: tuple[float, float]) -> Rectangle:
    return Rectangle(low[0] - _RADIUS, low[1] - _RADIUS, high[0] + _RADIUS, high[1] + _RADIUS)


def _shorten_ticks(axis: dict[str, Any]) -> dict[str, Any]:
    if axis.get("type") == "log":
        return {**axis, "ticktext": [_shorten_count(tick) for tick in axis["tickvals"]]}
    return {**axis, "tickformat": "~s", "nticks": 7}


def _shorten_count(value: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def _pixel(value: float, axis: dict[str, Any], length: float) -> float:
    """Where an axis of a length in pixels shows a value."""
    low, high = axis["range"]
    place = math.log10(value) if axis.get("type") == "log" else value
    return float((place - low) / (high - low) * length)
