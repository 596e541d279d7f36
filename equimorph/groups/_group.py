"""A finite group of signed permutation matrices, and its subgroups."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equimorph.errors import GroupError
from equimorph.groups.naming import alias, name_of

IntArray = NDArray[np.int64]


class Group:
    """A finite group G of n signed permutation matrices, each d x d.

        g_a g_b = g_table[a, b],      g_0 = identity

    Rotations come before reflections, and the identity first. Immutable; two groups of the same matrices are equal.

    Args:
        elements: The matrices, shape (n, d, d), in any order; or generators of the group with `closure=True`.
        closure: Add all products of the given matrices first.
    Raises:
        GroupError: An entry is not a signed permutation matrix, or the set is not closed under multiplication.
    Example:
        >>> quarter_turns = Group([[[0, -1], [1, 0]]], closure=True)
        >>> quarter_turns.name, quarter_turns.order, [H.name for H in quarter_turns.subgroups()]
        ('C4', 4, ['C1', 'C2', 'C4'])
    """

    def __init__(self, elements: ArrayLike, *, closure: bool = False) -> None:
        matrices = _checked_matrices(elements)
        if closure:
            matrices = _closure_of_matrices(matrices)
        matrices = _sorted_matrices(matrices)
        self.elements: IntArray = _read_only(matrices)
        self.order: int = len(matrices)
        self.dim: int = matrices.shape[1]
        self.table: IntArray = _read_only(_cayley_table(matrices))
        self.inverses: IntArray = _read_only(np.argmin(self.table, axis=1))  # the identity has index 0
        self.name: str = name_of(matrices)
        self._key = (self.dim, self.elements.tobytes())

    def subgroups(self) -> tuple[Subgroup, ...]:
        """Every subgroup, smallest first."""
        return self._lattice

    def subgroup(self, name: str) -> Subgroup:
        """The subgroup of that name.

        Raises:
            GroupError: This group has no such subgroup; the message lists those it has.
        """
        found = self._by_name.get(alias(name, self.dim))
        if found is None:
            known = ", ".join(self._by_name)
            raise GroupError(f'group {self.name}: no subgroup "{name}"; there are {known}.')
        return found

    def subgroup_generated_by(self, indices: Iterable[int]) -> Subgroup:
        """The smallest subgroup that holds the elements of these indices."""
        return Subgroup(self, tuple(int(i) for i in _closure_of_indices(self.table, [0, *indices])))

    @property
    def whole(self) -> Subgroup:
        """G as a subgroup of itself."""
        return self._lattice[-1]

    @property
    def trivial(self) -> Subgroup:
        """The subgroup of the identity alone."""
        return self._lattice[0]

    def conjugacy_classes(self) -> tuple[tuple[Subgroup, ...], ...]:
        """The subgroups, divided into classes {g H g^-1 : g in G}, smallest first."""
        classes: dict[tuple[Subgroup, ...], None] = {}
        for subgroup in self.subgroups():
            classes[subgroup.conjugates()] = None
        return tuple(classes)

    @cached_property
    def _lattice(self) -> tuple[Subgroup, ...]:
        # Every subgroup is a join of cyclic ones, so joining cyclic subgroups to what was found reaches them all.
        cyclic = {tuple(_closure_of_indices(self.table, [0, g])) for g in range(self.order)}
        found = set(cyclic)
        frontier = list(cyclic)
        joins: dict[frozenset[int], tuple[int, ...]] = {}
        while frontier:
            current = frontier.pop()
            for other in cyclic:
                union = frozenset(current) | frozenset(other)
                if union not in joins:
                    joins[union] = tuple(_closure_of_indices(self.table, union))
                if joins[union] not in found:
                    found.add(joins[union])
                    frontier.append(joins[union])
        subgroups = (Subgroup(self, tuple(int(i) for i in indices)) for indices in found)
        return tuple(sorted(subgroups, key=lambda H: (H.order, H.indices)))

    @cached_property
    def _by_name(self) -> dict[str, Subgroup]:
        return {subgroup.name: subgroup for subgroup in self.subgroups()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Group) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __repr__(self) -> str:
        return f"<Group {self.name}: {self.order} elements in dimension {self.dim}>"

    def __str__(self) -> str:
        return self.name

    def __copy__(self) -> Group:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Group:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Group, (np.asarray(self.elements),)


class Subgroup:
    """A subgroup H of a group G, as sorted indices into G's elements.

    Immutable. `K <= H` says that K is contained in H, `H & K` is the intersection. Both raise GroupError when the two
    belong to different groups.
    """

    def __init__(self, group: Group, indices: tuple[int, ...]) -> None:
        self.group: Group = group
        self.indices: tuple[int, ...] = tuple(sorted(indices))
        self.order: int = len(indices)
        self._set = frozenset(indices)
        self.name: str = name_of(self.elements)

    @property
    def elements(self) -> IntArray:
        """The matrices, shape (order, d, d), identity first."""
        return self.group.elements[list(self.indices)]

    def conjugates(self) -> tuple[Subgroup, ...]:
        """All g H g^-1, each once, H's own class of conjugates in the order of `Group.subgroups`."""
        table, inverses = self.group.table, self.group.inverses
        elements = np.arange(self.group.order)
        images = table[table[:, list(self.indices)], inverses[elements][:, None]]
        found = {frozenset(int(i) for i in image) for image in images}
        return tuple(subgroup for subgroup in self.group.subgroups() if subgroup._set in found)

    def right_cosets(self) -> IntArray:
        """The sets Hg as rows of element indices, shape (|G| / |H|, |H|); H acts on G from the left along them."""
        return _rows_of_cosets(self.group.table[list(self.indices), :].T)

    def left_cosets(self) -> IntArray:
        """The sets gH as rows of element indices, shape (|G| / |H|, |H|)."""
        return _rows_of_cosets(self.group.table[:, list(self.indices)])

    def __contains__(self, element_index: int) -> bool:
        return element_index in self._set

    def __le__(self, other: Subgroup) -> bool:
        return self._set <= self._same_group(other)._set

    def __lt__(self, other: Subgroup) -> bool:
        return self._set < self._same_group(other)._set

    def __ge__(self, other: Subgroup) -> bool:
        return self._same_group(other) <= self

    def __gt__(self, other: Subgroup) -> bool:
        return self._same_group(other) < self

    def __and__(self, other: Subgroup) -> Subgroup:
        return Subgroup(self.group, tuple(self._set & self._same_group(other)._set))

    def __or__(self, other: Subgroup) -> Subgroup:
        return self.group.subgroup_generated_by(self._set | self._same_group(other)._set)

    def _same_group(self, other: Subgroup) -> Subgroup:
        if not isinstance(other, Subgroup):
            raise GroupError(f"subgroup {self.name}: needed another subgroup, got {type(other).__name__}.")
        if other.group != self.group:
            raise GroupError(
                f"subgroup {self.name} belongs to {self.group.name} and {other.name} to {other.group.name}; "
                "take both from one group."
            )
        return other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subgroup) and self.indices == other.indices and self.group == other.group

    def __hash__(self) -> int:
        return hash((self.group, self.indices))

    def __repr__(self) -> str:
        return f"<Subgroup {self.name} of {self.group.name}>"

    def __str__(self) -> str:
        return self.name

    def __copy__(self) -> Subgroup:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Subgroup:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Subgroup, (self.group, self.indices)


