"""The figure of an audit: the error behind each call under each element, and the calls that add to it."""

from __future__ import annotations

import math
from typing import Any

from plotly.graph_objects import Figure  # type: ignore[attr-defined]

from equimorph.reports import style
from equimorph.reports.axes import base_layout, escape_label, shorten
from equimorph.reports.dataset.moves import tell_move
from equimorph.reports.equivariance.numbers import EquivarianceNumbers, ShownCall
from equimorph.reports.equivariance.words import tell_reason, tell_relative, tell_remedy

_ROUNDING = ("#f1f6fa", "#b3cfe2")  # up to the tolerance: pale and cold
_LOSS = ("#fde2c4", "#f6ad6b", "#d55e00")  # beyond: warm, and light enough for the signs on it
_FEW_CALLS = 45
_ROW, _LEAST, _MOST = 21, 270, 1000  # pixels: of a row, and of all rows together, where they are few and where many
_LABEL = 15  # pixels that a label needs
_FEW_ELEMENTS = 10


def draw_errors(numbers: EquivarianceNumbers, *, chosen: bool = False) -> Figure:
    """Errors on a logarithmic scale, a row for each call with the output last, a column for each element."""
    figure = Figure()
    rows = len(numbers.calls) + 1
    height = max(_LEAST, _ROW * rows) if rows <= _FEW_CALLS else max(_MOST, 6 * rows)
    elements = [tell_move(numbers.audit.group, element) for element in numbers.audit.elements]
    figure.add_heatmap(
        x=list(range(len(elements))),
        y=list(range(1, rows + 1)),
        z=[list(of_call) for of_call in numbers.levels],
        zmin=numbers.lowest,
        zmax=0.0,
        colorscale=_colours(numbers),
        colorbar=_colour_bar(numbers),
        hovertext=_hover(numbers, elements, chosen=chosen),
        hoverinfo="text",
        xgap=1 if len(elements) <= 60 else 0,
        ygap=1 if rows <= _FEW_CALLS else 0,
    )
    size = min(9.0, 0.6 * height / rows)
    _mark(figure, numbers, "broken", name="the call itself does not commute", symbol="x", size=size)
    told = f"constrained to a smaller group{', as the search chose' if chosen else ''}"
    _mark(figure, numbers, "relaxed", name=told, symbol="circle-open", size=size)
    longest = max(map(len, _labels(elements)), default=0)
    top = 40 if len(elements) <= 1 else min(60 + 6 * longest, 300) if len(elements) > _FEW_ELEMENTS else 100
    figure.update_layout(base_layout(height=height + top + 20))
    figure.update_layout(
        margin={"l": 56, "r": 12, "t": top, "b": 12},
        meta={"min_width": 320 + (14 if len(elements) > _FEW_ELEMENTS else 28) * len(elements)},
    )
    figure.update_xaxes(
        side="top",
        tickvals=list(range(len(elements))),
        ticktext=[escape_label(label).replace("\n", "<br>") for label in _labels(elements)],
        tickangle=-90 if len(elements) > _FEW_ELEMENTS else 0 if len(elements) <= 4 else -40,
        showgrid=False,
        zeroline=False,
    )
    step = -(-_LABEL * rows // height)
    shown = [*range(0, rows - 1, step), rows - 1]
    names = [shorten(call.row.name) for call in numbers.calls] + ["output"]
    figure.update_yaxes(
        tickvals=[row + 1 for row in shown],
        ticktext=[escape_label(names[row]) for row in shown],
        range=[rows + 0.5, 0.5],
        showgrid=False,
        zeroline=False,
        automargin=True,
    )
    return figure


def _labels(elements: list[str]) -> list[str]:
    """What stands above the columns; shorter where there are many."""
    if len(elements) <= _FEW_ELEMENTS:
        return elements
    short = {"turned by ": "", "mirrored in the centre": "centre", "mirrored along": "mirror"}
    labels = elements
    for long, brief in short.items():
        labels = [label.replace(long, brief) for label in labels]
    return labels


def _colours(numbers: EquivarianceNumbers) -> list[list[Any]]:
    border = _share(numbers, numbers.audit.tolerance)
    return [
        [0.0, _ROUNDING[0]],
        [border, _ROUNDING[1]],
        [border, _LOSS[0]],
        [(1 + border) / 2, _LOSS[1]],
        [1.0, _LOSS[2]],
    ]


def _share(numbers: EquivarianceNumbers, error: float) -> float:
    """Where an error lies on the scale, from 0 to 1."""
    return 1 - math.log10(error) / numbers.lowest


def _colour_bar(numbers: EquivarianceNumbers) -> dict[str, Any]:
    tolerance = math.log10(numbers.audit.tolerance)
    values = [numbers.lowest, tolerance, tolerance / 2, 0.0]
    low, border, middle = (tell_relative(10**value) for value in values[:3])
    return {
        "title": {"text": "relative<br>error<br> ", "font": {"size": 12}},
        "thickness": 10,
        "len": 210,
        "lenmode": "pixels",
        "y": 1,
        "yanchor": "top",
        "outlinewidth": 0,
        "tickfont": {"color": style.MUTED},
        "tickvals": values,
        "ticktext": [f"≤ {low}", f"{border}, rounding<br>up to here", middle, "≥ 1"],
    }


def _hover(numbers: EquivarianceNumbers, elements: list[str], *, chosen: bool) -> list[list[str]]:
    audit = numbers.audit
    texts = [
        [
            _describe(call, element, f"{audit.group.name}: {words}", chosen=chosen)
            for element, words in zip(audit.elements, elements, strict=True)
        ]
        for call in numbers.calls
    ]
    texts.append(
        [
            f"<b>output</b><br>{audit.group.name}: {words}<br>error {tell_relative(audit.output_errors[element])}"
            for element, words in zip(audit.elements, elements, strict=True)
        ]
    )
    return texts


def _describe(call: ShownCall, element: int, words: str, *, chosen: bool) -> str:
    row = call.row
    lines = [
        f"<b>{escape_label(row.name)}</b>, {escape_label(row.kind)}",
        escape_label(words),
        f"error {tell_relative(row.errors[element])}, of its own {tell_relative(row.own[element])}",
    ]
    if element in call.failing:
        lines += [escape_label(text) for text in (tell_reason(call, chosen=chosen), tell_remedy(call)) if text]
    return "<br>".join(lines)


def _mark(figure: Figure, numbers: EquivarianceNumbers, kind: str, *, name: str, symbol: str, size: float) -> None:
    """A sign in every cell of which the call itself is the cause."""
    places = {element: place for place, element in enumerate(numbers.audit.elements)}
    cells = [
        (places[element], row)
        for row, call in enumerate(numbers.calls, start=1)
        if call.kind == kind
        for element in sorted(call.failing)
    ]
    if cells:
        figure.add_scatter(
            mode="markers",
            name=name,
            x=[x for x, _ in cells],
            y=[y for _, y in cells],
            marker={"symbol": symbol, "size": size, "color": style.INK},
            hoverinfo="skip",
        )
