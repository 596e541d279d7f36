"""Sums over the members of a mixture, each as one `embedding_bag` over rows, forward and backward.

    MixedExpansion    sum_i s_i E_{H_i}(w_i)            m rows are added for each index triple
    MixedProjection   sum_i s_i P_{H_i}(V)              |H_1 u ... u H_m| rows are added for each

The gradients are gathers too: PyTorch's own backward of `embedding_bag` would scatter with collisions.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equimorph.groups import Orbits, Representation, Subgroup, kernel_images, kernel_orbits
from equimorph.spaces.tables import SharedTables

_CACHED = 2**17  # numbers, of which a few times as many fit into a core's own cache


class MixedExpansion(SharedTables):
    """The weighted sum of expansions of several tables, whose norms may be held. Holds index tables and no state.

    Args:
        members: The orbits of each member, of kernels of one shape.
    Example:
        >>> from equimorph.groups import group, kernel_orbits
        >>> D4 = group("D4")
        >>> members = [kernel_orbits(D4.subgroup(name), "trivial", "trivial", (1, 2)) for name in ("C1", "D1")]
        >>> tables = [torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0]])]
        >>> MixedExpansion(members)(tables, torch.tensor([1.0, 0.5])).flatten().tolist()
        [6.0, 7.0]
    """

    index: Tensor
    bags: Tensor
    bag_starts: Tensor
    owners: Tensor

    def __init__(self, members: Sequence[Orbits]) -> None:
        key = tuple((orbits.subgroup, orbits.shape) for orbits in members)
        super().__init__(("mixed expansion", key), partial(_stacked_tables, members))

    def forward(self, tables: Sequence[Tensor], scales: Tensor, norms: Tensor | None = None) -> Tensor:
        """The sum of  s_i E_{H_i}(w_i),  or of  s_i E_{H_i}(w_i nu_i / |w_i|)  where norms are given.

        Args:
            tables: w_i, shape (orbits of H_i, columns) each.
            scales: s_i, shape (members,).
            norms: nu_i, shape (members,).
        Returns:
            Rows, shape (entries, columns).
        """
        factors, squares = torch.ones_like(scales), None
        if norms is not None:
            with torch.no_grad():
                squares = _squares(tables).clamp_min(torch.finfo(tables[0].dtype).tiny)
                factors = norms / squares.sqrt()
        if not (torch.is_grad_enabled() and any(one.requires_grad for one in (scales, *tables))):
            # Besides being shorter: torch.compile hands such functions, of any number of inputs, wrong ones here.
            return _weighted_bags(_stacked(tables), self.index, scales * factors)
        indices = (self.index, self.bags, self.bag_starts, self.owners)
        return _MixedExpand.apply(scales, factors, squares, *indices, *tables)  # type: ignore[no-any-return]


class MixedProjection(SharedTables):
    """The weighted sum of projections of one kernel:  V[e] -> sum_g c_g V[g e],  c_g = sum_i s_i [g in H_i] / |H_i|.

    Holds index tables and no state.

    Args:
        members: H_1, ..., H_m, subgroups of one group.
        target: Type of the out feature.
        source: Type of the in feature.
        kernel_size: Extents of the kernel.
    Example:
        >>> from equimorph.groups import group
        >>> D4 = group("D4")
        >>> mean = MixedProjection([D4.subgroup("C1"), D4.subgroup("D1")], "trivial", "trivial", (1, 2))
        >>> mean(torch.tensor([[2.0], [6.0]]), torch.tensor([0.0, 1.0])).flatten().tolist()
        [4.0, 4.0]
    """

    images: Tensor
    bags: Tensor
    bag_starts: Tensor
    sizes: Tensor
    memberships: Tensor
    orders: Tensor

    def __init__(
        self,
        members: Sequence[Subgroup],
        target: Representation,
        source: Representation,
        kernel_size: tuple[int, ...],
    ) -> None:
        super().__init__(
            ("mixed projection", tuple(members), target, source, kernel_size),
            partial(_union_tables, members, target, source, kernel_size),
        )
        self.acts_freely = "regular" in (target, source)
        orbits = [kernel_orbits(member, target, source, kernel_size) for member in members]
        self.num_orbits = tuple(one.num_orbits for one in orbits)

    def forward(self, rows: Tensor, scales: Tensor) -> Tensor:
        """From rows (entries, columns) of V, and a number for each member, to rows of the mixture."""
        elements = self._elements(scales.detach())
        tables = (self.images, self.bags, self.bag_starts, self.sizes)
        return _MixedProject.apply(rows, scales, elements, *tables, self.num_orbits)  # type: ignore[no-any-return]

    def variance(self, scales: Tensor) -> float:
        """Var W for a V of independent entries of variance one, the mean over all entries of W.

        sum_gk c_g c_k [g e = k e], which is sum_ij s_i s_j |H_i n H_j| / (|H_i| |H_j|) where the group acts freely.
        """
        elements = self._elements(scales.double())
        if self.acts_freely:
            return float(elements.square().sum())
        equal = torch.stack([(self.images == image[:, None]).double().mean(0) for image in self.images.T])
        return float(elements @ equal @ elements)

    def _elements(self, scales: Tensor) -> Tensor:
        """c_g, shape (elements of H_1 u ... u H_m,)."""
        # No matrix product, which automatic mixed precision would round.
        return (self.memberships * (scales / self.orders)).sum(1)


def _union_tables(
    members: Sequence[Subgroup], target: Representation, source: Representation, kernel_size: tuple[int, ...]
) -> dict[str, Tensor]:
    """For each entry its image under every element of the union, which members hold that element, and their orders;
    for each orbit of every member its entries, as bags, and their number."""
    joined = reduce(operator.or_, members)
    used = sorted(set().union(*(member.indices for member in members)))
    images = kernel_images(joined, target, source, kernel_size)[np.searchsorted(joined.indices, used)]
    orbits = [kernel_orbits(member, target, source, kernel_size) for member in members]
    stacked = _stacked_tables(orbits)
    return {
        "images": torch.tensor(images.T, dtype=torch.int32).contiguous(),
        "bags": stacked["bags"],
        "bag_starts": stacked["bag_starts"],
        "sizes": torch.tensor(np.concatenate([one.sizes for one in orbits])),
        "memberships": torch.tensor([[int(g in member) for member in members] for g in used]),
        "orders": torch.tensor([member.order for member in members]),
    }


def _weighted_bags(rows: Tensor, index: Tensor, scales: Tensor) -> Tensor:
    """out[e] = sum_j scales[j] rows[index[e, j]]."""
    weights = scales.to(rows.dtype).expand(index.shape).contiguous()
    return F.embedding_bag(index, rows.detach(), mode="sum", per_sample_weights=weights)


def _stacked_tables(members: Sequence[Orbits]) -> dict[str, Tensor]:
    """For each entry its row in the stacked tables of all members; for each of those rows its entries, as bags, and the
    number of its member."""
    firsts = np.cumsum([0, *(orbits.num_orbits for orbits in members)])
    index = np.stack([orbits.index + first for orbits, first in zip(members, firsts[:-1], strict=True)], axis=1)
    bags = np.concatenate([orbits.members[orbits.members < len(index)] for orbits in members])
    sizes = np.concatenate([orbits.sizes for orbits in members])
    owners = np.repeat(np.arange(len(members)), [orbits.num_orbits for orbits in members])
    found = {"index": index, "bags": bags, "bag_starts": np.cumsum(sizes) - sizes, "owners": owners}
    return {name: torch.tensor(table, dtype=torch.int32) for name, table in found.items()}


def put_together(tables: Sequence[nn.Parameter]) -> None:
    """Move tables, in place, one behind the other in memory, from where they need no copy to be stacked."""
    kinds = {(table.device, table.dtype, table.shape[1:]) for table in tables}
    if len(kinds) == 1 and not tables[0].is_meta and not _lie_together(tables):
        parts = torch.cat([table.detach() for table in tables]).split([len(table) for table in tables])
        for table, part in zip(tables, parts, strict=True):
            table.data = part


def _stacked(tables: Sequence[Tensor]) -> Tensor:
    """All rows of all tables; the memory of the tables itself where they were put together."""
    tables = [table.detach() for table in tables]
    if not torch.compiler.is_compiling() and _lie_together(tables):
        return tables[0].as_strided((sum(len(table) for table in tables), *tables[0].shape[1:]), tables[0].stride())
    return torch.cat(tables)


def _lie_together(tables: Sequence[Tensor]) -> bool:
    ends = [table.data_ptr() + table.nbytes for table in tables]
    follow = all(table.data_ptr() == end for table, end in zip(tables[1:], ends, strict=False))
    one_memory = len({table.untyped_storage().data_ptr() for table in tables}) == 1
    return one_memory and follow and all(table.is_contiguous() for table in tables)


def _squares(tables: Sequence[Tensor]) -> Tensor:
    """|w_i|^2 of each."""
    if tables[0].is_cuda and not torch.compiler.is_compiling():
        return torch.stack(torch._foreach_norm(list(tables))).square()  # one launch for all
    return torch.stack([torch.linalg.vector_norm(table, dim=1).square().sum() for table in tables])


def _parts(*stacks: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of several tensors of as many rows, in parts that stay in a processor's cache."""
    size = max(1, _CACHED // stacks[0].shape[1]) if stacks[0].device.type == "cpu" else len(stacks[0])
    return zip(*(stack.split(size) for stack in stacks), strict=True)


class _MixedExpand(torch.autograd.Function):
    """One function for the sum and the division by norms, whose own gradient would read and write all tables thrice.

    The factors nu_i / |w_i| are handed in, for they need no graph: the gradient knows what they depend on.
    """

    @staticmethod
    def forward(
        scales: Tensor,
        factors: Tensor,
        squares: Tensor | None,
        index: Tensor,
        bags: Tensor,
        bag_starts: Tensor,
        owners: Tensor,
        *tables: Tensor,
    ) -> Tensor:
        return _weighted_bags(_stacked(tables), index, scales * factors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        scales, factors, squares, _, *rest = inputs
        ctx.save_for_backward(scales, factors, squares, *rest)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scales, factors, squares, bags, bag_starts, owners, *tables = ctx.saved_tensors
        sums = F.embedding_bag(bags, gradients[0].contiguous(), bag_starts, mode="sum")  # E_H^T, member after member
        sizes, values = [len(table) for table in tables], _stacked(tables)
        # <E_H^T(gradient), w>, which both the scales and the norms need.
        by_row = torch.cat([(total * table).sum(1) for total, table in _parts(sums, values)])
        products = torch.stack([part.sum() for part in by_row.split(sizes)])
        if any(ctx.needs_input_grad[7:]):
            share = (scales * factors).to(sums.dtype).index_select(0, owners)[:, None]
            if squares is None:
                sums.mul_(share)
            else:
                along = (products / squares).to(sums.dtype).index_select(0, owners)[:, None]
                for total, table, part, applied in _parts(sums, values, along, share):
                    total.addcmul_(table, part, value=-1).mul_(applied)
        scale_gradient = (products * factors).to(scales.dtype) if ctx.needs_input_grad[0] else None
        return scale_gradient, *[None] * 6, *sums.split(sizes)


class _MixedProject(torch.autograd.Function):
    """The sum of projections, with its gradient for the scales:  <V', P_H V> = sum of E_H^T V' E_H^T V / |orbit|."""

    @staticmethod
    def forward(
        rows: Tensor,
        scales: Tensor,
        elements: Tensor,
        images: Tensor,
        bags: Tensor,
        bag_starts: Tensor,
        sizes: Tensor,
        num_orbits: tuple[int, ...],
    ) -> Tensor:
        return _weighted_bags(rows, images, elements)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, num_orbits = inputs
        ctx.save_for_backward(*tensors)
        ctx.num_orbits = num_orbits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, scales, elements, images, bags, bag_starts, sizes = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        row_gradient = scale_gradient = None
        if ctx.needs_input_grad[0]:
            # The transpose sums over inverses, and subgroups hold each element's inverse with the same weight.
            row_gradient = _weighted_bags(gradient, images, elements)
        if ctx.needs_input_grad[1]:
            sums, others = (F.embedding_bag(bags, one.detach(), bag_starts, mode="sum") for one in (gradient, rows))
            products = sums.mul_(others).sum(1) / sizes
            scale_gradient = torch.stack([part.sum() for part in products.split(ctx.num_orbits)]).to(scales.dtype)
        return row_gradient, scale_gradient, *[None] * 6
