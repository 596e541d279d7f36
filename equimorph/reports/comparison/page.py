"""The page of a comparison: one HTML file that holds its figures, what draws them, and every number as text."""

from __future__ import annotations

from html import escape
from pathlib import Path

from equimorph.errors import RunFolderError
from equimorph.reports.comparison import tables, words
from equimorph.reports.comparison.numbers import Comparison, compare
from equimorph.reports.comparison.pairs import NO_REGRET
from equimorph.reports.comparison.records import read_rows
from equimorph.reports.measures import describe_metric, is_share
from equimorph.reports.shell import ShownFigure, make_details, make_document, make_figure, make_notice, make_section


def write_comparison(folder: str | Path) -> Path:
    """Make the page of a comparison, finished or not, and its table in Markdown, from its `comparison.csv`.

    Args:
        folder: The folder that holds `comparison.csv`.
    Returns:
        The path of the page, `report.html` in that folder, beside which `table.md` lies; older ones are replaced.
    Raises:
        RunFolderError: The file is missing, has no rows, or cannot be understood.
    """
    folder = Path(folder)
    source = folder / "comparison.csv"
    rows = read_rows(source)
    if not rows:
        raise RunFolderError(f"compare: {source} has no rows yet; a page needs at least one run.")
    comparison = compare(rows)
    path = folder / "report.html"
    path.write_text(make_page(comparison), encoding="utf-8")
    (folder / "table.md").write_text(tables.make_markdown(comparison), encoding="utf-8")
    return path


def make_page(comparison: Comparison) -> str:
    """The whole page as a text."""
    figures = _make_figures(comparison)
    parts = [
        make_section("strategies", "The strategies", tables.make_strategy_table(comparison)),
        "".join(make_figure(key, shown) for key, shown in figures.items()),
        *_make_pairs(comparison),
        make_details("Every run", tables.make_run_table(comparison)),
        make_details("The table in Markdown", f"<pre>{escape(tables.make_markdown(comparison))}</pre>"),
    ]
    title = f"Strategies compared on {comparison.first_row.data}: equimorph"
    return make_document(title, header=_make_header(comparison), parts=parts, figures=figures)


def _make_header(comparison: Comparison) -> str:
    first = comparison.first_row
    tested = {row.test_samples for row in comparison.rows}
    parts = [f"<b>{escape(first.data)}</b>", f"group {escape(first.group)}", escape(first.network)]
    parts.append(f"{len(comparison.strategies)} strategies" if len(comparison.strategies) > 1 else "1 strategy")
    parts.append(words.tell_seeds(comparison.seeds))
    if len(tested) == 1:
        parts.append(f"{first.test_samples:,} test images")
    warnings = "".join(make_notice(escape(warning)) for warning in words.tell_warnings(comparison))
    metric = describe_metric(comparison.metric)
    meaning = f'<p class="whole">{escape(metric)}</p>\n' if metric else ""
    return (
        f'<header>\n<p class="origin">{" · ".join(parts)}</p>\n<h1>{_show(words.tell_headline(comparison))}</h1>\n'
        f'<p class="whole">{_show(words.tell_difference(comparison))}</p>\n{meaning}{warnings}\n</header>'
    )


def _show(sentence: str) -> str:
    """A sentence, escaped, in which no number is parted from its sign."""
    shown = escape(sentence)
    for sign in (" ± ", " %", " = "):
        shown = shown.replace(sign, sign.replace(" ", "&nbsp;"))
    return shown


def _make_figures(comparison: Comparison) -> dict[str, ShownFigure]:
    """Figures by key, for those that have something to show."""
    if not comparison.ranked:
        return {}
    from equimorph.reports.comparison import figures, panels

    chosen = {
        "errors": ShownFigure(
            "Test errors",
            "Each point is a run; lower is better, and the least mean is on top. A box holds the middle half of the "
            "runs with the median inside, its whiskers reach to the outermost ones, and the cross is the mean. "
            "The axis need not begin at 0.",
            figures.draw_errors(comparison),
        ),
        "size": ShownFigure(
            "Error against size",
            "Means over the runs, with one standard deviation up and down; the faint points are the runs. Lower is "
            "better, and left is smaller. The axes need not begin at 0.",
            panels.draw_size(comparison),
        ),
        "cost": ShownFigure(
            "Error against cost",
            "What the whole strategy took, with every network that it trained on the way: training samples above, "
            "wall time below. Wall time depends on the machine and on what else it did.",
            panels.draw_cost(comparison),
        ),
    }
    if any(comparison.pairs_of(search) for search in comparison.searches):
        chosen["differences"] = ShownFigure(
            "What the searches gain or lose",
            _explain_verdicts(comparison.metric),
            figures.draw_differences(comparison),
            tables.make_verdict_table(comparison),
        )
    return chosen


def _explain_verdicts(metric: str) -> str:
    limit = f"{100 * NO_REGRET:g} points"
    no_regret = f" “No regret”: it ends at or before {limit}, the dotted line." if is_share(metric) else ""
    return (
        "Test error of a search minus that of another strategy, seed by seed; left of 0 the search is better. "
        f"“Better” and “worse”: the whole interval lies on that side of 0.{no_regret} "
        "“Open”: neither can be said. Intervals are for one comparison at a time."
    )


def _make_pairs(comparison: Comparison) -> list[str]:
    if not comparison.pairs:
        return []
    return [
        make_section("pairs", "Every two strategies", tables.make_matrix(comparison)),
        make_details("Every two strategies in full", tables.make_pair_table(comparison)),
    ]
