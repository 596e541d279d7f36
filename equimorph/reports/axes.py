"""Axes, colours and labels that the figures share, as Plotly takes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from equimorph.reports import style

_LONGEST_LABEL = 22


def base_layout(*, height: int) -> dict[str, Any]:
    """What all figures have in common; `height` is in pixels, and the width is that of the page."""
    axis = {
        "gridcolor": style.GRID,
        "linecolor": style.FAINT,
        "zerolinecolor": style.GRID,
        "tickfont": {"color": style.MUTED},
        "ticks": "outside",
        "ticklen": 5,
        "tickcolor": "rgba(0,0,0,0)",
        "title": {"font": {"color": style.MUTED, "size": 13}, "standoff": 10},
        "automargin": True,
    }
    return {
        "template": {"layout": {"xaxis": axis, "yaxis": axis}},
        "height": height,
        "margin": {"l": 56, "r": 12, "t": 12, "b": 30},
        "font": {"family": style.FONT, "size": 13, "color": style.INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,  # the page sets the legend as text, which wraps on a narrow screen
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": style.FAINT, "activecolor": style.INK, "orientation": "v"},
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": style.FAINT, "font": {"color": style.INK}, "align": "left"},
        "hovermode": "closest",
        "dragmode": False,  # so that a finger on a figure scrolls the page
    }


def escape_label(text: str) -> str:
    """A text as Plotly shows it unchanged; quotes stay, since Plotly does not know their entities."""
    return escape(text, quote=False)


def in_percent(error: float | None) -> float | None:
    """An error as it is shown."""
    return None if error is None else 100 * error


def _spans_decades(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > 8 * min(values)


def make_value_axis(values: Iterable[float | None]) -> dict[str, Any]:
    """An axis from 0, or logarithmic with round ticks where values span much; around them where some are negative."""
    known = [value for value in values if value is not None]
    if not known:
        return {"rangemode": "tozero"}
    if min(known) < 0:
        space = 0.08 * (max(known) - min(known)) or 0.08 * abs(min(known))
        return {"range": [min(known) - space, max(known) + space], "zeroline": False}
    if not _spans_decades(known):
        return {"range": [0, 1.08 * max(known) or 1.0], "zeroline": False}
    low, high = math.log10(min(known)), math.log10(max(known))
    ticks = _round_values(min(known) / 1.2, max(known) * 1.2)
    space = 0.06 * (high - low)
    return {
        "type": "log",
        "range": [low - space, high + space],
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }


def _round_values(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 5 else (1,)
    values = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [value for value in values if low <= value <= high]


def colour_by_error(errors: Sequence[float | None], *, unit: str = "%") -> dict[str, Any]:
    """Marker options that colour by error, logarithmic where the errors span much."""
    known = [error for error in errors if error is not None]
    options: dict[str, Any] = {"colorscale": [list(stop) for stop in style.ERROR_SCALE]}
    if not known or min(known) == max(known):
        return {**options, "cmin": 0.0, "cmax": abs(max(known, default=1.0)) or 1.0, "showscale": False}
    bar: dict[str, Any] = {
        "title": {"text": f"validation<br>error{f' ({unit})' if unit else ''}", "font": {"size": 12}},
        "thickness": 10,
        "len": 0.8,
        "outlinewidth": 0,
        "tickfont": {"color": style.MUTED},
    }
    low, high = min(known), max(known)
    if _spans_decades(known):
        ticks = _round_values(low, high)
        bar |= {"tickvals": [math.log10(tick) for tick in ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
        low, high = math.log10(low), math.log10(high)
    return {**options, "cmin": low, "cmax": high, "showscale": True, "colorbar": bar}


def place_on_scale(error: float | None, scale: dict[str, Any]) -> float | None:
    """The value that stands for an error on the scale of `colour_by_error`."""
    logarithmic = "tickvals" in scale.get("colorbar", {})
    return math.log10(error) if logarithmic and error is not None else error


def make_whole_ticks(values: Sequence[int]) -> dict[str, Any]:
    """Ticks of an axis for whole numbers, a dozen at most."""
    step = max(1, math.ceil((max(values, default=0) - min(values, default=0)) / 12))
    return {"tick0": min(values, default=0), "dtick": step}


def shorten(label: str) -> str:
    """The end of a long label, which tells sites apart better than its beginning.

    Example:
        >>> shorten("model.backbone.stage1.0.block.conv1")
        '…stage1.0.block.conv1'
    """
    if len(label) <= _LONGEST_LABEL:
        return label
    end = label[-_LONGEST_LABEL:]
    whole_names = end.partition(".")[2]
    return "…" + (whole_names if len(whole_names) > _LONGEST_LABEL // 2 else end[1:])
