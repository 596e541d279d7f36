"""Labels of every kind made names of classes: whole numbers, names, rows of a one-hot matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equimorph.data.problems import Findings, SampleError


@dataclass(frozen=True)
class NamedLabels:
    """The labels that can be used.

    Attributes:
        kept: The numbers of the samples that have one.
        names: The class of each of these.
        classes: All classes in order, where that is known: those that were given, or whole numbers by size.
    """

    kept: list[int]
    names: list[str]
    classes: tuple[str, ...] | None


def name_labels(
    values: Iterable[Any], places: Sequence[str], classes: tuple[str, ...] | None, findings: Findings
) -> NamedLabels:
    """Name the class of each sample. Those that have none are left out, and are problems.

    Args:
        values: One for each sample: a whole number, a name, what `label_values` makes of an array, or the SampleError
            that was met in its stead.
        places: What each sample is called.
        classes: The names of label numbers; when None, these are called by their decimal text.
        findings: Where problems go.
    Example:
        >>> name_labels([10, 9, 10], ["a", "b", "c"], None, Findings()).classes
        ('9', '10')
    """
    kept, names, numbers = [], [], set()
    for index, value in enumerate(values):
        try:
            label = _plain(value)
            names.append(_name(label, classes))
            kept.append(index)
            numbers.add(label)
        except SampleError as error:
            findings.add(places[index], str(error))
    if classes is None and numbers and all(isinstance(number, int) for number in numbers):
        classes = tuple(str(number) for number in sorted(numbers))
    return NamedLabels(kept, names, classes)


def label_values(array: NDArray[Any]) -> list[Any]:
    """One value for each entry of an array, or for each row of a matrix of one column or of one-hot rows.

    Rows that are not one-hot stay rows, which name no class.

    Raises:
        SampleError: It has other axes.
    Example:
        >>> label_values(np.array([[0, 1], [1, 0], [1, 1]]))
        [1, 0, (1, 1)]
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 1:
        return list(array.tolist())
    if array.ndim != 2:
        raise SampleError(f"labels of shape {array.shape}, and one for each sample or a one-hot row is needed")
    is_one_hot = ((array == 1).sum(1) == 1) & ((array != 0).sum(1) == 1)
    hot = (array == 1).argmax(1).tolist()
    return [hot[row] if good else tuple(array[row].tolist()) for row, good in enumerate(is_one_hot.tolist())]


def text_of(value: Any) -> str:
    """The text of an identifier or the name of a group; bytes are UTF-8."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> int | str:
    """A whole number or a name."""
    if isinstance(value, SampleError):
        raise value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple):
        raise SampleError("its row of the label matrix has not exactly one 1 and else 0")
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise SampleError("its label is no text in UTF-8") from None
    if value is None or value == "" or value != value:
        raise SampleError("it has no label")
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int | float) and value == value // 1:
        return int(value)
    raise SampleError("its label is no whole number and no name")


def _name(label: int | str, classes: tuple[str, ...] | None) -> str:
    if classes is None:
        return str(label)
    if isinstance(label, int) and 0 <= label < len(classes):
        return classes[label]
    if label in classes:
        return str(label)
    raise SampleError(f"its label {label} is none of the {len(classes)} classes")
