"""The figure of a label audit: the bound of each subgroup, with what needs no move, its error and its coverage."""

from __future__ import annotations

from plotly.graph_objects import Figure  # type: ignore[attr-defined]

from equimorph.data.audit.records import LabelAudit, SubgroupEvidence
from equimorph.reports import style
from equimorph.reports.axes import base_layout, escape_label
from equimorph.reports.dataset.audit_words import tell_verdict

_COLOURS = {"ruled out": style.ACCENT, "possible": "#2b72b2", "unseen": style.FAINT, "trivial": style.MUTED}
_NAMES = {"trivial": "no move", "ruled out": "ruled out", "possible": "possible", "unseen": "not seen"}


def draw_bounds(audit: LabelAudit) -> Figure:
    """Bounds in percent, one bar for each subgroup, the smallest on top; the dotted line is the bound of C1."""
    figure = Figure()
    names = [escape_label(member.name) for member in audit.evidence]
    for verdict, colour in _COLOURS.items():
        members = [member for member in audit.evidence if member.verdict == verdict]
        if not members:
            continue
        figure.add_bar(
            name=_NAMES[verdict],
            orientation="h",
            y=[escape_label(member.name) for member in members],
            x=[100 * member.bound for member in members],
            marker={"color": colour},
            error_x={
                "type": "data",
                "array": [100 * member.standard_error for member in members],
                "color": style.INK,
                "thickness": 1.2,
                "width": 4,
            },
            hovertext=[_describe(member) for member in members],
            hoverinfo="text",
        )
    highest = max(100 * (member.bound + member.standard_error) for member in audit.evidence) or 1.0
    for member in audit.evidence:
        figure.add_annotation(
            x=1.01,
            xref="paper",
            y=escape_label(member.name),
            text=f"{100 * member.coverage:.0f} % · {member.seen:,}",
            showarrow=False,
            xanchor="left",
            font={"color": style.MUTED, "size": 12},
        )
    figure.add_annotation(
        x=1.01,
        xref="paper",
        y=1.0,
        yref="paper",
        yanchor="bottom",
        text="coverage · meet",
        showarrow=False,
        xanchor="left",
        font={"color": style.MUTED, "size": 12},
    )
    figure.add_vline(x=100 * audit.base.bound, line={"color": style.MUTED, "width": 1, "dash": "dot"})
    figure.update_layout(base_layout(height=110 + 30 * len(names)), bargap=0.3)
    figure.update_layout(margin={"l": 56, "r": 130, "t": 30, "b": 30}, meta={"min_width": 480})
    figure.update_xaxes(title="error of any invariant classifier, at least (%)", range=[0, 1.08 * highest])
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], showgrid=False)
    return figure


def _describe(member: SubgroupEvidence) -> str:
    lines = [
        f"<b>{escape_label(member.name)}</b>: {escape_label(tell_verdict(member))}",
        f"at least {100 * member.bound:.2f} ± {100 * member.standard_error:.2f} %",
        f"{100 * member.coverage:.1f} % of the samples have another one in their near-orbit",
    ]
    if member.order > 1:
        lines.append(
            f"{member.seen:,} meet another one through a move: {member.contradicting:,} of another label, "
            f"{member.expected:.1f} expected"
        )
    return "<br>".join(lines)
