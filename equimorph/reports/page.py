"""The page of a run: one HTML file that holds its figures, the code that draws them, and every number as text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from equimorph.reports import style, words
from equimorph.reports.numbers import Candidate, Numbers, read_numbers

if TYPE_CHECKING:
    import plotly.graph_objects as go

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
    from plotly.offline import get_plotlyjs  # here, so that importing the room does not import Plotly

    figures = _figures(numbers)
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
{_header(numbers)}
<main>
{_cards(numbers)}
{"".join(_figure(key, *shown) for key, shown in figures.items())}
{_front_table(numbers)}
{_lineage_table(numbers)}
{_settings(numbers)}
{_environment(numbers)}
</main>
<footer>Made by equimorph from the data in this folder; it needs no network.</footer>
<script>{get_plotlyjs()}</script>
{scripts}<script>{_DRAW}</script>
</body>
</html>
"""


def _figures(numbers: Numbers) -> dict[str, tuple[str, str, go.Figure]]:
    """Heading, caption and figure by key, for those that have something to show."""
    from equimorph.reports import figures

    chosen: dict[str, tuple[str, str, go.Figure]] = {}
    if len(numbers.trained) > 1:
        chosen["front"] = (
            "Error against size",
            "Each point is a network that was trained; lower is better, and left is smaller. The line joins the front of "
            "the final generation: no other network of that generation is both smaller and better than one of these.",
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
        chosen["curves"] = (
            "Learning curves",
            _told_curves(numbers),
            figures.draw_learning_curves(numbers),
        )
    return chosen


def _told_curves(numbers: Numbers) -> str:
    if not numbers.lineage:
        return "Every candidate, until it diverged or the run stopped."
    line = "The strong line follows the best network back to the first."
    if len(numbers.changes) < 2:
        return line
    return (
        f"{line} A dotted line stands where its architecture changed; relaxing keeps the function, so the curves should "
        "not jump there."
    )


def _header(numbers: Numbers) -> str:
    start, best = numbers.start, numbers.best
    parts = (("training", start.num_train), ("validation", start.num_validation), ("test", start.num_test))
    sizes = ", ".join(f"{count:,} {part}" for part, count in parts if count)
    origin = (
        f"<b>{escape(numbers.name)}</b> · {escape(start.strategy)} · group {escape(start.group)} · "
        f"{escape(start.data)}: {sizes} {words.describe_inputs(numbers)}"
    )
    if best is None:
        headline, body = "The run did not end.", ""
    else:
        headline = words.describe_architecture(start.sites, best.constraints)
        body = f'<p class="whole">{escape(words.describe_whole(numbers))}</p>\n{_strip(numbers, best)}\n{_meanings(numbers, best)}'
    notice = ""
    if not numbers.is_finished:
        reason = escape(words.explain_missing_result(numbers))
        so_far = " What follows is the state so far." if best is not None else ""
        lead = "<b>The run did not end.</b> " if best is not None else ""
        notice = f'<div class="notice" role="status"><p>{lead}{reason}{so_far}</p></div>'
    return f'<header>\n<p class="origin">{origin}</p>\n<h1>{escape(headline)}</h1>\n{notice}\n{body}\n</header>'


def _strip(numbers: Numbers, best: Candidate) -> str:
    colours = style.subgroup_colours(list(numbers.subgroups))
    cells = (
        f'<li title="{escape(site)}"><span style="background:{colours[name]};color:{style.ink_on(colours[name])}">'
        f"{escape(name)}</span><small>{'head' if words.is_head(site) else depth}</small></li>"
        for depth, (site, name) in enumerate(zip(numbers.start.sites, best.constraints, strict=True), start=1)
    )
    longest = max(4, *map(len, best.constraints))
    return f'<ol class="sites" style="--cell:{longest + 1.5}ch" aria-label="The group that each layer keeps, from the input on">{"".join(cells)}</ol>'


def _meanings(numbers: Numbers, best: Candidate) -> str:
    colours = style.subgroup_colours(list(numbers.subgroups))
    items = []
    for name in reversed(numbers.subgroups):
        if name in best.constraints:
            meaning = words.explain(name, numbers.subgroups[name])
            chip = f'<span class="chip" style="background:{colours[name]}"></span>'
            items.append(f"<li>{chip}<b>{escape(name)}</b>{f' {escape(meaning)}' if meaning else ''}</li>")
    return f'<ul class="groups" aria-label="What the groups mean">{"".join(items)}</ul>'


def _cards(numbers: Numbers) -> str:
    if not numbers.candidates:
        return ""
    cards = [_error_card(numbers), _size_card(numbers), _tried_card(numbers), _cost_card(numbers)]
    return '<dl class="cards">\n' + "\n".join(
        f'<div class="card"><dt>{label}</dt><dd>{value}<small>{detail}</small></dd></div>' for label, value, detail in cards
    ) + "\n</dl>"


def _error_card(numbers: Numbers) -> tuple[str, str, str]:
    error, best = numbers.test_error, numbers.best
    if error is None:
        if best is None or best.error is None:
            return "Test error", "–", "not measured"
        return "Validation error", f"{100 * best.error:.2f} %", "of the best so far; the test error is measured at the end"
    detail = []
    if numbers.test_standard_error is not None:
        tested = f"{numbers.start.num_test:,} test {words.describe_inputs(numbers)}"
        # With no error at all, the estimate of the standard error says nothing.
        detail.append(f"± {100 * numbers.test_standard_error:.2f} on {tested}" if error else f"none of {tested} wrong")
    if best is not None and best.error is not None:
        detail.append(f"{100 * best.error:.2f} % in validation")
    return "Test error", f"{100 * error:.2f} %", "; ".join(detail)


def _size_card(numbers: Numbers) -> tuple[str, str, str]:
    first, best = numbers.first, numbers.best
    if best is None or first is None:
        return "Parameters", f"{first.parameters:,}" if first else "–", "in the first network"
    began = f"{escape(first.constraints[0])} in every layer" if len(set(first.constraints)) == 1 else "the first network"
    if best.constraints == first.constraints:
        return "Parameters", f"{best.parameters:,}", f"the architecture that the run began with, {began}"
    ratio = f"{best.parameters / first.parameters:.2f} × " if first.parameters else ""
    return "Parameters", f"{best.parameters:,}", f"{ratio}the {first.parameters:,} of the start, {began}"


def _tried_card(numbers: Numbers) -> tuple[str, str, str]:
    generations = len({candidate.generation for candidate in numbers.candidates})
    diverged = sum(candidate.diverged for candidate in numbers.candidates)
    detail = f"{_counted(len(numbers.candidates), 'candidate')} in {_counted(generations, 'generation')}"
    return "Architectures tried", f"{numbers.num_architectures:,}", detail + (f", {diverged} diverged" if diverged else "")


def _cost_card(numbers: Numbers) -> tuple[str, str, str]:
    cost, seconds = numbers.cost_in_trainings, numbers.wall_seconds
    detail = f"{_counted(numbers.samples, 'training sample')}" + ("" if seconds is None else f", {_duration(seconds)}")
    if cost is None:
        return "Cost", f"{numbers.samples:,}", detail
    return "Cost", f"{cost:.1f} ×", f"one full training of one network: {detail}"


def _figure(key: str, heading: str, caption: str, figure: go.Figure) -> str:
    # What has many columns scrolls sideways on a phone; everything else shrinks.
    width = (figure.layout.meta or {}).get("min_width", 0)
    return (
        f'<section aria-labelledby="{key}-heading">\n<h2 id="{key}-heading">{heading}</h2>\n<figure>\n'
        f"<figcaption>{caption}</figcaption>\n{_legend(figure)}\n"
        f'<div class="scroll"><div class="plot" id="{key}" style="min-width:{width}px" '
        f'role="img" aria-labelledby="{key}-heading"></div></div>\n</figure>\n</section>\n'
    )


def _legend(figure: go.Figure) -> str:
    """One entry for each named trace; the names were escaped when they were given to Plotly."""
    items = []
    for trace in figure.data:
        if not trace.name or trace.showlegend is False:
            continue
        if trace.type == "bar":
            items.append(f'<li><span class="chip" style="background:{trace.marker.color}"></span>{trace.name}</li>')
            continue
        sign = "━" if trace.mode == "lines" else _SIGNS.get(trace.marker.symbol or "circle", "●")
        colour = trace.line.color if trace.mode == "lines" else trace.marker.color
        colour = colour if isinstance(colour, str) else style.ERROR_SCALE[1][1]
        items.append(f'<li><i style="color:{colour}" aria-hidden="true">{sign}</i>{trace.name}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _front_table(numbers: Numbers) -> str:
    if not numbers.front:
        return ""
    rows = [
        (
            "best" if member == numbers.best else "",
            [
                f"{member.id}{' · best' if member == numbers.best else ''}",
                _architecture(member),
                f"{member.parameters:,}",
                _error(member),
            ],
        )
        for member in numbers.front
    ]
    head = ["candidate", "architecture", "parameters", "validation error"]
    return (
        '<section aria-labelledby="table-heading">\n<h2 id="table-heading">The front</h2>\n'
        + _table(head, rows, caption="From the smallest network to the largest; the best by validation error stands out.")
        + "\n</section>"
    )


def _lineage_table(numbers: Numbers) -> str:
    if len(numbers.changes) < 2:
        return ""
    rows = [
        (
            "",
            [
                f"{member.first_epoch:g}",
                escape(member.move),
                _architecture(member),
                f"{member.parameters:,}",
                _error(member),
            ],
        )
        for member in numbers.changes
    ]
    head = ["epoch", "move", "architecture", "parameters", "validation error"]
    return (
        "<section>\n<details><summary>How the best network came about</summary>\n"
        + _table(head, rows, caption="Each change of architecture along the best lineage; errors after that generation's training.")
        + "\n</details>\n</section>"
    )


def _settings(numbers: Numbers) -> str:
    config = numbers.records.config
    if not config.strip():
        return ""
    return f"<section>\n<details><summary>Settings</summary>\n<pre>{escape(config)}</pre>\n</details>\n</section>"


def _environment(numbers: Numbers) -> str:
    if not numbers.records.environment:
        return ""
    rows = [("", [escape(key), escape(value)]) for key, value in numbers.records.environment]
    return (
        "<section>\n<details><summary>Environment</summary>\n"
        + _table(["what", "value"], rows, caption="Where the run was made.")
        + "\n</details>\n</section>"
    )


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], *, caption: str) -> str:
    """A table of escaped cells; each row comes with its class. Columns of numbers stand to the right."""
    numeric = {"parameters", "validation error"}
    classes = [' class="number"' if name in numeric else "" for name in head]
    titles = "".join(f'<th scope="col"{kind}>{name}</th>' for kind, name in zip(classes, head, strict=True))
    body = "\n".join(
        f'<tr class="{row_class}">' + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(classes, cells, strict=True)) + "</tr>"
        for row_class, cells in rows
    )
    return (
        f'<div class="scroll"><table>\n<caption>{caption}</caption>\n<thead><tr>{titles}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _architecture(candidate: Candidate) -> str:
    return escape(words.compact(candidate.constraints)).replace(" ×", "&nbsp;×")


def _error(candidate: Candidate) -> str:
    return "–" if candidate.error is None else f"{100 * candidate.error:.2f} %"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _as_script_data(figure: go.Figure) -> str:
    # Without "<" nothing in a label can end the script element.
    return str(figure.to_json()).replace("<", "\\u003c")
