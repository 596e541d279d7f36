"""Paired differences of test error between two strategies, with intervals and tests that say how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from equimorph.reports.measures import is_share
from equimorph.reports.records import ERROR_RATE

Verdict = Literal["better", "no regret", "worse", "open"]

# A search that loses at most this much, 0.3 points, loses nothing that a user would go back for.
NO_REGRET = 0.003
CONFIDENCE = 0.95

# Errors are multiples of 1 / test samples. To this many digits, differences that are equal on paper are equal here too;
# without it, rounding would break the ties and invent a spread.
_DIGITS = 12


@dataclass(frozen=True)
class Pair:
    """Test error of `first` minus that of `second`, over the seeds where both have one; shares as fractions.

    Attributes:
        n: How many seeds, at least 1.
        mean: Of the differences; negative where `first` is better.
        low: Lower bound of the 95 % interval of the mean; None with one seed.
        high: Its upper bound; None with one seed.
        p_student: Of the two-sided paired t-test; None with one seed.
        p_wilcoxon: Of the two-sided signed-rank test; None with one seed.
        p_holm: `p_student`, corrected for the number of pairs compared; None with one seed.
        metric: What the errors are.
    """

    first: str
    second: str
    n: int
    mean: float
    low: float | None
    high: float | None
    p_student: float | None
    p_wilcoxon: float | None
    p_holm: float | None = None
    metric: str = ERROR_RATE

    @property
    def verdict(self) -> Verdict:
        """How `first` stands to `second`, as far as the interval of `first - second` tells.

        "better": all of it is below 0. "no regret": all of it is at most 0.3 points, so that even a sure loss is small;
        never said of errors that are no shares, where nobody knows what is small. "worse": all of it is above 0, and
        some of it above 0.3 points. "open": anything else, as with a single seed.
        """
        if self.low is None or self.high is None:
            return "open"
        if self.high < 0:
            return "better"
        if self.high <= NO_REGRET and is_share(self.metric):
            return "no regret"
        return "worse" if self.low > 0 else "open"

    def reverse(self) -> Pair:
        """The same of `second - first`."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            mean=-self.mean,
            low=None if self.high is None else -self.high,
            high=None if self.low is None else -self.low,
        )


def compare_pair(first: str, second: str, differences: Sequence[float], *, metric: str = ERROR_RATE) -> Pair:
    """Compare two strategies by their differences d over n seeds.

        mean(d) +- t(0.975, n - 1) * s / sqrt(n),   s^2 = 1/(n - 1) * sum of (d - mean(d))^2

    Differences that are all equal have s = 0, and both formulas are taken to their limit: the interval is a point, and
    p is 1 when they are all 0, else 0.

    Args:
        first: The strategy that is told about.
        second: The one that is subtracted.
        differences: Test error of `first` minus that of `second`, one for each seed; at least one.
        metric: What the errors are.
    Example:
        >>> pair = compare_pair("evolutionary", "static:C4", [-0.01, -0.02, -0.03])
        >>> f"{pair.mean:.3f} [{pair.low:.3f}, {pair.high:.3f}], p {pair.p_student:.3f}, {pair.verdict}"
        '-0.020 [-0.045, 0.005], p 0.074, open'

    Source: Student (1908) for the interval and the test; Wilcoxon (1945) for the signed ranks.
    """
    values = [round(value, _DIGITS) for value in differences]
    mean = fmean(values)
    if len(values) < 2:
        return Pair(first, second, len(values), mean, None, None, None, None, metric=metric)
    if stdev(values) == 0:
        low, high, p_student = mean, mean, 0.0 if mean else 1.0
    else:
        low, high, p_student = _test_mean(values)
    return Pair(first, second, len(values), mean, low, high, p_student, _test_signed_ranks(values), metric=metric)


def correct_by_holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, so that one false finding among all of them stays as unlikely as told.

        p(k) -> max over j <= k of  min(1, (m - j + 1) p(j)),   p(1) <= ... <= p(m)

    Example:
        >>> correct_by_holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    Source: Holm (1979).
    """
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = largest
    return corrected


def _test_mean(values: Sequence[float]) -> tuple[float, float, float]:
    from scipy import stats

    result = stats.ttest_1samp(values, 0.0)  # of differences: the paired test
    low, high = result.confidence_interval(CONFIDENCE)
    return float(low), float(high), float(result.pvalue)


def _test_signed_ranks(values: Sequence[float]) -> float:
    from scipy import stats

    moved = [value for value in values if value != 0]  # Wilcoxon's own way with zeros
    return float(stats.wilcoxon(moved).pvalue) if moved else 1.0
