"""The width at which a network has a number of parameters."""

from __future__ import annotations

from collections.abc import Callable


def nearest_width(size: Callable[[int], int], wanted: int) -> int:
    """The width, from 1 on, whose size is nearest to the wanted one.

    Args:
        size: The size at a width, which grows with it.
        wanted: The size to come near to.
    Example:
        >>> nearest_width(lambda width: width**2, 30)
        5
    """
    low, high = 1, 2
    while size(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < wanted else (low, middle)
    return min((low, high), key=lambda width: abs(size(width) - wanted))
