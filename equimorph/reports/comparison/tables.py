"""The tables of a comparison: its strategies, every two of them, every run; as HTML, and for a README."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from equimorph.reports.comparison.numbers import Comparison, Strategy
from equimorph.reports.comparison.pairs import Pair
from equimorph.reports.comparison.words import (
    tell_architectures,
    tell_duration,
    tell_interval,
    tell_p,
    tell_points,
    tell_spread,
)
from equimorph.reports.measures import describe_metric, is_share, tell_error
from equimorph.reports.shell import make_table

_STRATEGY = ("strategy", "runs", "architecture", "parameters", "validation error", "test error", "samples", "time")
_PAIR = ("first", "second", "seeds", "difference", "95 % interval", "p (t)", "p (Holm)", "p (Wilcoxon)")
_VERDICT = ("search", "against", *_PAIR[2:], "verdict")
_RUN = ("strategy", "seed", "split", "architecture", "parameters", "validation error", "test error", "samples", "time")
_NUMERIC = {*_STRATEGY, *_PAIR, *_RUN} - {"strategy", "architecture", "first", "second"}
_SIGNIFICANT = 0.05


def make_strategy_table(comparison: Comparison) -> str:
    """One row for each strategy, in the order of the file; the least mean test error stands out."""
    least = comparison.ranked[0].name if comparison.ranked else None
    return make_table(
        _STRATEGY,
        [[escape(cell) for cell in _describe(comparison, strategy)] for strategy in comparison.strategies],
        caption=escape(_explain(comparison)),
        numeric=_NUMERIC,
        marked=[strategy.name == least for strategy in comparison.strategies],
    )


def make_verdict_table(comparison: Comparison) -> str:
    """Each search against each other strategy, with the word for how it stands."""
    pairs = _pairs_of_searches(comparison)
    return make_table(
        _VERDICT,
        [[*_describe_pair(pair), pair.verdict] for pair in pairs],
        caption=_explain_pairs(pairs),
        numeric=_NUMERIC,
    )


def make_pair_table(comparison: Comparison) -> str:
    """Every two strategies, with everything that is computed about them."""
    return make_table(
        _PAIR,
        [_describe_pair(pair) for pair in comparison.pairs],
        caption=_explain_pairs(comparison.pairs),
        numeric=_NUMERIC,
    )


def make_matrix(comparison: Comparison) -> str:
    """Each strategy (row) minus each other (column), from the least mean test error on."""
    ranked = comparison.ranked
    names = [escape(strategy.name) for strategy in ranked]
    rows = [
        [names[index], *(_make_cell(comparison, row, column) for column in ranked)] for index, row in enumerate(ranked)
    ]
    num_tested = sum(pair.p_holm is not None for pair in comparison.pairs)
    points = " in percentage points" if is_share(comparison.metric) else ""
    caption = (
        f"Mean difference of test error{points}, row minus column: negative where the row is better. Below "
        f"it p of the paired t-test, corrected by Holm for {num_tested} pairs; bold where p is below {_SIGNIFICANT}."
    )
    return make_table(["row − column", *names], rows, caption=caption, numeric=names)


def make_run_table(comparison: Comparison) -> str:
    """Every run."""
    rows = [
        [
            escape(row.strategy),
            f"{row.seed}",
            f"{row.split}",
            escape(row.architecture),
            f"{row.parameters:,}",
            tell_error(row.validation_error, row.metric),
            "diverged" if row.test_error is None else tell_error(row.test_error, row.metric),
            f"{row.samples:,}",
            tell_duration(row.seconds),
        ]
        for row in comparison.rows
    ]
    return make_table(_RUN, rows, caption="By strategy and seed.", numeric=_NUMERIC)


def make_markdown(comparison: Comparison) -> str:
    """The table of strategies for a README or a paper, and below it the searches against all that are none."""
    strategies = [_describe(comparison, each) for each in comparison.strategies]
    parts = [*_make_markdown_table(_STRATEGY, strategies), "", _escape_markdown(_explain(comparison)), ""]
    searches = {search.name for search in comparison.searches}
    pairs = [pair for pair in _pairs_of_searches(comparison) if pair.second not in searches]
    if pairs:
        verdicts = [[*_describe_cells(pair), pair.verdict] for pair in pairs]
        parts += [*_make_markdown_table(_VERDICT, verdicts), "", _explain_pairs(pairs), ""]
    return "\n".join(parts)


def _make_markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    marks = ["---:" if name in _NUMERIC else "---" for name in head]
    escaped = [[_escape_markdown(cell) for cell in cells] for cells in rows]
    return [f"| {' | '.join(cells)} |" for cells in (head, marks, *escaped)]


def _pairs_of_searches(comparison: Comparison) -> list[Pair]:
    return [pair for search in comparison.searches for pair in comparison.pairs_of(search)]


def _explain(comparison: Comparison) -> str:
    unit = (
        "" if comparison.unit is None else f" (1 × is {comparison.unit:,.0f} training samples, those of the cheapest)"
    )
    told = f"Mean ± sample standard deviation over the runs; parameters, samples{unit} and time are means."
    return " ".join(filter(None, [told, describe_metric(comparison.metric)]))


def _explain_pairs(pairs: Sequence[Pair]) -> str:
    most = max(pair.n for pair in pairs)
    # All differences have one sign in 2 of 2^n equally likely cases.
    least = 1.0 if most == 1 else 2 / 2**most
    floor = f" With {most} seeds p (Wilcoxon) cannot be below {tell_p(least)}." if 0.001 < least < 1 else ""
    points = "in percentage points, " if is_share(pairs[0].metric) else ""
    return f"Differences, and the bounds of their intervals, are {points}first minus second.{floor}"


def _describe(comparison: Comparison, strategy: Strategy) -> list[str]:
    cost = comparison.cost(strategy)
    diverged = f", {len(strategy.diverged)} diverged" if strategy.diverged else ""
    return [
        strategy.name,
        f"{strategy.n}{diverged}",
        tell_architectures(strategy),
        "–" if strategy.parameters is None else f"{strategy.parameters:,.0f}",
        tell_spread(strategy.validation, strategy.metric),
        tell_spread(strategy.test, strategy.metric),
        "–" if cost is None else f"{cost:.1f} ×",
        tell_duration(strategy.seconds),
    ]


def _describe_pair(pair: Pair) -> list[str]:
    return [escape(cell) for cell in _describe_cells(pair)]


def _describe_cells(pair: Pair) -> list[str]:
    cells = [pair.first, pair.second, f"{pair.n}", tell_points(pair.mean, pair.metric), tell_interval(pair)]
    return cells + [tell_p(value) for value in (pair.p_student, pair.p_holm, pair.p_wilcoxon)]


def _make_cell(comparison: Comparison, row: Strategy, column: Strategy) -> str:
    pair = comparison.pair(row.name, column.name)
    if pair is None:
        return "" if row is column else "–"
    told = tell_points(pair.mean, pair.metric)
    if pair.p_holm is None:
        return told
    is_clear = pair.p_holm < _SIGNIFICANT
    return f"{f'<b>{told}</b>' if is_clear else told}<br><small>p {escape(tell_p(pair.p_holm))}</small>"


def _escape_markdown(text: str) -> str:
    r"""A text that Markdown shows unchanged in a cell of a table.

    Example:
        >>> print(_escape_markdown("a|b <i> *c*"))
        a\|b &lt;i> \*c\*
    """
    escaped = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for sign in "|*`[":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
