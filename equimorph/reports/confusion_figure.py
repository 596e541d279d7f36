"""The figure of a confusion matrix: one cell for each true and predicted class, shaded by its share of the row.

As in `figures`, every text that comes from a file is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[attr-defined]

from equimorph.reports import style
from equimorph.reports.axes import base_layout, escape_label, in_percent
from equimorph.reports.classes import share_rows
from equimorph.training.metrics import Scores

MOST_DRAWN = 60  # classes; beyond that names cannot be read on a page of this width
_MOST_WRITTEN = 12  # classes whose counts stand in the cells
_CELLS = ((4, 84), (_MOST_WRITTEN, 54), (30, 24), (MOST_DRAWN, 13))  # up to so many classes: the side of a cell, pixels
_NARROWEST = {84: 56, 54: 38, 24: 19, 13: 13}  # pixels: a cell on a phone
_LONGEST_NAME = 24
_LETTER = 6.6  # pixels: the width of a letter of a tick, on average
_SCALE = 76  # pixels: the scale of shades with its title

# Light for few, dark for many; the first tenth has a third of the scale, so that mistakes are seen beside successes.
_SHADES = ((0.0, "#f7f8fa"), (0.02, "#dfe8f5"), (0.1, "#b4c9e6"), (0.5, "#6088bf"), (1.0, "#22406f"))


def draw_confusion(scores: Scores) -> Figure:
    """Share of each true class (row, %) that was taken for each class (column), with the counts while there are few.

    The first class lies on top and to the left. For more than `MOST_DRAWN` classes nothing is drawn.
    """
    num_classes = len(scores.classes)
    if num_classes > MOST_DRAWN:
        return Figure()
    side = next(pixels for most, pixels in _CELLS if num_classes <= most)
    names = [escape_label(shorten_name(name)) for name in scores.classes]
    is_written = num_classes <= _MOST_WRITTEN
    written: dict[str, Any] = {
        "text": [[f"{count:,}" for count in row] for row in scores.confusion],
        "texttemplate": "%{text}",
        "textfont": {"size": 13 if num_classes <= 8 else 12},
    }
    positions = list(range(num_classes))
    figure = Figure()
    figure.add_heatmap(
        x=positions,
        y=positions,
        z=[[in_percent(share) for share in row] for row in share_rows(scores)],
        zmin=0,
        zmax=100,
        colorscale=[list(stop) for stop in _SHADES],
        showscale=not is_written,  # counts say more
        colorbar=_make_scale(),
        xgap=1,
        ygap=1,
        hovertext=_describe_cells(scores),
        hoverinfo="text",
        **(written if is_written else {}),
    )
    longest = _LETTER * max(len(shorten_name(name)) for name in scores.classes)
    is_level = longest < 0.9 * side  # names of columns stand beside each other
    left, below = round(longest) + 46, round(20 if is_level else 0.75 * longest) + 50
    right, top = 12 if is_written else _SCALE, 8
    figure.update_layout(base_layout(height=top + num_classes * side + below))
    figure.update_layout(
        margin={"l": left, "r": right, "t": top, "b": below, "autoexpand": False},
        meta={"min_width": left + num_classes * _NARROWEST[side] + right},
    )
    small: dict[str, Any] = {"tickfont": {"size": 9, "color": style.MUTED}} if side < 20 else {}
    ticks = {"tickvals": positions, "ticktext": names, "showgrid": False, "zeroline": False, "automargin": False}
    # Square cells, whichever of width and height there is less of, at the upper left.
    square = {"constrain": "domain"}
    figure.update_xaxes(
        title="predicted class",
        range=[-0.5, num_classes - 0.5],
        tickangle=0 if is_level else -45,
        constraintoward="left",
        **square,
        **ticks,
        **small,
    )
    figure.update_yaxes(
        title="true class",
        range=[num_classes - 0.5, -0.5],
        scaleanchor="x",
        constraintoward="top",
        **square,
        **ticks,
        **small,
    )
    return figure


def shorten_name(name: str) -> str:
    """Beginning and end of a long name, since either may be what tells two of them apart.

    Example:
        >>> shorten_name("intraepithelial carcinoma and Bowen's disease")
        "intraepitheli…'s disease"
    """
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 11].rstrip()}…{name[-10:].lstrip()}"


def _describe_cells(scores: Scores) -> Sequence[Sequence[str]]:
    names = [escape_label(name) for name in scores.classes]
    cells = []
    for true, row, support in zip(names, scores.confusion, scores.support, strict=True):
        whole = f"of {support:,}" if support else "no sample of this class"
        cells.append(
            [
                f"true: {true}<br>predicted: {predicted}<br>"
                + (f"{count:,} {whole} ({100 * count / support:.1f} %)" if support else whole)
                for predicted, count in zip(names, row, strict=True)
            ]
        )
    return cells


def _make_scale() -> dict[str, Any]:
    return {
        "title": {"text": "share of the row (%)", "font": {"size": 12, "color": style.MUTED}, "side": "right"},
        "thickness": 10,
        "len": 1,
        "lenmode": "fraction",
        "y": 1,
        "yanchor": "top",
        "outlinewidth": 0,
        "tickvals": [0, 10, 25, 50, 75, 100],
        "tickfont": {"color": style.MUTED},
    }
