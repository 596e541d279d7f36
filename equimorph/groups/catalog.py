"""Groups by name, and the subgroups that a search considers unless told otherwise."""

from __future__ import annotations

from functools import cache

import numpy as np

from equimorph.errors import GroupError
from equimorph.groups._group import Group, Subgroup
from equimorph.groups.naming import alias

# Generators of the whole symmetry group of the grid: Z2, D4 and Oh.
_GRID_GENERATORS = {
    1: [[[-1]]],
    2: [[[0, -1], [1, 0]], [[1, 0], [0, -1]]],
    3: [[[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]],
}

_DEFAULT_SEARCH = {
    1: ("C1", "Z2"),
    2: ("C1", "C2", "C4", "D1@90", "D2@0", "D4"),
    3: ("C1", "C2@z", "C4@z", "C2v@z", "C4v@z", "D4@z", "D4h@z", "O", "Oh"),
}


def group(name: str, *, dim: int | None = None) -> Group:
    """The group of that name.

    2-D: C1 C2 C4 D1 D2 D4 (D1 is D1@90, the left-right flip; D2 is D2@0). 1-D: Z2. 3-D: every point group of the
    cube, such as Oh, O, C4@z, C4v@z, C3@xyz; an axis left out is z.

    Args:
        name: See above; also the full names of subgroups, such as D1@45.
        dim: Dimension of the grid. Left out, it is the first of 2, 1, 3 in which the name exists.
    Raises:
        GroupError: There is no such group.
    Example:
        >>> group("D4")
        <Group D4: 8 elements in dimension 2>
        >>> group("D4", dim=3).name
        'D4@z'
    """
    if dim not in (None, 1, 2, 3):
        raise GroupError(f"group: dim is 1, 2 or 3, got {dim}.")
    for candidate in (2, 1, 3) if dim is None else (dim,):
        found = _named_groups(candidate).get(alias(name, candidate))
        if found is not None:
            return found
    known = {2: "C1, C2, C4, D1, D2, D4", 1: "C1, Z2", 3: "C1, C2, C4, C2v, C4v, D4, D4h, O, Oh and others"}
    choices = "; ".join(f"in {d}-D {names}" for d, names in known.items() if dim in (None, d))
    raise GroupError(f'group: no group "{name}"; there are {choices}.')


def search_groups(ambient: Group | str) -> tuple[Subgroup, ...]:
    """The default [G] of a search: the subgroups of G that are worth telling apart, smallest first, G last.

    2-D: those of C1, C2, C4, D1, D2, D4 that G contains, that is with upright mirrors alone. 3-D: a short list of
    subgroups about the z axis, beside O and Oh. G itself and C1 always. A search may be given any other list.

    Example:
        >>> [H.name for H in search_groups("D4")]
        ['C1', 'C2', 'D1@90', 'C4', 'D2@0', 'D4']
    """
    ambient = group(ambient) if isinstance(ambient, str) else ambient
    names = {*_DEFAULT_SEARCH[ambient.dim], "C1", ambient.name}
    return tuple(subgroup for subgroup in ambient.subgroups() if subgroup.name in names)


@cache
def _named_groups(dim: int) -> dict[str, Group]:
    grid = Group(np.array(_GRID_GENERATORS[dim]), closure=True)
    return {subgroup.name: Group(subgroup.elements) for subgroup in grid.subgroups()}
