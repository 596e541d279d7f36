"""Plotly figures of how the strategies' test errors lie and differ, drawn from a comparison's numbers alone.

Every text that comes from a file is escaped, as in `equimorph.reports.figures`.
"""

from __future__ import annotations

from collections.abc import Sequence

from plotly.graph_objects import Figure  # type: ignore[attr-defined]

from equimorph.reports import style
from equimorph.reports.axes import base_layout, escape_label
from equimorph.reports.comparison.marks import (
    add_runs,
    choose_colour,
    describe_pair,
    describe_strategy,
    error_of,
    make_close_axis,
    make_label,
    make_rows_axis,
    name_kind,
)
from equimorph.reports.comparison.numbers import Comparison, Strategy
from equimorph.reports.comparison.pairs import NO_REGRET, Pair
from equimorph.reports.comparison.words import name_error
from equimorph.reports.measures import is_share, shown


def draw_errors(comparison: Comparison) -> Figure:
    """Test errors: a box for each strategy with all its runs as points; the least mean on top."""
    figure = Figure()
    ranked = comparison.ranked
    for depth, strategy in enumerate(ranked):
        _add_box(figure, strategy, depth=depth)
        offsets = [_spread_out(index, strategy.n) for index in range(strategy.n)]
        add_runs(
            figure,
            strategy.measured,
            x=[error_of(row) for row in strategy.measured],
            y=[depth + offset for offset in offsets],
            size=7,
            color=choose_colour(strategy.is_search),
            opacity=0.75,
        )
    for is_search in (True, False):
        members = [(depth, strategy) for depth, strategy in enumerate(ranked) if strategy.is_search == is_search]
        if members:
            figure.add_scatter(
                mode="markers",
                name=f"mean, {name_kind(is_search)}",
                x=[shown(strategy.test.mean, strategy.metric) for _, strategy in members],
                y=[depth for depth, _ in members],
                marker={"symbol": "x", "size": 9, "color": choose_colour(is_search)},
                hovertext=[describe_strategy(strategy) for _, strategy in members],
                hoverinfo="text",
            )
    figure.update_layout(base_layout(height=80 + 46 * len(ranked)))
    errors = [error_of(row) for strategy in ranked for row in strategy.measured]
    figure.update_xaxes(title=escape_label(name_error(comparison, has_unit=True)), **make_close_axis(errors))
    figure.update_yaxes(**make_rows_axis([make_label(strategy.name) for strategy in ranked]))
    return figure


def draw_differences(comparison: Comparison) -> Figure:
    """Paired differences of test error, each search minus each other strategy, with 95 % intervals."""
    rows: list[Pair | str] = []
    for search in comparison.searches:
        rows += [search.name, *comparison.pairs_of(search)]
    told = [(depth, pair) for depth, pair in enumerate(rows) if isinstance(pair, Pair)]
    figure = Figure()
    figure.add_vline(x=0, line={"color": style.MUTED, "width": 1.5}, layer="below")
    is_told_in_points = is_share(comparison.metric)
    certain = [(depth, pair) for depth, pair in told if pair.low is not None]
    single = [(depth, pair) for depth, pair in told if pair.low is None]
    _add_pairs(figure, certain, name="mean difference and its 95 % interval", symbol="circle")
    _add_pairs(figure, single, name="difference on one seed, without an interval", symbol="circle-open")
    for depth, pair in told:
        ink = style.MUTED if pair.verdict == "open" else style.INK
        place = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "y": depth}
        figure.add_annotation(text=pair.verdict, showarrow=False, font={"color": ink}, **place)
    if is_told_in_points:
        _add_bound(figure)
    figure.update_layout(base_layout(height=90 + 30 * len(rows)))
    figure.update_layout(margin={"t": 28, "r": 84}, meta={"min_width": 340})
    title = f"difference of test error{' (points)' if is_told_in_points else ''}"
    figure.update_xaxes(title=title, zeroline=False, range=_reach([pair for _, pair in told]))
    names = [f"− {make_label(row.second)}" if isinstance(row, Pair) else f"<b>{make_label(row)}</b>" for row in rows]
    figure.update_yaxes(**make_rows_axis(names))
    return figure


def _add_box(figure: Figure, strategy: Strategy, *, depth: int) -> None:
    box = strategy.box
    if box is not None:
        numbers = {"lowerfence": box.least, "q1": box.lower_quartile, "median": box.median}
        numbers |= {"q3": box.upper_quartile, "upperfence": box.most}
        figure.add_box(
            orientation="h",
            y=[depth],
            **{name: [shown(value, strategy.metric)] for name, value in numbers.items()},
            width=0.62,
            line={"color": choose_colour(strategy.is_search), "width": 1.5},
            fillcolor="rgba(0,0,0,0.03)",
            hoverinfo="skip",
            showlegend=False,
        )


def _add_bound(figure: Figure) -> None:
    """The bound of "no regret"."""
    figure.add_vline(x=100 * NO_REGRET, line={"color": style.MUTED, "width": 1.5, "dash": "dot"}, layer="below")
    place = {"x": 100 * NO_REGRET, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "left", "xshift": -6}
    limit = f"{100 * NO_REGRET:g} points"
    figure.add_annotation(text=limit, showarrow=False, font={"color": style.MUTED, "size": 12}, **place)


def _add_pairs(figure: Figure, pairs: Sequence[tuple[int, Pair]], *, name: str, symbol: str) -> None:
    if not pairs:
        return
    # The interval is the mean plus and minus one width.
    widths = [None if pair.high is None else shown(pair.high - pair.mean, pair.metric) for _, pair in pairs]
    figure.add_scatter(
        mode="markers",
        name=name,
        x=[shown(pair.mean, pair.metric) for _, pair in pairs],
        y=[depth for depth, _ in pairs],
        error_x={"type": "data", "array": widths, "color": style.ACCENT, "thickness": 2, "width": 5},
        marker={"symbol": symbol, "size": 10, "color": style.ACCENT},
        hovertext=[describe_pair(pair) for _, pair in pairs],
        hoverinfo="text",
    )


def _reach(pairs: Sequence[Pair]) -> list[float]:
    """A range that holds every interval, 0 and, for shares, the bound of "no regret"."""
    known = [value for pair in pairs for value in (pair.low, pair.mean, pair.high) if value is not None]
    scale, bound = (100, NO_REGRET) if is_share(pairs[0].metric) else (1, 0.0)
    low, high = min([*known, 0.0]), max([*known, bound])
    space = 0.06 * (high - low) or 1.0
    return [scale * (low - space), scale * (high + space)]


def _spread_out(index: int, count: int) -> float:
    """How far from the middle of its row a run stands, so that equal errors do not cover each other."""
    return 0.4 * (index / (count - 1) - 0.5) if count > 1 else 0.0
