"""The expansion E_H of a table of free values to all index triples, its transpose, and the projection.

A table has one row per orbit and one column per pair of fields, so that E_H copies whole rows:

    E_H(w) = w[index]                E_H^T(V)[orbit] = sum of V over the orbit

Both are gathers. PyTorch's own gradient of `w[index]` would scatter with collisions, which is slow and, on a GPU, not
deterministic.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from equimorph.groups import Orbits
from equimorph.spaces.tables import SharedTables


class Expansion(SharedTables):
    """E_H for the orbits of one kernel shape. Holds index tables, which follow the module's device, and no state.

    Args:
        orbits: Which entries are held equal.
    Example:
        >>> from equimorph.groups import group, kernel_orbits
        >>> flip = group("D4").subgroup("D1")
        >>> expansion = Expansion(kernel_orbits(flip, "trivial", "trivial", (1, 3)))
        >>> expansion(torch.tensor([[5.0], [7.0]])).flatten().tolist()
        [5.0, 7.0, 5.0]
    """

    index: Tensor
    members: Tensor

    def __init__(self, orbits: Orbits) -> None:
        super().__init__(("expansion", orbits.subgroup, orbits.shape), partial(_index_tables, orbits))
        self.orbits = orbits

    def forward(self, table: Tensor) -> Tensor:
        """E_H(w): from (orbits, columns) to (entries, columns)."""
        return _Expand.apply(table, self.index, self.members)  # type: ignore[no-any-return]

    def sum_over_orbits(self, rows: Tensor) -> Tensor:
        """E_H^T(V): from (entries, columns) to (orbits, columns)."""
        return _SumOverOrbits.apply(rows, self.index, self.members)  # type: ignore[no-any-return]

    def mean_over_orbits(self, rows: Tensor) -> Tensor:
        """E_H^-1(P_H(V)): coordinates of the nearest H-equivariant kernel, shape (orbits, columns)."""
        sizes = torch.as_tensor(self.orbits.sizes, dtype=rows.dtype, device=rows.device)
        return self.sum_over_orbits(rows) / sizes[:, None]

    def representatives(self, rows: Tensor) -> Tensor:
        """E_H^-1(V) of rows that are equal along each orbit: its first member, bit for bit."""
        return rows.index_select(0, self.members[:, 0])


def _index_tables(orbits: Orbits) -> dict[str, Tensor]:
    return {"index": torch.tensor(orbits.index), "members": torch.tensor(orbits.members)}


def sum_members(rows: Tensor, members: Tensor) -> Tensor:
    """The sum of each orbit's rows, by ordinary indexing.

    Args:
        rows: Shape (entries, columns).
        members: Shape (orbits, largest orbit), filled up with the number of entries.
    """
    num_orbits, largest = members.shape
    if members.numel() != len(rows):  # ragged orbits are filled up with the index of this row of zeros
        rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    return rows.index_select(0, members.reshape(-1)).view(num_orbits, largest, -1).sum(1)


class _Expand(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(table: Tensor, index: Tensor, members: Tensor) -> Tensor:
        return table.index_select(0, index)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        index, members = ctx.saved_tensors
        return _SumOverOrbits.apply(gradients[0], index, members), None, None


class _SumOverOrbits(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, index: Tensor, members: Tensor) -> Tensor:
        return sum_members(rows, members)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        index, members = ctx.saved_tensors
        return _Expand.apply(gradients[0], index, members), None, None
