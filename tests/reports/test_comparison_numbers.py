"""The numbers of a comparison, against values computed by hand."""

import math
import random

import pytest

from equimorph.reports.comparison import compare
from equimorph.reports.comparison.numbers import Box, Spread
from equimorph.reports.comparison.pairs import Pair, compare_pair, correct_by_holm

# Quantile of Student's t at 0.975, from a printed table, by degrees of freedom.
T = {1: 12.7062, 2: 4.3027, 4: 2.7764}


def by_name(comparison):
    return {strategy.name: strategy for strategy in comparison.strategies}


def test_a_strategy_has_mean_and_sample_deviation(row):
    (strategy,) = compare([row("static:C4", seed, error) for seed, error in enumerate((0.04, 0.05, 0.06))]).strategies
    assert strategy.n == 3
    assert strategy.test.mean == pytest.approx(0.05, rel=1e-14)
    assert strategy.test.deviation == pytest.approx(0.01, rel=1e-14)


def test_costs_are_means_and_multiples_of_the_cheapest(row):
    rows = [row("evolutionary", 0, 0.1, samples=200, seconds=4.0, parameters=10)]
    rows += [
        row("evolutionary", 1, 0.1, samples=400, seconds=8.0, parameters=30),
        row("static:C4", 0, 0.1, samples=150),
    ]
    comparison = compare(rows)
    search, fixed = comparison.strategies
    assert (search.samples, search.seconds, search.parameters) == (300, 6.0, 20)
    assert comparison.unit == 150
    assert (comparison.cost(search), comparison.cost(fixed)) == (2.0, 1.0)


def test_a_cost_without_any_sample_has_no_multiple(row):
    comparison = compare([row("static:C4", 0, 0.1, samples=0)])
    assert comparison.cost(comparison.strategies[0]) is None


def test_architectures_are_counted(row):
    rows = [row("evolutionary", seed, 0.1, architecture=found) for seed, found in enumerate(("C4", "D4", "D4", "C1"))]
    assert compare(rows).strategies[0].architectures == (("D4", 2), ("C1", 1), ("C4", 1))


def test_one_seed_has_a_mean_and_nothing_else(row):
    comparison = compare([row("evolutionary", 0, 0.1), row("static:C4", 0, 0.2)])
    assert comparison.strategies[0].test == Spread(0.1, None)
    assert comparison.strategies[0].box is None
    assert comparison.pairs == (Pair("evolutionary", "static:C4", 1, -0.1, None, None, None, None, None),)
    assert comparison.pairs[0].verdict == "open"


def test_a_box_has_its_five_numbers(row):
    (strategy,) = compare([row("static:C4", seed, (1 + seed) / 8) for seed in range(5)]).strategies
    assert strategy.box == Box(1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8)


def test_an_interval_is_that_of_student():
    # d = -0.03, -0.02, -0.01: mean -0.02, s = 0.01.
    pair = compare_pair("a", "b", [-0.03, -0.01, -0.02])
    half = T[2] * 0.01 / math.sqrt(3)
    assert (pair.n, pair.mean) == (3, pytest.approx(-0.02))
    assert (pair.low, pair.high) == (pytest.approx(-0.02 - half, rel=1e-4), pytest.approx(-0.02 + half, rel=1e-4))
    # With 2 degrees of freedom p = 1 - |t| / sqrt(2 + t^2).
    t = 0.02 / (0.01 / math.sqrt(3))
    assert pair.p_student == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-12)


def test_two_seeds_have_a_wide_interval():
    # With 1 degree of freedom t is Cauchy: p = 1 - 2/pi * atan(|t|).
    pair = compare_pair("a", "b", [0.01, 0.03])
    assert pair.high == pytest.approx(0.02 + T[1] * 0.01, rel=1e-4)
    assert pair.p_student == pytest.approx(1 - 2 / math.pi * math.atan(2), rel=1e-12)
    assert pair.p_wilcoxon == 0.5


def test_signed_ranks_of_one_sign_have_the_least_p_there_is():
    assert compare_pair("a", "b", [0.01, 0.02, 0.03, 0.04, 0.05]).p_wilcoxon == pytest.approx(2 / 2**5)


def test_signed_ranks_are_those_of_all_sign_changes():
    # Ranks 1, 2, 3 with signs -, +, +: the positive ones sum to 5, and 4 of 8 sign changes are as far from 3.
    assert compare_pair("a", "b", [-0.01, 0.02, 0.03]).p_wilcoxon == pytest.approx(4 / 8)


def test_ties_that_rounding_would_break_stay_ties():
    broken = [0.3 - 0.2, 0.2 - 0.1, 0.4 - 0.3]
    assert len(set(broken)) > 1
    pair = compare_pair("a", "b", broken)
    assert pair.low == pair.mean == pair.high == pytest.approx(0.1)


def test_equal_errors_are_no_regret_without_a_warning():
    pair = compare_pair("a", "b", [0.0, 0.0, 0.0])
    assert pair == Pair("a", "b", 3, 0.0, 0.0, 0.0, 1.0, 1.0)
    assert pair.verdict == "no regret"


