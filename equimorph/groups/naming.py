"""Readable names of symmetry groups, told from their matrices alone: Schoenflies' symbol, then the axis.

1-D: C1 and Z2 (the reflection). 2-D: Cn and Dn, with the angle of a mirror axis where it matters (D1@0, D1@45, D1@90,
D1@135, D2@0, D2@45); angles run anticlockwise as seen on the screen, row 0 on top. 3-D: the symbol of the point group
and the direction of its axis (C4@z, C3@xyz, Cs@x-y, whose axis is the normal of its mirror); a second direction follows
where one axis leaves two choices (D2@z+xy has a two-fold axis along xy, D2@z along x).
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Direction = tuple[int, ...]

_UNQUALIFIED: dict[int, dict[str, str]] = {1: {}, 2: {"D1": "D1@90", "D2": "D2@0"}}
_WITHOUT_AXIS = {"C1", "Ci", "T", "Th", "Td", "O", "Oh"}

# How many elements there are of each kind, by determinant and trace: rotations of order 2, 3, 4, then the inversion,
# mirrors, and rotation-reflections of order 4 and 6.
_KINDS = {
    (1, 3): "E",
    (1, -1): "C2",
    (1, 0): "C3",
    (1, 1): "C4",
    (-1, -3): "i",
    (-1, 1): "m",
    (-1, -1): "S4",
    (-1, 0): "S6",
}
_COUNTED = ("C2", "C3", "C4", "i", "m", "S4", "S6")
_POINT_GROUPS: dict[tuple[int, ...], str] = {
    (0, 0, 0, 0, 0, 0, 0): "C1",
    (1, 0, 0, 0, 0, 0, 0): "C2",
    (0, 2, 0, 0, 0, 0, 0): "C3",
    (1, 0, 2, 0, 0, 0, 0): "C4",
    (3, 0, 0, 0, 0, 0, 0): "D2",
    (3, 2, 0, 0, 0, 0, 0): "D3",
    (5, 0, 2, 0, 0, 0, 0): "D4",
    (3, 8, 0, 0, 0, 0, 0): "T",
    (9, 8, 6, 0, 0, 0, 0): "O",
    (0, 0, 0, 1, 0, 0, 0): "Ci",
    (0, 0, 0, 0, 1, 0, 0): "Cs",
    (1, 0, 0, 1, 1, 0, 0): "C2h",
    (1, 0, 0, 0, 2, 0, 0): "C2v",
    (3, 0, 0, 1, 3, 0, 0): "D2h",
    (1, 0, 0, 0, 0, 2, 0): "S4",
    (1, 0, 2, 1, 1, 2, 0): "C4h",
    (1, 0, 2, 0, 4, 0, 0): "C4v",
    (3, 0, 0, 0, 2, 2, 0): "D2d",
    (5, 0, 2, 1, 5, 2, 0): "D4h",
    (0, 2, 0, 1, 0, 0, 2): "S6",
    (0, 2, 0, 0, 3, 0, 0): "C3v",
    (3, 2, 0, 1, 3, 0, 2): "D3d",
    (3, 8, 0, 1, 3, 0, 8): "Th",
    (3, 8, 0, 0, 6, 6, 0): "Td",
    (9, 8, 6, 1, 9, 6, 8): "Oh",
}


def name_of(elements: IntArray) -> str:
    """The name of the group that these matrices make up, shape (n, d, d); unique among subgroups of the grid's group.

    Example:
        >>> name_of(np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]))  # the identity and the transpose
        'D1@135'
    """
    return {1: _name_1d, 2: _name_2d, 3: _name_3d}[elements.shape[1]](elements)


def alias(name: str, dim: int) -> str:
    """The full name behind a short one: D1 is D1@90 and D2 is D2@0 in 2-D; an axis left out is z in 3-D.

    Example:
        >>> alias("D1", 2), alias("C4", 3), alias("Oh", 3)
        ('D1@90', 'C4@z', 'Oh')
    """
    if dim == 3:
        return name if "@" in name or name in _WITHOUT_AXIS else f"{name}@z"
    return _UNQUALIFIED[dim].get(name, name)


def _name_1d(elements: IntArray) -> str:
    return "C1" if len(elements) == 1 else "Z2"


def _name_2d(elements: IntArray) -> str:
    determinants = elements[:, 0, 0] * elements[:, 1, 1] - elements[:, 0, 1] * elements[:, 1, 0]
    rotations = int((determinants == 1).sum())
    if rotations == len(elements):
        return f"C{rotations}"
    if rotations == 4:
        return "D4"
    return f"D{rotations}@{min(_mirror_angle(matrix) for matrix in elements[determinants == -1])}"


def _mirror_angle(matrix: IntArray) -> int:
    # The fixed direction of a mirror on (row, column), with the row axis pointing down on the screen.
    angles: dict[tuple[int, ...], int] = {(-1, 0, 0, 1): 0, (0, -1, -1, 0): 45, (1, 0, 0, -1): 90, (0, 1, 1, 0): 135}
    return angles[tuple(matrix.ravel().tolist())]


def _name_3d(elements: IntArray) -> str:
    kinds = [_KINDS[round(np.linalg.det(matrix)), int(np.trace(matrix))] for matrix in elements]
    counts = Counter(kinds)
    symbol = _POINT_GROUPS[tuple(counts[kind] for kind in _COUNTED)]
    if symbol in _WITHOUT_AXIS:
        return symbol
    axes: dict[str, list[Direction]] = {}
    for kind, matrix in zip(kinds, elements, strict=True):
        axes.setdefault(kind, []).append(_axis(matrix))
    if symbol == "Cs":
        return f"{symbol}@{_label(axes['m'][0])}"
    for kind in ("C4", "S4", "C3"):
        if kind in axes:
            principal = axes[kind][0]
            break
    else:  # only two-fold axes: the single coordinate axis among them, z when all three are
        principal = min(axes["C2"], key=lambda axis: (sum(map(abs, axis)), axis))
    second = _second_direction(symbol, principal, axes)
    return f"{symbol}@{_label(principal)}" + (f"+{_label(second)}" if second else "")


def _second_direction(symbol: str, principal: Direction, axes: dict[str, list[Direction]]) -> Direction | None:
    """The positive diagonal across the axis, for the groups that may lie along the coordinates or across them."""
    if sum(map(abs, principal)) != 1 or symbol not in ("D2", "D2h", "D2d", "C2v"):
        return None
    across = axes["m"] if symbol == "C2v" else [axis for axis in axes["C2"] if axis != principal]
    if any(sum(map(abs, axis)) == 1 for axis in across):
        return None
    return tuple(1 - abs(entry) for entry in principal)


def _axis(matrix: IntArray) -> Direction:
    """The direction that the rotation part of a matrix keeps, its first non-zero entry positive."""
    rotation = matrix * round(np.linalg.det(matrix))
    # The sum over the powers of a rotation projects onto its axis (times the order).
    total = np.sum([np.linalg.matrix_power(rotation, power) for power in range(1, 13)], axis=0)
    column = total[:, np.abs(total).sum(0).argmax()]
    direction = np.sign(column)
    first = direction[np.flatnonzero(direction)[0]]
    return tuple(int(entry) for entry in direction * first)


def _label(direction: Direction) -> str:
    signs = {1: "", -1: "-"}
    return "".join(f"{signs[entry]}{letter}" for entry, letter in zip(direction, "xyz", strict=True) if entry)
