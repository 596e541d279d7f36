"""The figure of a mixture: what each layer is made of, epoch by epoch, as stacked areas in one panel per layer.

As in `figures`, every text that comes from a file is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[attr-defined]
from plotly.subplots import make_subplots

from equimorph.reports import style
from equimorph.reports.axes import base_layout, escape_label, shorten
from equimorph.reports.mixtures import Trajectory
from equimorph.reports.numbers import Numbers
from equimorph.reports.records import SKIP

_MOST_COLUMNS = 4
_PANEL, _GAP = 118, 56  # pixels: the height of a panel, and between two of them for ticks and a title
_MARGINS = {"l": 56, "r": 12, "t": 28, "b": 52}  # pixels
_NARROWEST = 150  # pixels: of a panel, on a phone
_WHITE = "#ffffff"


def draw_mixture(numbers: Numbers) -> Figure:
    """Share of each member against the epoch, for each site that is a mixture; the largest group lies at the bottom.

    Where the mixture was discretised, a dashed line stands, and right of it the group that the site took.
    """
    trajectory = numbers.trajectory
    if trajectory is None:
        return Figure()
    sites = trajectory.sites
    rows = math.ceil(len(sites) / _MOST_COLUMNS)
    columns = math.ceil(len(sites) / rows)
    height = rows * _PANEL + (rows - 1) * _GAP
    figure: Figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[escape_label(shorten(site)) for site in sites],
        horizontal_spacing=0.12 / columns,
        vertical_spacing=_GAP / height,
    )
    first, last = _epochs(trajectory)
    colours = _colours(numbers, trajectory)
    for index, site in enumerate(sites):
        at = {"row": index // columns + 1, "col": index % columns + 1}
        _add_areas(figure, trajectory, site, colours, at=at, is_first=index == 0)
        if trajectory.discretised_at is not None:
            _add_choice(figure, trajectory, site, colours, at=at)
            # White below, so that the dashes are seen on dark areas too.
            for line in ({"color": _WHITE, "width": 3}, {"color": style.INK, "width": 1.2, "dash": "dash"}):
                figure.add_vline(x=trajectory.discretised_at, line=line, **at)
        is_lowest = index + columns >= len(sites)
        title = {"title": "epoch"} if is_lowest else {}
        figure.update_xaxes(showticklabels=is_lowest, **title, **at)
        is_leftmost = index % columns == 0
        title = {"title": "weight z" if trajectory.has_skip else "share"} if is_leftmost else {}
        figure.update_yaxes(showticklabels=is_leftmost, **title, **at)
    figure.update_layout(base_layout(height=height + _MARGINS["t"] + _MARGINS["b"]))
    figure.update_layout(
        margin=_MARGINS,
        meta={"min_width": 80 + _NARROWEST * columns if columns > 1 else 0},
        hoverdistance=-1,  # wherever one points in a panel, the nearest value is told
    )
    for title in figure.layout.annotations[: len(sites)]:
        title.font = {"size": 12, "color": style.INK}
    ticks: dict[str, Any] = {"nticks": 5} if len(trajectory.points) > 1 else {"tickvals": [trajectory.points[0].epoch]}
    figure.update_xaxes(range=[first, last], showgrid=False, zeroline=False, **ticks)
    figure.update_yaxes(range=[0, 1], tickvals=[0, 0.5, 1], showgrid=False, zeroline=False)
    return figure


def _epochs(trajectory: Trajectory) -> tuple[float, float]:
    """The ends of the axis; around a single epoch half of one to each side."""
    first, last = trajectory.points[0].epoch, trajectory.last_epoch
    return (first, last) if last > first else (first - 0.5, first + 0.5)


def _colours(numbers: Numbers, trajectory: Trajectory) -> dict[str, str]:
    """Members in the order in which they are stacked, each in the colour that it has on the whole page."""
    of_all = style.colour_subgroups(list(numbers.subgroups))
    colours = {name: of_all[name] for name in reversed(numbers.subgroups) if name in trajectory.members}
    return colours | ({SKIP: style.FAINT} if trajectory.has_skip else {})


def _add_areas(
    figure: Figure, trajectory: Trajectory, site: str, colours: Mapping[str, str], *, at: dict[str, int], is_first: bool
) -> None:
    portions = list(trajectory.portions(site))
    epochs = [epoch for epoch, _ in portions]
    if len(portions) == 1:  # an area needs a width
        epochs = list(_epochs(trajectory) if trajectory.discretised_at is None else (epochs[0], trajectory.last_epoch))
        portions *= 2
    for name, colour in colours.items():
        shown = escape_label(name)
        shares = [members.get(name, 0.0) for _, members in portions]
        figure.add_scatter(
            mode="lines",
            name="skip (identity)" if name == SKIP else shown,
            x=epochs,
            y=shares,
            stackgroup="mixture",
            fillcolor=colour,
            line={"color": _WHITE, "width": 0.6},
            showlegend=is_first,
            hoveron="points",
            hovertext=[
                f"{escape_label(site)}<br>{shown} {share:.3f} at epoch {epoch:.4g}"
                for (epoch, _), share in zip(portions, shares, strict=True)
            ],
            hoverinfo="text",
            **at,
        )


def _add_choice(
    figure: Figure, trajectory: Trajectory, site: str, colours: Mapping[str, str], *, at: dict[str, int]
) -> None:
    """The single group that a site has from the dashed line on, with its name where there is room."""
    begin, end, name = trajectory.discretised_at, trajectory.last_epoch, trajectory.chosen[site]
    if begin is None or end <= begin:
        return
    colour, shown = colours.get(name, style.FAINT), escape_label(name)
    figure.add_scatter(
        mode="lines",
        x=[begin, end],
        y=[1.0, 1.0],
        stackgroup="choice",
        fillcolor=colour,
        line={"color": _WHITE, "width": 0.6},
        showlegend=False,
        hoveron="points",
        hovertext=[f"{escape_label(site)}<br>{shown} from epoch {begin:.4g} to {end:.4g}"] * 2,
        hoverinfo="text",
        **at,
    )
    if end - begin > 0.2 * (end - trajectory.points[0].epoch):
        figure.add_annotation(
            x=(begin + end) / 2,
            y=0.5,
            text=shown,
            showarrow=False,
            font={"color": style.choose_ink(colour), "size": 13},
            **at,
        )
