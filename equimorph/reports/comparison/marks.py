"""What the figures of a comparison share: the colours of its strategies, points of single runs, and hover texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from equimorph.reports import style
from equimorph.reports.axes import escape_label, make_value_axis
from equimorph.reports.comparison.labels import shorten_name
from equimorph.reports.comparison.numbers import Strategy
from equimorph.reports.comparison.pairs import Pair
from equimorph.reports.comparison.records import Row
from equimorph.reports.comparison.words import (
    tell_duration,
    tell_interval,
    tell_p,
    tell_points,
    tell_spread,
)
from equimorph.reports.measures import is_share, name_metric, shown, tell_error

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[attr-defined]

_BLUE = "#3f5f8f"


def choose_colour(is_search: bool) -> str:
    """Searches stand out; all else keeps one calm colour."""
    return style.ACCENT if is_search else _BLUE


def name_kind(is_search: bool) -> str:
    """What a legend calls a strategy of that colour."""
    return "search" if is_search else "other strategy"


def make_label(name: str) -> str:
    """A strategy's name as a figure shows it."""
    return escape_label(shorten_name(name))


def add_runs(
    figure: Figure,
    rows: Sequence[Row],
    *,
    x: Sequence[float | None],
    y: Sequence[float | None],
    at: dict[str, int] | None = None,
    **marker: Any,
) -> None:
    """Add one point for each run; the legend leaves them out."""
    if rows:
        figure.add_scatter(
            mode="markers",
            showlegend=False,
            x=list(x),
            y=list(y),
            marker=marker,
            hovertext=[_describe_run(row) for row in rows],
            hoverinfo="text",
            **(at or {}),
        )


def make_rows_axis(names: Sequence[str]) -> dict[str, Any]:
    """An axis with a named row for each whole number from 0, the first on top."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": list(names),
        "tickfont": {"color": style.INK},
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
    }


def make_close_axis(values: Iterable[float | None]) -> dict[str, Any]:
    """An axis as `make_value_axis` has it, but close around values that lie far from 0, so that they come apart.

    Example:
        >>> make_close_axis([4.0, 6.0])["range"], make_close_axis([1.0, 6.0])["range"]
        ([3.7, 6.3], [0, 6.48])
    """
    known = [value for value in values if value is not None]
    axis = make_value_axis(known)
    if axis.get("type") == "log" or not known or min(known) <= 0.4 * max(known):
        return axis
    space = max(0.08 * (max(known) - min(known)), 0.05 * max(known))
    least = min(known) - space
    return {**axis, "range": [least if min(known) < 0 else max(0.0, least), max(known) + space]}


def describe_strategy(strategy: Strategy) -> str:
    """What is told when a mean is pointed at."""
    lines = [
        f"<b>{make_label(strategy.name)}</b>",
        f"{tell_spread(strategy.test, strategy.metric)} test error{_name(strategy.metric)}",
    ]
    lines.append(f"{strategy.n} run{'' if strategy.n == 1 else 's'}")
    if strategy.parameters is not None and strategy.samples is not None:
        lines += [f"{strategy.parameters:,.0f} parameters", f"{strategy.samples:,.0f} training samples"]
    lines.append(tell_duration(strategy.seconds))
    return "<br>".join(lines)


def describe_pair(pair: Pair) -> str:
    """What is told when a difference is pointed at."""
    points = " points" if is_share(pair.metric) else ""
    lines = [
        f"<b>{make_label(pair.first)} − {make_label(pair.second)}</b>",
        f"{tell_points(pair.mean, pair.metric)}{points}",
    ]
    if pair.low is not None:
        lines += [f"95 % interval {tell_interval(pair)}", f"p {escape_label(tell_p(pair.p_student))}"]
    lines += [f"{pair.n} seed{'' if pair.n == 1 else 's'}", pair.verdict]
    return "<br>".join(lines)


def error_of(row: Row) -> float | None:
    """The test error of a run as figures show it."""
    return shown(row.test_error, row.metric)


def _describe_run(row: Row) -> str:
    lines = [f"<b>{make_label(row.strategy)}</b>, seed {row.seed}", escape_label(row.architecture)]
    error = f"{tell_error(row.test_error, row.metric)} test error{_name(row.metric)}"
    return "<br>".join([*lines, f"{row.parameters:,} parameters", error])


def _name(metric: str) -> str:
    """What an error is, where the sign for percent does not tell."""
    return "" if is_share(metric) else f" ({escape_label(name_metric(metric))})"
