"""The figures of a probe: the lattice of subgroups coloured by z, and z by subgroup and class."""

from __future__ import annotations

from plotly.graph_objects import Figure  # type: ignore[attr-defined]

from equimorph.groups import Subgroup
from equimorph.probing import Probe, ProbedSubgroup
from equimorph.reports import style
from equimorph.reports.axes import base_layout, escape_label

_WORST = 10.0  # z from which colours are alike
_SCALE = [[0, "#2b72b2"], [0.25, "#a9c6e0"], [0.5, "#f3d9c6"], [1, style.ACCENT]]
_MOST_NODES = 40


def draw_lattice(probe: Probe) -> Figure | None:
    """Every subgroup, larger ones above, with lines to the largest ones within; None where there are too many."""
    if len(probe.subgroups) > _MOST_NODES:
        return None
    orders = sorted({one.subgroup.order for one in probe.subgroups})
    place: dict[Subgroup, tuple[float, float]] = {}
    for level, order in enumerate(orders):
        row = [one.subgroup for one in probe.subgroups if one.subgroup.order == order]
        for number, H in enumerate(row):
            place[H] = (number - (len(row) - 1) / 2, level)
    figure = Figure()
    for below in place:
        for above in place:
            if below < above and not any(below < between < above for between in place):
                (x0, y0), (x1, y1) = place[below], place[above]
                figure.add_shape(
                    type="line", x0=x0, y0=y0, x1=x1, y1=y1, layer="below", line={"color": style.FAINT, "width": 1.5}
                )
    figure.add_scatter(
        x=[place[one.subgroup][0] for one in probe.subgroups],
        y=[place[one.subgroup][1] for one in probe.subgroups],
        mode="markers+text",
        text=[f"<b>{one.name}</b>" if one.subgroup == probe.best else one.name for one in probe.subgroups],
        textposition="bottom center",
        marker={
            "size": [26 if one.subgroup == probe.best else 18 for one in probe.subgroups],
            "color": [min(one.z, _WORST) for one in probe.subgroups],
            "colorscale": _SCALE,
            "cmin": 0,
            "cmax": _WORST,
            "line": {"color": style.INK, "width": [2 if one.left else 0 for one in probe.subgroups]},
            "colorbar": {"title": {"text": "z"}, "thickness": 12, "tickvals": [0, 2.5, 5, 10], "len": 0.9},
        },
        hovertext=[_describe(probe, one) for one in probe.subgroups],
        hoverinfo="text",
        showlegend=False,
        cliponaxis=False,
    )
    figure.update_layout(base_layout(height=90 + 85 * len(orders)))
    figure.update_layout(margin={"l": 30, "r": 80, "t": 20, "b": 20}, meta={"min_width": 420})
    widest = max(abs(x) for x, _ in place.values())
    figure.update_xaxes(visible=False, range=[-widest - 0.6, widest + 0.6])
    figure.update_yaxes(visible=False, range=[-0.5, len(orders) - 0.6])
    return figure


def draw_classes(probe: Probe) -> Figure | None:
    """z of each subgroup over the samples of each class; None where targets are no classes."""
    classes = list(probe.subgroups[0].by_class)
    if not classes:
        return None
    z = [[one.by_class[name].z for name in classes] for one in probe.subgroups]
    figure = Figure()
    figure.add_heatmap(
        x=[escape_label(name) for name in classes],
        y=[one.name for one in probe.subgroups],
        z=[[max(-_WORST, min(value, _WORST)) for value in row] for row in z],
        text=[[f"{value:.1f}" for value in row] for row in z],
        texttemplate="%{text}",
        textfont={"color": style.INK},
        hovertemplate="%{y}, %{x}: %{text} standard errors<extra></extra>",
        colorscale=[[0, "#2b72b2"], [0.5, "#f7f8fa"], [1, style.ACCENT]],
        zmin=-_WORST,
        zmax=_WORST,
        xgap=1,
        ygap=1,
        colorbar={"title": {"text": "z"}, "thickness": 12},
    )
    figure.update_layout(base_layout(height=140 + 24 * len(probe.subgroups)))
    figure.update_layout(margin={"l": 70, "r": 30, "t": 20, "b": 80}, meta={"min_width": 160 + 56 * len(classes)})
    figure.update_yaxes(categoryorder="array", categoryarray=[one.name for one in probe.subgroups][::-1])
    return figure


def _describe(probe: Probe, one: ProbedSubgroup) -> str:
    state = "best" if one.subgroup == probe.best else "left" if one.left else "ruled out"
    error = "" if one.error is None else f"<br>error of left-out samples {100 * one.error:.1f} %"
    return f"<b>{one.name}</b>: {state}<br>{one.z:.1f} standard errors from the best{error}"
