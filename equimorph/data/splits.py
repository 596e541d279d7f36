"""Dividing samples into training, validation and test set: by class, seeded, and never across a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equimorph.errors import ConfigurationError, DataError

PARTS = ("train", "validation", "test")
_MOST_SEEDS = 2**32  # scikit-learn takes none beyond


@dataclass(frozen=True)
class Shares:
    """Which shares of all samples validation and test set get.

    Attributes:
        validation, test: Between 0 and 1, together less than 1.
    Raises:
        ConfigurationError: A share outside its range.
    """

    validation: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        if not (self.validation > 0 and self.test > 0 and self.validation + self.test < 1):
            raise ConfigurationError(
                f"data: shares of {self.validation:g} for validation and {self.test:g} for the test; each must be more "
                "than 0, and both together less than 1."
            )


def check_seed(speaker: str, seed: int) -> None:
    """Raise ConfigurationError when a number cannot be the seed of a division."""
    if not 0 <= seed < _MOST_SEEDS:
        raise ConfigurationError(f"{speaker}: seed {seed}, needed a whole number from 0 to {_MOST_SEEDS - 1}.")


def divide(
    labels: NDArray[np.int64], num_validation: int, num_test: int, *, seed: int, groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Indices of training, validation and test samples, each class with its share in each.

    With groups (the patient, the object that several images show) all samples of one group go into one part, and sizes
    and shares are met as nearly as the groups allow: the largest groups first, equal ones in an order that is drawn,
    each to the part that is then nearest to what it should have of every class.

    Args:
        labels: Class indices, shape (samples,); all alike for a plain draw (`equimorph.data.targets.strata`).
        num_validation, num_test: Samples wanted in these parts.
        seed: Of the draw; the same seed, the same parts, on every machine.
        groups: The group of each sample, shape (samples,).
    Raises:
        ConfigurationError: The seed is out of range.
        DataError: A class has too few samples, or a part is too small, for every class to have its share.
    Example:
        >>> train, validation, test = divide(np.array([0, 1] * 10), 4, 6, seed=0)
        >>> len(train), len(validation), len(test), int(np.array([0, 1] * 10)[test].sum())
        (10, 4, 6, 3)
    """
    from sklearn.model_selection import train_test_split

    check_seed("divide", seed)
    if groups is not None:
        sizes = (len(labels) - num_validation - num_test, num_validation, num_test)
        train, validation, test = _divide_groups(labels, sizes, seed, groups)
        return train, validation, test
    try:
        rest, test = train_test_split(np.arange(len(labels)), test_size=num_test, stratify=labels, random_state=seed)
        train, validation = train_test_split(rest, test_size=num_validation, stratify=labels[rest], random_state=seed)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise DataError(f"divide: {reason}; merge small classes, or make the shares larger.") from None
    return train, validation, test


def divide_in_two(
    labels: NDArray[np.int64], num_drawn: int, *, seed: int, groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the rest, and of so many samples that are drawn from it, as `divide`; both in order.

    Raises:
        ConfigurationError: The seed is out of range.
        DataError: A class has too few samples, or too few are drawn, for every class to have its share.
    Example:
        >>> rest, drawn = divide_in_two(np.array([0, 1] * 10), 4, seed=0)
        >>> len(rest), len(drawn), int(np.array([0, 1] * 10)[drawn].sum())
        (16, 4, 2)
    """
    from sklearn.model_selection import train_test_split

    check_seed("divide", seed)
    if groups is not None:
        rest, drawn = _divide_groups(labels, (len(labels) - num_drawn, num_drawn), seed, groups)
        return rest, drawn
    try:
        rest, drawn = train_test_split(np.arange(len(labels)), test_size=num_drawn, stratify=labels, random_state=seed)
    except ValueError as error:
        reason = str(error).rstrip(".")
        raise DataError(f"divide: {reason}; merge small classes, or make the shares larger.") from None
    return np.sort(rest), np.sort(drawn)


def _divide_groups(
    labels: NDArray[np.int64], sizes: tuple[int, ...], seed: int, groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], ...]:
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < len(sizes):
        parts_named = {2: "two", 3: "three"}[len(sizes)]
        raise DataError(f"divide: {len(names)} groups, and each of the {parts_named} parts needs one of its own.")
    counts = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(counts, (numbers, labels), 1)
    totals = counts.sum(0)
    wanted = np.array(sizes)[:, None] / len(labels) * totals
    drawn = np.random.RandomState(seed).permutation(len(names))
    order = drawn[np.argsort(-counts[drawn].sum(1), kind="stable")]
    have = np.zeros_like(wanted)
    part_of = np.full(len(names), -1)
    for place, group in enumerate(order):
        empty = [part for part in range(len(sizes)) if not have[part].any()]
        candidates = empty if len(order) - place <= len(empty) else range(len(sizes))
        # How much worse chi squared, sum over the classes of (have - wanted)^2 / wanted, becomes.
        gained = counts[group]
        worse = ((2 * (have - wanted) + gained) * gained / np.maximum(wanted, 1e-9)).sum(1)
        part = min(candidates, key=worse.__getitem__)
        have[part] += gained
        part_of[group] = part
    assigned = part_of[numbers]
    return tuple(np.flatnonzero(assigned == part) for part in range(len(sizes)))
