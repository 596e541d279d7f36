"""Dividing samples into parts."""

import numpy as np
import pytest

from equimorph.data.splits import Shares, divide
from equimorph.errors import ConfigurationError, DataError

COUNTS = (60, 30, 10)
LABELS = np.random.RandomState(0).permutation(np.repeat(np.arange(3), COUNTS))
GROUPS = np.random.RandomState(1).randint(0, 40, len(LABELS))
LARGE = np.random.RandomState(2).choice(5, 6000, p=[0.5, 0.25, 0.15, 0.07, 0.03])
PATIENTS = np.random.RandomState(3).geometric(0.004, 6000)  # up to 31 samples each


def counts(labels, part):
    return np.bincount(labels[part], minlength=labels.max() + 1)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["single", "grouped"])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_parts_are_disjoint_and_together_everything(groups, seed):
    parts = divide(LABELS, 10, 20, seed=seed, groups=groups)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(LABELS)))
    assert all(len(part) for part in parts)


def test_each_class_has_its_share_in_each_part():
    for seed in range(5):
        parts = divide(LABELS, 10, 20, seed=seed)
        assert [counts(LABELS, part).tolist() for part in parts] == [[42, 21, 7], [6, 3, 1], [12, 6, 2]]


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["single", "grouped"])
def test_the_same_seed_divides_the_same_way_and_another_one_another(groups):
    first, again, other = (divide(LABELS, 10, 20, seed=seed, groups=groups)[2].tolist() for seed in (3, 3, 4))
    assert first == again != other


def test_the_parts_are_the_same_on_every_machine():
    train, validation, test = divide(np.arange(20) % 2, 4, 6, seed=7)
    assert validation.tolist() == [16, 5, 2, 1]
    assert test.tolist() == [8, 17, 6, 13, 12, 15]
    assert train.tolist() == [18, 4, 10, 11, 9, 0, 14, 7, 3, 19]


def test_the_parts_of_groups_are_the_same_on_every_machine():
    labels, groups = np.arange(20) % 2, np.arange(20) // 3
    parts = [part.tolist() for part in divide(labels, 3, 6, seed=7, groups=groups)]
    assert parts == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 18, 19], [9, 10, 11], [12, 13, 14, 15, 16, 17]]


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_ever_divided(seed):
    for labels, groups in ((LABELS, GROUPS), (LARGE, PATIENTS)):
        parts = divide(labels, len(labels) // 10, len(labels) // 5, seed=seed, groups=groups)
        of_part = [set(groups[part].tolist()) for part in parts]
        assert all(of_part) and sum(map(len, of_part)) == len(set(groups.tolist()))


@pytest.mark.parametrize("seed", range(5))
def test_with_groups_each_class_still_has_nearly_its_share(seed):
    parts = divide(LARGE, 600, 1200, seed=seed, groups=PATIENTS)
    totals = np.bincount(LARGE)
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) / len(LARGE) - share) < 0.005  # 0.0002 when it was written
        assert (abs(counts(LARGE, part) / totals - share) < 0.02).all()  # 0.0017


def test_groups_of_one_sample_each_are_divided_like_samples():
    parts = divide(LARGE, 600, 1200, seed=0, groups=np.arange(len(LARGE)))
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert (abs(counts(LARGE, part) - share * np.bincount(LARGE)) <= 1).all()


def test_a_group_that_is_nearly_all_goes_to_the_training_set():
    groups = np.array([0] * 90 + [1] * 5 + [2] * 5)
    train, validation, test = divide(np.arange(100) % 2, 10, 20, seed=0, groups=groups)
    assert len(train) == 90 and len(validation) == len(test) == 5


def test_names_of_groups_do_not_matter():
    renamed = (GROUPS * 7919 + 13).astype(np.int64)
    parts, others = (divide(LABELS, 10, 20, seed=1, groups=groups) for groups in (GROUPS, renamed))
    assert all((part == other).all() for part, other in zip(parts, others, strict=True))


def test_three_groups_have_a_part_each_and_fewer_are_refused():
    labels = np.arange(12) % 2
    parts = divide(labels, 4, 4, seed=0, groups=np.arange(12) // 4)
    assert [len(part) for part in parts] == [4, 4, 4]
    with pytest.raises(DataError, match="2 groups, and each of the three parts"):
        divide(labels, 4, 4, seed=0, groups=np.arange(12) // 6)


@pytest.mark.parametrize(("validation", "test"), [(1, 20), (20, 1)])
def test_a_part_too_small_for_every_class_is_refused(validation, test):
    with pytest.raises(DataError, match="make the shares larger"):
        divide(LABELS, validation, test, seed=0)


def test_a_class_of_one_sample_is_refused():
    with pytest.raises(DataError, match=r"only 1 member.*merge small classes"):
        divide(np.array([0] * 20 + [1]), 3, 4, seed=0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ConfigurationError, match=f"seed {seed}, needed"):
        divide(LABELS, 10, 20, seed=seed)


@pytest.mark.parametrize(("validation", "test"), [(0, 0.2), (0.1, 0), (-0.1, 0.2), (0.5, 0.5), (float("nan"), 0.2)])
def test_shares_out_of_range_are_refused(validation, test):
    with pytest.raises(ConfigurationError, match="more than 0"):
        Shares(validation, test)


def test_shares_are_a_tenth_and_a_fifth_unless_told_otherwise():
    assert (Shares().validation, Shares().test) == (0.1, 0.2)


def test_no_part_stays_empty_where_groups_are_few_and_large():
    groups = np.repeat([0, 1, 2], [50, 30, 20])  # by size alone the last would go to training, too
    parts = divide(np.zeros(100, np.int64), 10, 20, seed=0, groups=groups)
    assert sorted(len(part) for part in parts) == [20, 30, 50]
