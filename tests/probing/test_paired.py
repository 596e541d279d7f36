"""Paired differences: their mean, its standard error, and how rarely a rule made of them is wrong."""

import math

import pytest
import torch
from scipy import stats

from equimorph.probing import compare, limit


def test_z_is_the_paired_t_statistic():
    one, other = torch.randn(2, 50, dtype=torch.float64)
    assert compare(one - other).z == pytest.approx(stats.ttest_rel(one, other).statistic)


def test_clusters_count_as_one_observation_each():
    differences = torch.randn(30, dtype=torch.float64)
    twice, clusters = differences.repeat(2), torch.arange(30).repeat(2)
    assert compare(twice, clusters=clusters).z == pytest.approx(compare(differences).z)
    assert abs(compare(twice).z) > 1.3 * abs(compare(differences).z)


def test_a_whole_weight_is_that_many_samples_in_the_mean():
    differences = torch.tensor([1.0, 4.0])
    assert compare(differences, weights=torch.tensor([2.0, 1.0])).mean == pytest.approx(2.0)


def test_equal_losses_are_level_and_a_constant_difference_is_certain():
    assert compare(torch.zeros(9)).z == 0
    assert compare(torch.full((9,), 0.5)).z == math.inf
    assert compare(torch.tensor([1.0])).standard_error == math.inf


def test_the_limit_grows_with_the_number_of_alternatives():
    limits = [limit(number) for number in (1, 9, 10, 30, 97)]
    assert limits[:2] == [2.5, 2.5] and limits == sorted(limits)


@pytest.mark.parametrize("alternatives", [1, 97])
def test_what_is_as_good_is_ruled_out_in_at_most_one_of_a_hundred_trials(alternatives):
    generator = torch.Generator().manual_seed(0)
    ruled_out = 0
    for _ in range(1000):
        losses = torch.randn(2, 200, generator=generator).square()  # skewed, as squared residuals are
        worse, better = sorted((losses[0], losses[1]), key=lambda one: -float(one.mean()))
        ruled_out += compare(worse - better).z >= limit(alternatives)
    # Which of the two is the better is decided by the same samples, so both tails count.
    assert ruled_out <= (20 if alternatives == 1 else 3)
