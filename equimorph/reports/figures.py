"""Plotly figures of a run, drawn from its numbers alone.

Every text that comes from a file is escaped, because Plotly reads labels as a kind of HTML; and it is never part of a
template, where "%{" would be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[attr-defined]
from plotly.subplots import make_subplots

from equimorph.reports import style, words
from equimorph.reports.axes import (
    base_layout,
    colour_by_error,
    escape_label,
    make_value_axis,
    make_whole_ticks,
    place_on_scale,
    shorten,
)
from equimorph.reports.measures import is_share, name_axis, shown, tell_error
from equimorph.reports.numbers import Numbers
from equimorph.reports.records import Candidate

_Points = list[tuple[float | None, float | None]]
_GAP = (None, None)
_BLUE = "#3f5f8f"


def draw_front(numbers: Numbers) -> Figure:
    """Validation error against parameters: all candidates, the final generation, its Pareto front, and the best."""
    final = [c for c in numbers.trained if c.generation == numbers.last_generation and c != numbers.best]
    others = [c for c in numbers.trained if c.generation != numbers.last_generation and c != numbers.best]
    front = [member for member in numbers.front if member.error is not None]
    figure = Figure()
    _add_candidates(figure, numbers, others, name="other generations", size=7, color=style.FAINT, opacity=0.75)
    name = "final generation" if numbers.is_finished else f"generation {numbers.last_generation}"
    _add_candidates(figure, numbers, final, name=name, size=10, color=_BLUE, opacity=0.95)
    # Between two members the smaller network is the best that fits, hence steps.
    _add_line(
        figure,
        [(member.parameters, _shown(numbers, member)) for member in front],
        name="front",
        line={"color": _BLUE, "width": 1.5, "shape": "hv"},
    )
    if numbers.best is not None:
        mark = {"symbol": "star", "line": {"color": "#ffffff", "width": 1}}
        _add_candidates(figure, numbers, [numbers.best], name="best", size=19, color=style.ACCENT, opacity=1.0, **mark)
    errors = [_shown(numbers, candidate) for candidate in numbers.trained]
    figure.update_layout(base_layout(height=400))
    sizes = {candidate.parameters for candidate in numbers.trained}
    ticks = {"tickformat": "~s", "nticks": 7} if len(sizes) > 1 else {"tickvals": list(sizes), "tickformat": ","}
    figure.update_xaxes(title="parameters", **ticks)
    title = escape_label(name_axis("validation error", numbers.start.metric))
    figure.update_yaxes(title=title, **make_value_axis(errors))
    return figure


def draw_family_tree(numbers: Numbers) -> Figure:
    """Candidates by generation, each joined to its parent; the best lineage is highlighted."""
    places = _place(numbers.candidates)
    lineage = {member.id for member in numbers.lineage}
    kept = [c for c in numbers.trained if c.id in numbers.survivors]
    dropped = [c for c in numbers.trained if c.id not in numbers.survivors]
    failed = [c for c in numbers.candidates if c.diverged]
    most = max((y for _, y in places.values()), default=0.0) * 2 + 1
    generations = [candidate.generation for candidate in numbers.candidates]
    crowd = max(most, 0.7 * len(set(generations)))  # a figure is wider than it is high
    size = 15 if crowd <= 14 else 10 if crowd <= 40 else 6
    errors = [_shown(numbers, candidate) for candidate in numbers.trained]
    scale = colour_by_error(errors, unit="%" if is_share(numbers.start.metric) else "")
    figure = Figure()
    _add_line(
        figure,
        _edges(places, (c for c in numbers.candidates if c.id not in lineage)),
        line={"color": "#d5dae2", "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    _add_line(
        figure,
        _edges(places, numbers.lineage),
        name="best lineage",
        line={"color": style.ACCENT, "width": 3},
        hoverinfo="skip",
    )
    for members, name, symbol in ((kept, "selected", "circle"), (dropped, "not selected", "circle-open")):
        rim: dict[str, Any] = {"width": 2}
        if symbol == "circle":
            rim["color"] = [style.ACCENT if c.id in lineage else "#ffffff" for c in members]
        colour = {**scale, "color": [place_on_scale(_shown(numbers, c), scale) for c in members]}
        _add_nodes(
            figure, numbers, members, places, name=name, marker={"symbol": symbol, "size": size, "line": rim, **colour}
        )
    cross = {"symbol": "x", "size": max(size - 3, 5), "color": style.MUTED}
    _add_nodes(figure, numbers, failed, places, name="diverged", marker=cross)
    figure.update_layout(base_layout(height=round(min(max(120 + 30 * most, 220), 900))))
    figure.update_layout(meta={"min_width": 13 * len(set(generations))})
    figure.update_xaxes(
        title="generation",
        showgrid=False,
        zeroline=False,
        range=[min(generations, default=0) - 0.4, max(generations, default=0) + 0.4],
        **make_whole_ticks(generations),
    )
    figure.update_yaxes(visible=False, range=[-(most + 1) / 2, (most + 1) / 2])
    return figure


def draw_constraints(numbers: Numbers) -> Figure:
    """The constraint of each site along the best lineage against the epoch; deeper sites are lower."""
    colours = style.colour_subgroups(list(numbers.subgroups))
    sites = numbers.start.sites
    figure = Figure()
    for name in reversed(numbers.subgroups):
        spans = [span for span in numbers.spans if span.constraint == name]
        if not spans:
            continue
        shown = escape_label(name)
        figure.add_bar(
            name=shown,
            orientation="h",
            base=[span.first_epoch for span in spans],
            x=[span.last_epoch - span.first_epoch for span in spans],
            y=[span.site + 1 for span in spans],
            width=0.86,
            marker={"color": colours[name], "line": {"color": "#ffffff", "width": 1}},
            text=[shown] * len(spans),
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="inside",
            insidetextfont={"color": style.choose_ink(colours[name]), "size": 13},
            hovertext=[
                f"{escape_label(sites[span.site])}<br>{shown} from epoch {span.first_epoch:g} to {span.last_epoch:g}"
                for span in spans
            ],
            hoverinfo="text",
        )
    depths = list(range(1, len(sites) + 1))
    figure.update_layout(
        base_layout(height=80 + 30 * len(sites)), barmode="overlay", uniformtext={"minsize": 9, "mode": "hide"}
    )
    last = max((span.last_epoch for span in numbers.spans), default=1.0)
    first = min((span.first_epoch for span in numbers.spans), default=0.0)
    figure.update_xaxes(title="epoch", showgrid=False, zeroline=False, range=[first, last])
    figure.update_yaxes(
        tickvals=depths,
        ticktext=[escape_label(shorten(site)) for site in sites],
        range=[len(sites) + 0.5, 0.5],
        showgrid=False,
        automargin=True,
    )
    return figure


def draw_learning_curves(numbers: Numbers) -> Figure:
    """Training loss above, validation error below, against the epoch: the best lineage strong, the others faint.

    What was trained before the best network began once more from scratch is one of the others.
    """
    lineage = [member.id for member in numbers.last_training]
    others = [candidate for candidate in numbers.curves if candidate not in lineage]
    figure: Figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    metric = numbers.start.metric
    told = {"loss": "loss %{y:.4~g}", "error": "%{y:.2f} %" if is_share(metric) else "error %{y:.4~g}"}
    for row, quantity in ((1, "loss"), (2, "error")):
        _add_line(
            figure,
            [point for candidate in others for point in (*_curve(numbers, candidate, quantity), _GAP)],
            name="others" if lineage else "candidates",
            line={"color": style.FAINT if lineage else _BLUE, "width": 1},
            opacity=0.8,
            hoverinfo="skip",
            showlegend=row == 1 and bool(others),
            at={"row": row, "col": 1},
        )
        best = [point for candidate in lineage for point in _curve(numbers, candidate, quantity)]
        _add_line(
            figure,
            [point for point, _ in groupby(best)],  # a child starts where its parent ended
            name="best lineage",
            line={"color": style.ACCENT, "width": 2.5},
            showlegend=row == 1 and bool(best),
            hovertemplate=f"epoch %{{x:.4~g}}<br>{told[quantity]}<extra></extra>",
            at={"row": row, "col": 1},
        )
    for member in numbers.changes:
        if numbers.begins_anew(member):
            continue
        figure.add_vline(x=member.first_epoch, line={"color": style.MUTED, "width": 1, "dash": "dot"})
    # A loss that runs away would flatten all others.
    diverged = {candidate.id for candidate in numbers.candidates if candidate.diverged}
    points = [point for point in numbers.records.points if point.candidate not in diverged] or numbers.records.points
    figure.update_layout(base_layout(height=500))
    figure.update_yaxes(title="training loss", row=1, col=1, **make_value_axis(point.train_loss for point in points))
    errors = [shown(point.validation_error, metric) for point in points]
    title = escape_label(name_axis("validation error", metric))
    figure.update_yaxes(title=title, row=2, col=1, **make_value_axis(errors))
    figure.update_xaxes(title="epoch", row=2, col=1)
    last = max((point.epoch for point in numbers.records.points), default=1.0)
    figure.update_xaxes(zeroline=False, range=[0, last])
    return figure


def _add_candidates(
    figure: Figure,
    numbers: Numbers,
    members: Sequence[Candidate],
    *,
    name: str,
    size: float,
    color: str,
    opacity: float,
    **mark: Any,
) -> None:
    if not members:
        return
    figure.add_scatter(
        mode="markers",
        name=name,
        x=[member.parameters for member in members],
        y=[_shown(numbers, member) for member in members],
        marker={"size": size, "color": color, "opacity": opacity, **mark},
        hovertext=[_describe(numbers, member) for member in members],
        hoverinfo="text",
    )


def _add_nodes(
    figure: Figure,
    numbers: Numbers,
    members: Sequence[Candidate],
    places: dict[int, tuple[float, float]],
    *,
    name: str,
    marker: dict[str, Any],
) -> None:
    if not members:
        return
    figure.add_scatter(
        mode="markers",
        name=name,
        x=[places[member.id][0] for member in members],
        y=[places[member.id][1] for member in members],
        marker=marker,
        cliponaxis=False,
        hovertext=[_describe(numbers, member) for member in members],
        hoverinfo="text",
    )


def _add_line(figure: Figure, points: _Points, *, at: dict[str, int] | None = None, **options: Any) -> None:
    figure.add_scatter(
        mode="lines", x=[x for x, _ in points], y=[y for _, y in points], connectgaps=False, **options, **(at or {})
    )


def _describe(numbers: Numbers, candidate: Candidate) -> str:
    lines = [
        f"<b>candidate {candidate.id}</b>",
        escape_label(words.describe_candidate(numbers, candidate)),
        escape_label(candidate.move),
    ]
    lines.append(f"{candidate.parameters:,} parameters")
    if candidate.error is not None:
        lines.append(f"{tell_error(candidate.error, numbers.start.metric)} validation error")
    else:
        step = candidate.diverged_at_step
        lines.append("diverged" if step is None else f"diverged at step {step + 1:,}")
    return "<br>".join(lines)


def _shown(numbers: Numbers, candidate: Candidate) -> float | None:
    """A candidate's error as figures have it."""
    return shown(candidate.error, numbers.start.metric)


def _place(candidates: Sequence[Candidate]) -> dict[int, tuple[float, float]]:
    """Where each candidate stands in the tree: its generation, and a height that keeps siblings beside each other."""
    places: dict[int, tuple[float, float]] = {}
    for generation in sorted({candidate.generation for candidate in candidates}):
        members = [candidate for candidate in candidates if candidate.generation == generation]
        members.sort(key=lambda member: (-places[member.parent][1] if member.parent in places else 0.0, member.id))
        for index, member in enumerate(members):
            places[member.id] = (float(generation), (len(members) - 1) / 2 - index)
    return places


def _edges(places: dict[int, tuple[float, float]], children: Iterable[Candidate]) -> _Points:
    points: _Points = []
    for child in children:
        if child.parent is not None:
            points += [places[child.parent], places[child.id], _GAP]
    return points


def _curve(numbers: Numbers, candidate: int, quantity: str) -> _Points:
    points = numbers.curves.get(candidate, ())
    if quantity == "loss":
        return [(point.epoch, point.train_loss) for point in points]
    return [(point.epoch, shown(point.validation_error, numbers.start.metric)) for point in points]
