"""The frame of a page and what it is filled with: sections, figures with their legends, tables.

A page is one HTML file that holds its figures and the code that draws them, and loads nothing. Whoever fills it has
escaped every text that came from a file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from equimorph.reports import style

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[attr-defined]

# Whatever a label may hold, a browser loads nothing from elsewhere for this page.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"

_SIGNS = {"circle": "●", "circle-open": "○", "x": "✖", "star": "★"}

_DRAW = """
for (const holder of document.querySelectorAll(".plot")) {
  const figure = JSON.parse(document.getElementById(holder.id + "-data").textContent);
  Plotly.newPlot(holder, figure.data, figure.layout, {
    responsive: true, displaylogo: false, displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  });
}
"""


class ShownFigure(NamedTuple):
    """A figure under its heading, with a caption; `more` is HTML that follows it."""

    heading: str
    caption: str
    figure: Figure
    more: str = ""


def make_document(title: str, *, header: str, parts: Sequence[str], figures: Mapping[str, ShownFigure]) -> str:
    """The whole page as a text.

    Args:
        title: Plain text, which is escaped here.
        header: What stands above the sections, as HTML.
        parts: What the page holds, from top to bottom, as HTML; it has a section for each of `figures`.
        figures: By the key that `make_figure` got.
    """
    # Here, so that importing the room does not import Plotly.
    from plotly.offline import get_plotlyjs  # type: ignore[attr-defined]

    scripts = "".join(
        f'<script type="application/json" id="{key}-data">{_as_script_data(shown.figure)}</script>\n'
        for key, shown in figures.items()
    )
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style.STYLE_SHEET}</style>
</head>
<body>
{header}
<main>
{body}
</main>
<footer>Made by equimorph from the data in this folder; it needs no network.</footer>
<script>{get_plotlyjs()}</script>
{scripts}<script>{_DRAW}</script>
</body>
</html>
"""


def make_figure(key: str, shown: ShownFigure) -> str:
    """The section that holds a figure; `key` names its place in the page."""
    # What has many columns scrolls sideways on a phone; everything else shrinks.
    width = (shown.figure.layout.meta or {}).get("min_width", 0)
    return (
        f'<section aria-labelledby="{key}-heading">\n<h2 id="{key}-heading">{shown.heading}</h2>\n<figure>\n'
        f"<figcaption>{shown.caption}</figcaption>\n{_make_legend(shown.figure)}\n"
        f'<div class="scroll"><div class="plot" id="{key}" style="min-width:{width}px" '
        f'role="img" aria-labelledby="{key}-heading"></div></div>\n</figure>\n{shown.more}</section>\n'
    )


def make_section(key: str, heading: str, body: str) -> str:
    """A section under a heading."""
    return f'<section aria-labelledby="{key}-heading">\n<h2 id="{key}-heading">{heading}</h2>\n{body}\n</section>'


def make_details(summary: str, body: str) -> str:
    """A section that a reader opens."""
    return f"<section>\n<details><summary>{summary}</summary>\n{body}\n</details>\n</section>"


def make_notice(text: str) -> str:
    """A sentence that must not be missed."""
    return f'<div class="notice" role="status"><p>{text}</p></div>'


def make_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    numeric: Collection[str] = (),
    marked: Sequence[bool] | None = None,
) -> str:
    """A table of escaped cells; the columns named in `numeric` stand to the right, marked rows stand out.

    Example:
        >>> print(make_table(["group", "order"], [["D4", "8"]], caption="One.", numeric={"order"}))
        <div class="scroll"><table>
        <caption>One.</caption>
        <thead><tr><th scope="col">group</th><th scope="col" class="number">order</th></tr></thead>
        <tbody>
        <tr><td>D4</td><td class="number">8</td></tr>
        </tbody>
        </table></div>
    """
    kinds = [' class="number"' if name in numeric else "" for name in head]
    titles = "".join(f'<th scope="col"{kind}>{name}</th>' for kind, name in zip(kinds, head, strict=True))
    lines = []
    for cells, is_marked in zip(rows, marked or [False] * len(rows), strict=True):
        filled = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, cells, strict=True))
        lines.append(f'<tr class="best">{filled}</tr>' if is_marked else f"<tr>{filled}</tr>")
    body = "\n".join(lines)
    return (
        f'<div class="scroll"><table>\n<caption>{caption}</caption>\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _make_legend(figure: Figure) -> str:
    """One entry for each named trace; the names were escaped when they were given to Plotly."""
    items = []
    for trace in figure.data:
        if not trace.name or trace.showlegend is False:
            continue
        if trace.type == "bar" or trace.stackgroup:
            colour = trace.marker.color if trace.type == "bar" else trace.fillcolor
            items.append(f'<li><span class="chip" style="background:{colour}"></span>{trace.name}</li>')
            continue
        if trace.mode == "lines":
            items.append(f'<li><i class="line" style="color:{trace.line.color}"></i>{trace.name}</li>')
            continue
        colour = trace.marker.color if isinstance(trace.marker.color, str) else style.ERROR_SCALE[1][1]
        sign = _SIGNS[trace.marker.symbol or "circle"]
        items.append(f'<li><i style="color:{colour}" aria-hidden="true">{sign}</i>{trace.name}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _as_script_data(figure: Figure) -> str:
    # Without "<" nothing in a label can end the script element.
    return str(figure.to_json()).replace("<", "\\u003c")
