"""The figure of class balance: for each class a bar for each split, as long as its share of the split.

Every text that comes from the data is escaped, as in `equimorph.reports.figures`.
"""

from __future__ import annotations

from plotly.graph_objects import Figure  # type: ignore[attr-defined]

from equimorph.reports import style
from equimorph.reports.axes import base_layout, escape_label, in_percent
from equimorph.reports.confusion_figure import shorten_name
from equimorph.reports.dataset.show_numbers import SPLITS, Show

_COLOURS = {"train": "#2b3a8c", "validation": "#41a9c2", "test": "#a9b3c4"}
_ROWS = ((12, 54), (30, 33), (10**9, 21))  # up to so many classes: the height of one, pixels
_MOST_WRITTEN = 30  # classes whose counts stand beside the bars


def draw_balance(show: Show) -> Figure:
    """Share of each split (%) that each class has, the first class on top, with the counts while there are few."""
    classes = show.data.classes
    height = next(pixels for most, pixels in _ROWS if len(classes) <= most)
    is_written = len(classes) <= _MOST_WRITTEN
    figure = Figure()
    for split in SPLITS:
        counts, shares = show.counts[split], show.shares(split)
        figure.add_bar(
            name=split,
            orientation="h",
            x=[in_percent(share) for share in shares],
            y=list(range(len(classes))),
            marker={"color": _COLOURS[split]},
            text=[f"{count:,}" for count in counts] if is_written else None,
            textposition="outside",
            textangle=0,
            textfont={"size": 11 if height > 40 else 9, "color": style.MUTED},
            cliponaxis=False,
            hovertext=[
                f"<b>{escape_label(name)}</b><br>{split}: {count:,} samples, {100 * share:.1f} %"
                for name, count, share in zip(classes, counts, shares, strict=True)
            ],
            hoverinfo="text",
        )
    longest = max(share for split in SPLITS for share in show.shares(split))
    figure.update_layout(base_layout(height=70 + height * len(classes)), barmode="group", bargap=0.22, bargroupgap=0.08)
    figure.update_layout(margin={"r": 40}, meta={"min_width": 420})
    figure.update_xaxes(title="share of the split (%)", range=[0, 106 * longest], zeroline=False)
    figure.update_yaxes(
        tickvals=list(range(len(classes))),
        ticktext=[escape_label(shorten_name(name)) for name in classes],
        tickfont={"color": style.INK, "size": 13 if height > 30 else 11},
        range=[len(classes) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
    return figure