def _checked_matrices(elements: ArrayLike) -> IntArray:
    matrices = np.asarray(elements)
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or matrices.shape[1] not in (1, 2, 3):
        raise GroupError(f"Group: needed matrices of shape (n, d, d) with d = 1, 2 or 3, got {matrices.shape}.")
    if len(matrices) == 0 or not np.issubdtype(matrices.dtype, np.integer):
        raise GroupError(f"Group: needed at least one integer matrix, got {len(matrices)} of {matrices.dtype}.")
    sizes = np.abs(matrices)
    for index in np.flatnonzero((sizes.sum(1) != 1).any(1) | (sizes.sum(2) != 1).any(1)):
        raise GroupError(f"Group: {matrices[index].tolist()} is not a signed permutation matrix.")
    return np.unique(matrices.astype(np.int64), axis=0)


def _closure_of_matrices(matrices: IntArray) -> IntArray:
    identity = np.eye(matrices.shape[1], dtype=np.int64)[None]
    matrices = np.concatenate([identity, matrices])
    while True:
        products = np.einsum("aij,bjk->abik", matrices, matrices).reshape(-1, *matrices.shape[1:])
        grown = np.unique(products, axis=0)
        if len(grown) == len(matrices):
            return grown
        matrices = grown


def _sorted_matrices(matrices: Iterable[IntArray]) -> IntArray:
    def key(matrix: Any) -> tuple[Any, ...]:
        return (
            not np.array_equal(matrix, np.eye(len(matrix))),
            round(np.linalg.det(matrix)) < 0,
            *(-matrix).ravel().tolist(),
        )

    return np.stack(sorted(matrices, key=key))


def _cayley_table(matrices: IntArray) -> IntArray:
    order = len(matrices)
    # A signed permutation matrix is told by its entries read as digits to the base 3.
    weights = 3 ** np.arange(matrices[0].size, dtype=np.int64)
    codes = (matrices.reshape(order, -1) + 1) @ weights
    products = np.einsum("aij,bjk->abik", matrices, matrices).reshape(order, order, -1)
    product_codes = (products + 1) @ weights
    ranks = np.argsort(codes)
    positions = np.minimum(np.searchsorted(codes[ranks], product_codes), order - 1)
    table = ranks[positions]
    if not np.array_equal(codes[table], product_codes):
        raise GroupError(
            f"Group: {order} matrices are not closed under multiplication; pass closure=True to add what is missing."
        )
    return np.asarray(table, dtype=np.int64)


def _closure_of_indices(table: IntArray, indices: Iterable[int]) -> IntArray:
    members = np.unique(np.fromiter(indices, dtype=np.int64))
    while True:
        grown = np.unique(table[np.ix_(members, members)])
        if len(grown) == len(members):
            return grown
        members = grown


def _rows_of_cosets(images: IntArray) -> IntArray:
    """From images[g] = all elements of g's coset to one sorted row per coset, in the order of their first elements."""
    return np.unique(np.sort(images, axis=1), axis=0)


def _read_only(array: IntArray) -> IntArray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
