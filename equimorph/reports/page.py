"""The page of a run: one HTML file that holds its figures, the code that draws them, and every number as text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from equimorph.reports import style, words
from equimorph.reports.numbers import Numbers, read_numbers
from equimorph.reports.records import Candidate
from equimorph.reports.summary import make_cards, make_header

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


def write(run_folder: str | Path) -> Path:
    """Make the page of a run, finished or not, from what its folder holds.

    Args:
        run_folder: The folder that a search wrote.
    Returns:
        The path of the page, `report.html` in that folder; an older page is replaced.
    Raises:
        RunFolderError: It is not a run folder, or one of its files cannot be understood.
    """
    numbers = read_numbers(run_folder)
    path = Path(run_folder) / "report.html"
    path.write_text(make_page(numbers), encoding="utf-8")
    return path


def make_page(numbers: Numbers) -> str:
    """The whole page as a text."""
    # Here, so that importing the room does not import Plotly.
    from plotly.offline import get_plotlyjs  # type: ignore[attr-defined]

    figures = _make_figures(numbers)
    title = f"{numbers.name}: equimorph {numbers.start.strategy} on {numbers.start.data}"
    scripts = "".join(
        f'<script type="application/json" id="{key}-data">{_as_script_data(figure)}</script>\n'
        for key, (_, _, figure) in figures.items()
    )
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
{make_header(numbers)}
<main>
{make_cards(numbers)}
{"".join(_make_section(key, *shown) for key, shown in figures.items())}
{_make_front_table(numbers)}
{_make_lineage_table(numbers)}
{_make_settings(numbers)}
{_make_environment(numbers)}
</main>
<footer>Made by equimorph from the data in this folder; it needs no network.</footer>
<script>{get_plotlyjs()}</script>
{scripts}<script>{_DRAW}</script>
</body>
</html>
"""


def _make_figures(numbers: Numbers) -> dict[str, tuple[str, str, Figure]]:
    """Heading, caption and figure by key, for those that have something to show."""
    from equimorph.reports import figures

    chosen: dict[str, tuple[str, str, Figure]] = {}
    if len(numbers.trained) > 1:
        chosen["front"] = (
            "Error against size",
            "Each point is a network that was trained; lower is better, and left is smaller. The line joins the front: "
            "no other network of that generation is both smaller and better than one on it.",
            figures.draw_front(numbers),
        )
    if numbers.spans:
        chosen["constraints"] = (
            "Which layer kept which symmetry, and until when",
            "One row for each layer, the input on top, and training from left to right. Where the colour changes to a "
            "lighter one, the layer was relaxed to a smaller group.",
            figures.draw_constraints(numbers),
        )
    if len(numbers.candidates) > 1:
        chosen["tree"] = (
            "Family tree of the candidates",
            "Each network stands in its generation and is joined to the one it came from; darker means a lower "
            "validation error. Filled ones were selected, hollow ones were not.",
            figures.draw_family_tree(numbers),
        )
    if numbers.records.points:
        chosen["curves"] = ("Learning curves", _explain_curves(numbers), figures.draw_learning_curves(numbers))
    return chosen


def _explain_curves(numbers: Numbers) -> str:
    if not numbers.lineage:
        return "Every candidate, until it diverged or the run stopped."
    line = "The strong line follows the best network back to the first."
    if len(numbers.changes) < 2:
        return line
    return (
        f"{line} A dotted line stands where its architecture changed; relaxing keeps the function, so the curves "
        "should not jump there."
    )


def _make_section(key: str, heading: str, caption: str, figure: Figure) -> str:
    # What has many columns scrolls sideways on a phone; everything else shrinks.
    width = (figure.layout.meta or {}).get("min_width", 0)
    return (
        f'<section aria-labelledby="{key}-heading">\n<h2 id="{key}-heading">{heading}</h2>\n<figure>\n'
        f"<figcaption>{caption}</figcaption>\n{_make_legend(figure)}\n"
        f'<div class="scroll"><div class="plot" id="{key}" style="min-width:{width}px" '
        f'role="img" aria-labelledby="{key}-heading"></div></div>\n</figure>\n</section>\n'
    )


def _make_legend(figure: Figure) -> str:
    """One entry for each named trace; the names were escaped when they were given to Plotly."""
    items = []
    for trace in figure.data:
        if not trace.name or trace.showlegend is False:
            continue
        if trace.type == "bar":
            items.append(f'<li><span class="chip" style="background:{trace.marker.color}"></span>{trace.name}</li>')
            continue
        if trace.mode == "lines":
            items.append(f'<li><i class="line" style="color:{trace.line.color}"></i>{trace.name}</li>')
            continue
        colour = trace.marker.color if isinstance(trace.marker.color, str) else style.ERROR_SCALE[1][1]
        sign = _SIGNS[trace.marker.symbol or "circle"]
        items.append(f'<li><i style="color:{colour}" aria-hidden="true">{sign}</i>{trace.name}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _make_front_table(numbers: Numbers) -> str:
    if not numbers.front:
        return ""
    table = _make_table(
        ["candidate", "architecture", "parameters", "validation error"],
        [[f"{member.id}{' · best' if member == numbers.best else ''}", *_describe(member)] for member in numbers.front],
        caption="From the smallest network to the largest.",
        marked=[member == numbers.best for member in numbers.front],
    )
    return f'<section aria-labelledby="table-heading">\n<h2 id="table-heading">The front</h2>\n{table}\n</section>'


def _make_lineage_table(numbers: Numbers) -> str:
    if len(numbers.changes) < 2:
        return ""
    table = _make_table(
        ["epoch", "move", "architecture", "parameters", "validation error"],
        [[f"{member.first_epoch:g}", escape(member.move), *_describe(member)] for member in numbers.changes],
        caption="Each change of architecture along the best lineage, with the error after the training that followed.",
    )
    return _make_details("How the best network came about", table)


def _make_settings(numbers: Numbers) -> str:
    config = numbers.records.config
    return _make_details("Settings", f"<pre>{escape(config)}</pre>") if config.strip() else ""


def _make_environment(numbers: Numbers) -> str:
    if not numbers.records.environment:
        return ""
    rows = [[escape(key), escape(value)] for key, value in numbers.records.environment]
    return _make_details("Environment", _make_table(["what", "value"], rows, caption="Where the run was made."))


def _make_details(summary: str, body: str) -> str:
    return f"<section>\n<details><summary>{summary}</summary>\n{body}\n</details>\n</section>"


def _make_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, marked: Sequence[bool] | None = None
) -> str:
    """A table of escaped cells; columns of numbers stand to the right, marked rows stand out."""
    numeric = {"parameters", "validation error"}
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


def _describe(candidate: Candidate) -> list[str]:
    """Architecture, parameters and validation error, as cells of a table."""
    architecture = escape(words.compact(candidate.constraints)).replace(" ×", "&nbsp;×")
    error = "–" if candidate.error is None else f"{100 * candidate.error:.2f} %"
    return [architecture, f"{candidate.parameters:,}", error]


def _as_script_data(figure: Figure) -> str:
    # Without "<" nothing in a label can end the script element.
    return str(figure.to_json()).replace("<", "\\u003c")
