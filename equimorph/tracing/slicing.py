"""What is left of a feature when some indices of its axes are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from equimorph.tracing.features import Feature, Segment


def indexed(feature: Feature, given: Sequence[Any]) -> Feature | None:
    """x[...] with slices, None and an ellipsis, or with the number of a stacked feature.

    Other single indices take samples or positions away, so nothing is known.
    """
    if sum(isinstance(item, int) for item in given) == 1 and all(isinstance(i, int) or i == slice(None) for i in given):
        axis = next(number for number, item in enumerate(given) if isinstance(item, int))
        return feature.reduced([axis], keep=False) if feature.axes[axis] == ("s",) else None
    if any(not (item is None or item is Ellipsis or isinstance(item, slice)) for item in given):
        return None
    spelled = _spelled_out(feature, given)
    current: Feature | None = feature
    for axis, item in enumerate([item for item in spelled if item is not None]):
        current = None if current is None else _sliced(current, axis, item)
    if current is None:
        return None
    axes = iter(current.axes)
    spread = tuple(() if item is None else next(axes) for item in spelled)
    return Feature(current.segments, spread, current.sizes)


def cut(feature: Feature, axis: int, start: int, length: int, shape: Sequence[int]) -> Feature | None:
    """Some indices of one axis, one after the other.

    Args:
        feature: What they are taken from.
        axis: The axis.
        start: The first.
        length: How many.
        shape: Of the tensor that is left.
    """
    if feature.axes[axis] != ("c",):
        return feature.resized(shape)
    kept: list[Segment] = []
    begin = 0
    for segment in feature.segments:
        low, high = max(begin, start), min(begin + segment.channels, start + length)
        if low < high:
            kept.append(Segment(segment.term, high - low))
        begin += segment.channels
    return feature.having(kept)


def _spelled_out(feature: Feature, given: Sequence[Any]) -> list[Any]:
    """The indices with a slice for each axis."""
    used = sum(item is not None and item is not Ellipsis for item in given)
    spelled: list[Any] = []
    for item in given if Ellipsis in given else (*given, Ellipsis):
        spelled.extend([slice(None)] * (len(feature.axes) - used) if item is Ellipsis else [item])
    return spelled


def _sliced(feature: Feature, axis: int, item: slice) -> Feature | None:
    sides = [math.prod(feature.sizes[label] for label in labels) for labels in feature.axes]
    start, stop, step = item.indices(sides[axis])
    length = len(range(start, stop, step))
    if length == sides[axis]:
        return feature
    if feature.axes[axis] == ("c",) and step != 1:
        return None
    sides[axis] = length
    return cut(feature, axis, start, length, sides)
