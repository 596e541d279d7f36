"""The numbers of a comparison, computed from its rows before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean, quantiles, stdev

from equimorph.reports.comparison.pairs import Pair, compare_pair, correct_by_holm
from equimorph.reports.comparison.records import Row

_SEARCHES = ("evolutionary", "differentiable", "growth")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation, with n - 1 below; one value has no deviation, and none has no mean."""

    mean: float | None
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Measure values, in any order: both sums are exact.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0]), Spread.of([4.0])
            (Spread(mean=2.0, deviation=1.0), Spread(mean=4.0, deviation=None))
        """
        return cls(fmean(values) if values else None, stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Box:
    """The five numbers of a box plot; quartiles are interpolated linearly."""

    least: float
    lower_quartile: float
    median: float
    upper_quartile: float
    most: float


@dataclass(frozen=True)
class Strategy:
    """The runs of one strategy, by seed. What is told of them leaves out the runs that diverged; errors are of
    the rows' metric, shares as fractions.

    Args:
        name: As the rows have it.
        rows: Its runs in the order of their seeds, diverged ones too.
    """

    name: str
    rows: tuple[Row, ...]

    @property
    def is_search(self) -> bool:
        """Whether it finds its architecture, rather than being given one."""
        return self.name.startswith(_SEARCHES)

    @property
    def metric(self) -> str:
        """What its errors are."""
        return self.rows[0].metric

    @cached_property
    def measured(self) -> tuple[Row, ...]:
        """The runs that have a test error."""
        return tuple(row for row in self.rows if row.test_error is not None)

    @property
    def n(self) -> int:
        """How many runs have a test error."""
        return len(self.measured)

    @cached_property
    def test_errors(self) -> Mapping[int, float]:
        """Test error by seed."""
        return {row.seed: row.test_error for row in self.rows if row.test_error is not None}

    @cached_property
    def test(self) -> Spread:
        """Of the test errors."""
        return Spread.of(list(self.test_errors.values()))

    @cached_property
    def validation(self) -> Spread:
        """Of the validation errors."""
        return Spread.of([row.validation_error for row in self.measured if row.validation_error is not None])

    @cached_property
    def parameters(self) -> float | None:
        """Mean."""
        return Spread.of([row.parameters for row in self.measured]).mean

    @cached_property
    def samples(self) -> float | None:
        """Mean of the training samples processed."""
        return Spread.of([row.samples for row in self.measured]).mean

    @cached_property
    def seconds(self) -> float | None:
        """Mean wall time."""
        return Spread.of([row.seconds for row in self.measured]).mean

    @cached_property
    def architectures(self) -> tuple[tuple[str, int], ...]:
        """What was found and how often, the most frequent first."""
        counts = Counter(row.architecture for row in self.measured)
        return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def diverged(self) -> tuple[int, ...]:
        """The seeds of the runs that have no test error."""
        return tuple(row.seed for row in self.rows if row.test_error is None)

    @cached_property
    def box(self) -> Box | None:
        """Of the test errors; None with fewer than two."""
        errors = list(self.test_errors.values())
        if len(errors) < 2:
            return None
        lower, median, upper = quantiles(errors, n=4, method="inclusive")
        return Box(min(errors), lower, median, upper, max(errors))


@dataclass(frozen=True)
class Comparison:
    """What a page tells about a comparison.

    Args:
        strategies: In the order of their first rows.
        pairs: Every two of them that share a seed, the earlier one first.
    """

    strategies: tuple[Strategy, ...]
    pairs: tuple[Pair, ...]

    @property
    def first_row(self) -> Row:
        """A row that has what all rows have in common."""
        return self.strategies[0].rows[0]

    @property
    def metric(self) -> str:
        """What all errors are, as the rows have it."""
        return self.first_row.metric

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All runs, strategy by strategy and seed by seed."""
        return tuple(row for strategy in self.strategies for row in strategy.rows)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that any strategy has."""
        return tuple(sorted({row.seed for row in self.rows}))

    @cached_property
    def missing(self) -> Mapping[str, tuple[int, ...]]:
        """By strategy, the seeds that others have and it has not; diverged runs are not missing."""
        had = {strategy.name: {row.seed for row in strategy.rows} for strategy in self.strategies}
        lacks = {name: tuple(seed for seed in self.seeds if seed not in seeds) for name, seeds in had.items()}
        return {name: seeds for name, seeds in lacks.items() if seeds}

    @cached_property
    def ranked(self) -> tuple[Strategy, ...]:
        """The strategies that have a test error, from the least mean on."""
        means = [(strategy.test.mean, strategy.name, strategy) for strategy in self.strategies]
        known = [(mean, name, strategy) for mean, name, strategy in means if mean is not None]
        return tuple(strategy for _, _, strategy in sorted(known, key=lambda item: item[:2]))

    @cached_property
    def searches(self) -> tuple[Strategy, ...]:
        """The strategies that find their architecture and have a test error."""
        return tuple(strategy for strategy in self.strategies if strategy.is_search and strategy.n)

    @cached_property
    def unit(self) -> float | None:
        """Samples that the cheapest strategy processes in the mean; None when no run has a test error."""
        return min((strategy.samples for strategy in self.strategies if strategy.samples is not None), default=None)

    def cost(self, strategy: Strategy) -> float | None:
        """Mean samples of a strategy as a multiple of `unit`."""
        return strategy.samples / self.unit if strategy.samples is not None and self.unit else None

    def pair(self, first: str, second: str) -> Pair | None:
        """The comparison of two strategies, `first - second`; None when they share no seed."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair
            if (pair.second, pair.first) == (first, second):
                return pair.reverse()
        return None

    def pairs_of(self, strategy: Strategy) -> tuple[Pair, ...]:
        """A strategy against each other one, from the one with the least mean test error on."""
        found = [self.pair(strategy.name, other.name) for other in self.ranked if other.name != strategy.name]
        return tuple(pair for pair in found if pair is not None)


def compare(rows: Iterable[Row]) -> Comparison:
    """Compute what there is to tell of rows; their order decides nothing but the order of the strategies.

    Args:
        rows: At least one, as `read_rows` checks them.
    """
    by_strategy: dict[str, list[Row]] = {}
    for row in rows:
        by_strategy.setdefault(row.strategy, []).append(row)
    strategies = tuple(
        Strategy(name, tuple(sorted(members, key=lambda row: row.seed))) for name, members in by_strategy.items()
    )
    return Comparison(strategies, tuple(_compare_all(strategies)))


def _compare_all(strategies: Sequence[Strategy]) -> list[Pair]:
    pairs = []
    for first, second in combinations(strategies, 2):
        shared = [seed for seed in first.test_errors if seed in second.test_errors]
        if shared:
            differences = [first.test_errors[seed] - second.test_errors[seed] for seed in shared]
            pairs.append(compare_pair(first.name, second.name, differences, metric=first.metric))
    tested = [pair.p_student for pair in pairs if pair.p_student is not None]
    corrected = iter(correct_by_holm(tested))
    return [pair if pair.p_student is None else replace(pair, p_holm=next(corrected)) for pair in pairs]