def test_a_difference_without_spread_has_a_point_for_interval():
    pair = compare_pair("a", "b", [-0.01] * 5)
    assert (pair.low, pair.high, pair.p_student, pair.p_wilcoxon) == (-0.01, -0.01, 0.0, 0.0625)


def test_differences_that_are_zero_do_not_count_as_ranks():
    assert compare_pair("a", "b", [0.0, 0.01, 0.02, 0.03]).p_wilcoxon == pytest.approx(2 / 2**3)
    assert compare_pair("a", "b", [0.0, 0.0, 0.02]).p_wilcoxon == 1.0


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.02, -0.0001, "better"),
        (-0.02, 0.0, "no regret"),
        (-0.02, 0.003, "no regret"),
        (0.001, 0.002, "no regret"),
        (-0.02, 0.0031, "open"),
        (0.0, 0.02, "open"),
        (0.0001, 0.02, "worse"),
        (None, None, "open"),
    ],
)
def test_a_verdict_is_what_the_interval_allows(low, high, verdict):
    assert Pair("a", "b", 5, 0.0, low, high, None, None).verdict == verdict


def test_a_reversed_pair_is_that_of_reversed_differences():
    differences = [0.01, 0.03, -0.005]
    there, back = compare_pair("a", "b", differences), compare_pair("b", "a", [-value for value in differences])
    assert there.reverse().first == "b"
    for name in ("n", "mean", "low", "high", "p_student", "p_wilcoxon"):
        assert getattr(there.reverse(), name) == pytest.approx(getattr(back, name), rel=1e-12)


def test_holm_keeps_the_order_and_stays_a_probability():
    assert correct_by_holm([0.04, 0.01, 0.03, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert correct_by_holm([0.9, 0.8]) == [1.0, 1.0]
    assert correct_by_holm([]) == []


def test_every_two_strategies_are_compared_and_corrected_together(compared):
    pairs = compare(compared).pairs
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("static:C1", "static:C4"),
        ("static:C1", "evolutionary"),
        ("static:C4", "evolutionary"),
    ]
    assert [pair.p_holm for pair in pairs] == pytest.approx(correct_by_holm([pair.p_student for pair in pairs]))


def test_pairs_are_over_the_seeds_that_both_have(row):
    rows = [row("a", seed, error) for seed, error in ((0, 0.1), (1, 0.2), (2, 0.4))]
    rows += [row("b", seed, error) for seed, error in ((3, 0.9), (2, 0.2), (1, 0.1))]
    comparison = compare(rows)
    (pair,) = comparison.pairs
    assert (pair.n, pair.mean) == (2, pytest.approx(0.15))
    assert comparison.missing == {"a": (3,), "b": (0,)}


def test_strategies_without_a_common_seed_are_not_compared(row):
    comparison = compare([row("a", 0, 0.1), row("b", 1, 0.2)])
    assert comparison.pairs == ()
    assert comparison.pair("a", "b") is None


def test_a_diverged_run_is_left_out_and_not_missing(row):
    rows = [row("a", 0, 0.1, samples=10), row("a", 1, None, samples=999), row("b", 0, 0.2), row("b", 1, 0.3)]
    comparison = compare(rows)
    first = comparison.strategies[0]
    assert (first.n, first.diverged, first.samples, comparison.missing) == (1, (1,), 10, {})
    assert comparison.pairs[0].n == 1


def test_a_strategy_that_always_diverged_has_no_numbers(row):
    comparison = compare([row("a", 0, None), row("b", 0, 0.2)])
    first = comparison.strategies[0]
    assert (first.n, first.test, first.samples, first.box) == (0, Spread(None, None), None, None)
    assert [strategy.name for strategy in comparison.ranked] == ["b"]


def test_strategies_are_ranked_by_mean_and_kept_in_order(compared):
    comparison = compare(compared)
    assert list(by_name(comparison)) == ["static:C1", "static:C4", "evolutionary"]
    assert [strategy.name for strategy in comparison.ranked] == ["evolutionary", "static:C4", "static:C1"]
    assert [pair.second for pair in comparison.pairs_of(comparison.searches[0])] == ["static:C4", "static:C1"]


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_changes_no_number(compared, seed):
    shuffled = random.Random(seed).sample(compared, len(compared))
    one, other = compare(compared), compare(shuffled)
    assert by_name(one) == by_name(other)
    assert [strategy.test for strategy in one.ranked] == [strategy.test for strategy in other.ranked]
    for first in by_name(one):
        for second in by_name(one):
            assert one.pair(first, second) == other.pair(first, second)


@pytest.mark.parametrize(
    ("name", "is_search"),
    [
        ("evolutionary", True),
        ("evolutionary:40", True),
        ("differentiable", True),
        ("growth", True),
        ("static:C4", False),
        ("x", False),
    ],
)
def test_searches_are_known_by_name(row, name, is_search):
    assert compare([row(name, 0, 0.1)]).strategies[0].is_search is is_search
