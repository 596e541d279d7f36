"""A comparison in words: who has the least error and how surely, and what a reader must know before believing it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from equimorph.reports.comparison.numbers import Comparison, Spread, Strategy
from equimorph.reports.comparison.pairs import Pair
from equimorph.reports.measures import is_share, name_metric, tell_error
from equimorph.reports.records import ERROR_RATE

# With fewer, the bounds of an interval are more than 3 standard errors away.
_FEW_SEEDS = 5


def tell_spread(spread: Spread, metric: str = ERROR_RATE) -> str:
    """Mean and standard deviation of errors, of shares in percent.

    Example:
        >>> tell_spread(Spread(0.046, 0.004)), tell_spread(Spread(0.046, None)), tell_spread(Spread(0.5, 0.25), "loss")
        ('4.60 ± 0.40 %', '4.60 %', '0.5 ± 0.25')
    """
    if spread.mean is None or spread.deviation is None:
        return tell_error(spread.mean, metric)
    if not is_share(metric):
        return f"{tell_error(spread.mean, metric)} ± {tell_error(spread.deviation, metric)}"
    return f"{100 * spread.mean:.2f} ± {100 * spread.deviation:.2f} %"


def tell_points(difference: float | None, metric: str = ERROR_RATE) -> str:
    """A difference of errors with its sign, of shares in percentage points.

    Example:
        >>> tell_points(-0.0042), tell_points(0.0042), tell_points(-0.00001), tell_points(-0.0042, "loss")
        ('−0.42', '+0.42', '0.00', '−0.0042')
    """
    if difference is None:
        return "–"
    if not is_share(metric):
        return f"{difference:+.4g}".replace("-", "−") if difference else "0"
    told = f"{100 * difference:+.2f}"
    return "0.00" if float(told) == 0 else told.replace("-", "−")


def tell_interval(pair: Pair) -> str:
    """The 95 % interval of a pair, of shares in percentage points."""
    if pair.low is None:
        return "–"
    return f"{tell_points(pair.low, pair.metric)} to {tell_points(pair.high, pair.metric)}"


def tell_p(value: float | None) -> str:
    """A p-value, to three digits.

    Example:
        >>> tell_p(0.0471), tell_p(0.0002), tell_p(None)
        ('0.047', '< 0.001', '–')
    """
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def tell_duration(seconds: float | None) -> str:
    """A duration in the unit that suits it.

    Example:
        >>> tell_duration(42.0), tell_duration(600.0), tell_duration(9000.0)
        ('42 s', '10.0 min', '2.5 h')
    """
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def tell_seeds(seeds: Sequence[int]) -> str:
    """Seeds by number; a row of them by its ends.

    Example:
        >>> tell_seeds([0, 1, 2, 3]), tell_seeds([0, 1, 5]), tell_seeds([7])
        ('seeds 0 to 3', 'seeds 0, 1 and 5', 'seed 7')
    """
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if len(seeds) > 2 and all(later == earlier + 1 for earlier, later in pairwise(seeds)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds[:-1]))} and {seeds[-1]}"


def tell_architectures(strategy: Strategy) -> str:
    """The architectures found; with more than one, how often each was."""
    found = strategy.architectures
    if len(found) == 1:
        return found[0][0] or "–"
    return "; ".join(f"{count} of {strategy.n}: {name or 'not told'}" for name, count in found) or "–"


def name_error(comparison: Comparison, *, has_unit: bool = False) -> str:
    """The test error, with its unit where asked for, and with what it is unless that is a share of samples."""
    unit = "%" if has_unit and is_share(comparison.metric) else ""
    told = ", ".join(filter(None, [name_metric(comparison.metric), unit]))
    return f"test error ({told})" if told else "test error"


def tell_headline(comparison: Comparison) -> str:
    """Which strategy has the least mean test error, and whether that is more than chance."""
    if not comparison.ranked:
        return "No run has a test error yet."
    best, *others = comparison.ranked
    error = name_error(comparison)
    over = "with one seed" if best.n == 1 else f"over {best.n} seeds"
    so_far = "so far " if comparison.missing else ""
    if not others:
        return f"{best.name} {so_far}has a mean {error} of {tell_spread(best.test, best.metric)} {over}."
    led = f"{best.name} {so_far}has the least mean {error}, {tell_spread(best.test, best.metric)} {over}"
    return f"{led}; {_tell_lead(best, others[0], comparison.pair(best.name, others[0].name))}."


def _tell_lead(best: Strategy, second: Strategy, pair: Pair | None) -> str:
    if pair is None:
        return f"it shares no seed with the next, {second.name}, so the two cannot be compared"
    if pair.low is None or pair.high is None:
        return f"one seed cannot tell it from {second.name}"
    if pair.high < 0:
        return f"its lead over {second.name} is clear, for the 95 % interval leaves out 0"
    if pair.low > 0:
        return f"but on the seeds that both have, {second.name} does better"
    if best.test.mean == second.test.mean:
        return f"{second.name} has the same"
    return f"its lead over {second.name} is not clear, for the 95 % interval holds 0"


def tell_difference(comparison: Comparison) -> str:
    """The numbers behind the headline, in one sentence; empty where two strategies cannot be compared."""
    if len(comparison.ranked) < 2:
        return ""
    best, second, *_ = comparison.ranked
    pair = comparison.pair(best.name, second.name)
    if pair is None:
        return ""
    shared = "one seed" if pair.n == 1 else f"{pair.n} seeds"
    points = " percentage points" if is_share(pair.metric) else ""
    told = f"{best.name} minus {second.name}, on the {shared} of both: {tell_points(pair.mean, pair.metric)}{points}"
    if pair.low is None:
        return f"{told}."
    return f"{told}, 95 % interval {tell_interval(pair)}, p = {tell_p(pair.p_student)} before any correction.".replace(
        "p = <", "p <"
    )


def tell_warnings(comparison: Comparison) -> list[str]:
    """What makes the numbers weaker than they look, one sentence each."""
    warnings = []
    if comparison.missing:
        lacking = "; ".join(f"{name} lacks {tell_seeds(seeds)}" for name, seeds in comparison.missing.items())
        warnings.append(
            f"The comparison is not finished: {lacking}. Means are over different seeds; differences are over those "
            "that both strategies have."
        )
    for strategy in comparison.strategies:
        if strategy.diverged:
            seeds = tell_seeds(strategy.diverged)
            warnings.append(f"{strategy.name} diverged with {seeds}; its numbers leave that out, which flatters it.")
    if len(comparison.seeds) < _FEW_SEEDS:
        count = len(comparison.seeds)
        seeds = "Only one seed: there are no intervals" if count == 1 else f"Few seeds ({count}): intervals are wide"
        warnings.append(f"{seeds}. From {_FEW_SEEDS} on, they begin to tell strategies apart.")
    return warnings
