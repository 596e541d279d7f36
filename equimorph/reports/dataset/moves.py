"""What an element of a group does to a sample, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equimorph.groups import Group

_MIRRORS = {
    "D1@0": "flipped up-down",
    "D1@90": "flipped left-right",
    "D1@135": "mirrored in the main diagonal",
    "D1@45": "mirrored in the other diagonal",
    "Z2": "reversed",
}
# Of volumes, by the symbol of the group that an element generates; {axis} is what it moves about.
_IN_SPACE = {
    "C2": "turned by 180° about {axis}",
    "C3": "turned by 120° about {axis}",
    "C4": "turned by 90° about {axis}",
    "Ci": "mirrored in the centre",
    "Cs": "mirrored along {axis}",
    "S4": "turned by 90° about {axis}, mirrored in the centre",
    "S6": "turned by 120° about {axis}, mirrored in the centre",
}


def tell_move(group: Group, element: int) -> str:
    """What an element does to a sample.

    In 3-D a turn by 90° about z takes what lies along x to y; one about −z goes the other way.

    Example:
        >>> from equimorph.groups import group
        >>> [tell_move(group("D4"), index) for index in (0, 1, 3)], tell_move(group("Cs@x"), 1)
        (['as it is', 'turned by 90° clockwise', 'turned by 180°'], 'mirrored along x')
    """
    if element == 0:
        return "as it is"
    name = group.subgroup_generated_by([element]).name
    if group.dim == 3:
        symbol, _, axis = name.partition("@")
        return _IN_SPACE[symbol].format(axis=_direction(group.elements[element]) or axis.replace("-", "−"))
    if name in _MIRRORS:
        return _MIRRORS[name]
    # The column of the axis that points right: it comes to point up (-1, 0), left (0, -1) or down (1, 0).
    up, right = (int(entry) for entry in group.elements[element][:, 1])
    return "turned by 180°" if right == -1 else f"turned by 90° {'anticlockwise' if up == -1 else 'clockwise'}"


def _direction(matrix: NDArray[np.int64]) -> str:
    """About what a turn by 90° or 120° goes, by the right hand; empty for moves that are their own inverse."""
    turn = matrix * round(np.linalg.det(matrix))
    # A rotation by theta about the unit vector n has  R - R^T = 2 sin(theta) [n]_x.
    vector = (turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1])
    return "".join(("−" if entry < 0 else "") + name for entry, name in zip(vector, "xyz", strict=True) if entry)
