"""Sums over the members of a mixture, each as one `embedding_bag` over rows, forward and backward.

    MixedExpansion    sum_i s_i E_{H_i}(w_i)            m rows are added for each index triple
    MixedProjection   sum_i s_i P_{H_i}(V)              |H_1 u ... u H_m| rows are added for each

The gradients are gathers too: PyTorch's own backward of `embedding_bag` would scatter with collisions.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equimorph.groups import Orbits, Representation, Subgroup, kernel_images


class MixedExpansion(nn.Module):
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
    row_members: Tensor

    def __init__(self, members: Sequence[Orbits]) -> None:
        super().__init__()
        firsts = np.cumsum([0, *(orbits.num_orbits for orbits in members)])
        index = np.stack([orbits.index + first for orbits, first in zip(members, firsts[:-1], strict=True)], axis=1)
        num_entries = len(index)
        bags = np.concatenate([orbits.members[orbits.members < num_entries] for orbits in members])
        sizes = np.concatenate([orbits.sizes for orbits in members])
        row_members = np.repeat(np.arange(len(members)), np.diff(firsts))
        starts = np.cumsum([0, *sizes])[:-1]
        for name, array in (("index", index), ("bags", bags), ("bag_starts", starts), ("row_members", row_members)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(array)), persistent=False)

    def forward(self, tables: Sequence[Tensor], scales: Tensor, norms: Tensor | None = None) -> Tensor:
        """The sum of  s_i E_{H_i}(w_i),  or of  s_i E_{H_i}(w_i nu_i / |w_i|)  where norms are given.

        Args:
            tables: w_i, shape (orbits of H_i, columns) each.
            scales: s_i, shape (members,).
            norms: nu_i, shape (members,).
        Returns:
            Rows, shape (entries, columns).
        """
        sizes = [len(table) for table in tables]
        stacked = torch.cat(list(tables))
        indices = (self.index, self.bags, self.bag_starts, self.row_members)
        return _MixedExpand.apply(stacked, scales, norms, sizes, *indices)  # type: ignore[no-any-return]


class MixedProjection(nn.Module):
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
    memberships: Tensor
    orders: Tensor

    def __init__(
        self,
        members: Sequence[Subgroup],
        target: Representation,
        source: Representation,
        kernel_size: tuple[int, ...],
    ) -> None:
        super().__init__()
        joined = reduce(operator.or_, members)
        used = sorted(set().union(*(member.indices for member in members)))
        self.acts_freely = "regular" in (target, source)
        memberships = [[int(g in member) for member in members] for g in used]
        images = kernel_images(joined, target, source, kernel_size)[np.searchsorted(joined.indices, used)]
        self.register_buffer("images", torch.from_numpy(np.ascontiguousarray(images.T)), persistent=False)
        # Integers, which a module that is converted to another precision keeps as they are.
        self.register_buffer("memberships", torch.tensor(memberships), persistent=False)
        self.register_buffer("orders", torch.tensor([member.order for member in members]), persistent=False)

    def forward(self, rows: Tensor, scales: Tensor) -> Tensor:
        """From rows (entries, columns) of V, and a number for each member, to rows of the mixture."""
        return _MixedProject.apply(rows, self._elements(scales), self.images)  # type: ignore[no-any-return]

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


def _weighted_bags(rows: Tensor, index: Tensor, scales: Tensor) -> Tensor:
    """out[e] = sum_j scales[j] rows[index[e, j]]."""
    weights = scales.to(rows.dtype).expand(index.shape).contiguous()
    return F.embedding_bag(index, rows, mode="sum", per_sample_weights=weights)


class _MixedExpand(torch.autograd.Function):
    """One function for the sum and the division by norms, whose own gradient would read and write all tables thrice."""

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        scales: Tensor,
        norms: Tensor | None,
        sizes: list[int],
        index: Tensor,
        bags: Tensor,
        bag_starts: Tensor,
        row_members: Tensor,
    ) -> Tensor:
        factors, squares = torch.ones_like(scales), None
        if norms is not None:
            squares = _sum_by_member(torch.linalg.vector_norm(table, dim=1).square(), sizes)
            squares = squares.clamp_min(torch.finfo(squares.dtype).tiny)
            factors = norms / squares.sqrt()
        ctx.save_for_backward(table, scales, factors, squares, bags, bag_starts, row_members)
        ctx.sizes = sizes
        return _weighted_bags(table, index, scales * factors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        table, scales, factors, squares, bags, bag_starts, row_members = ctx.saved_tensors
        sums = F.embedding_bag(bags, gradients[0].contiguous(), bag_starts, mode="sum")  # E_H^T of every member
        # <E_H^T(gradient), w>, which both the scales and the norms need.
        products = _sum_by_member((sums * table).sum(1), ctx.sizes)
        table_gradient = None
        if ctx.needs_input_grad[0]:
            applied = scales * factors
            table_gradient = sums.mul_(applied.to(sums.dtype)[row_members, None])
            if squares is not None:
                along = (applied * products / squares).to(sums.dtype)
                table_gradient.addcmul_(table, along[row_members, None], value=-1)
        scale_gradient = (products * factors).to(scales.dtype) if ctx.needs_input_grad[1] else None
        return table_gradient, scale_gradient, None, None, None, None, None, None


def _sum_by_member(values: Tensor, sizes: list[int]) -> Tensor:
    return torch.stack([part.sum() for part in values.split(sizes)])


class _MixedProject(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, elements: Tensor, images: Tensor) -> Tensor:
        return _weighted_bags(rows, images, elements)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, elements, images = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        row_gradient = element_gradient = None
        if ctx.needs_input_grad[0]:
            # The transpose sums over inverses, and subgroups hold each element's inverse with the same weight.
            row_gradient = _weighted_bags(gradient, images, elements)
        if ctx.needs_input_grad[1]:
            products = [(gradient * rows.index_select(0, images[:, g])).sum() for g in range(images.shape[1])]
            element_gradient = torch.stack(products).to(elements.dtype)
        return row_gradient, element_gradient, None
