"""The kernels that commute with one subgroup H: weights tied along H's orbits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.groups import Orbits, Subgroup
from equimorph.spaces._base import KernelShape, WeightSpace
from equimorph.spaces.dense import DenseExpansion
from equimorph.spaces.expansion import Expansion


class TiedSpace(WeightSpace):
    """All H-equivariant kernels, one free value per orbit of H.

        W = E_H(w),     W[(o, hg), (c, hu)](h delta) = W[(o, g), (c, u)](delta)     for every h in H      (1)

    Args:
        shape: The shape of the kernels.
        subgroup: H.
        bias: Whether there is a bias, one value per right coset Hg and field.
        generator: Where the initial values are drawn from.
        device: Of the parameters.
        dtype: Of the parameters.
    Attributes:
        weight: w, shape (orbits, out_fields * in_fields).
        bias: b, shape (right cosets, out_fields), or None.
    Source: Maile, Wilson and Forré (2023), section 3.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        shape: KernelShape,
        subgroup: Subgroup,
        *,
        bias: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape)
        self.subgroup = subgroup
        self.dense_expansion = DenseExpansion(shape.orbits(subgroup), shape.format).to(device)
        self.bias_expansion = Expansion(shape.bias_orbits(subgroup)).to(device) if bias else None
        self.weight = nn.Parameter(
            torch.empty(self.weight_expansion.orbits.num_orbits, shape.columns, device=device, dtype=dtype)
        )
        if self.bias_expansion is None:
            self.register_parameter("bias", None)
        else:
            num_cosets = self.bias_expansion.orbits.num_orbits
            self.bias = nn.Parameter(torch.empty(num_cosets, shape.out_fields, device=device, dtype=dtype))
        self.reset_parameters(generator)

    @property
    def constraint(self) -> Subgroup:
        """H."""
        return self.subgroup

    @property
    def weight_expansion(self) -> Expansion:
        """E_H to rows."""
        return self.dense_expansion.rows

    def rows(self) -> Tensor:
        """E_H(w)."""
        rows: Tensor = self.weight_expansion(self.weight)
        return rows

    def dense_weight(self, *, dtype: torch.dtype | None = None, channels_last: bool = False) -> Tensor:
        """E_H(w) as a convolution weight, without rows in between."""
        weight: Tensor = self.dense_expansion(self.weight, dtype=dtype, channels_last=channels_last)
        return weight

    def bias_rows(self) -> Tensor | None:
        """E_H(b)."""
        if self.bias is None or self.bias_expansion is None:
            return None
        rows: Tensor = self.bias_expansion(self.bias)
        return rows

    def parameter_orbits(self) -> dict[str, Orbits]:
        """The orbits behind `weight` and `bias`."""
        found = {"weight": self.weight_expansion.orbits}
        if self.bias_expansion is not None:
            found["bias"] = self.bias_expansion.orbits
        return found

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw w from a normal distribution of variance 2 / (dense fan-in), the same for every H; set the bias to zero.

        A map from regular to trivial features sums |H| nearly equal features, so its variance is divided by |H|. After
        global pooling they are nearly equal and the outputs have one scale for every H; a convolution of features with
        correlation rho along orbits has outputs of mean square 1 / |H| + rho (1 - 1 / |H|) of those of a free one.
        """
        variance = 2 / self.shape.fan_in
        if self.shape.source == "regular" and self.shape.target == "trivial":
            variance /= self.subgroup.order
        drawn = torch.empty(self.weight.shape, dtype=self.weight.dtype).normal_(generator=generator)
        self.weight.copy_(drawn * math.sqrt(variance))
        if self.bias is not None:
            self.bias.zero_()

    def description(self) -> dict[str, Any]:
        """The family and H."""
        return {"space": "tied", "subgroup": self.subgroup.name}


def relaxed(space: WeightSpace, subgroup: Subgroup) -> TiedSpace:
    """The same kernel in the larger space of a smaller group: E_K^-1(W), bit for bit.  (2)

    Raises:
        MorphismError: The group is not contained in the present constraint.
    """
    space.check_relaxation(subgroup)
    return _collapsed(space, subgroup, lambda expansion, rows: expansion.representatives(rows))


def projected(space: WeightSpace, subgroup: Subgroup) -> TiedSpace:
    """The nearest kernel that commutes with another group: E_K^-1(P_K(W)). Loses what does not commute."""
    return _collapsed(space, subgroup, lambda expansion, rows: expansion.mean_over_orbits(rows))


@torch.no_grad()
def distance(space: WeightSpace, subgroup: Subgroup) -> float:
    """delta_K = |W - P_K W| / |W|, from 0 (commutes with K) to 1."""
    rows = space.rows().double()
    expansion = Expansion(space.shape.orbits(subgroup)).to(rows.device)
    nearest = expansion(expansion.mean_over_orbits(rows))
    return float((rows - nearest).norm() / rows.norm().clamp_min(torch.finfo(rows.dtype).tiny))


@torch.no_grad()
def _collapsed(space: WeightSpace, subgroup: Subgroup, collapse: Callable[[Expansion, Tensor], Tensor]) -> TiedSpace:
    rows, bias_rows = space.rows(), space.bias_rows()
    made = TiedSpace(
        space.shape,
        subgroup,
        bias=bias_rows is not None,
        generator=torch.Generator(),  # the global one is left as it was; the values are overwritten
        device=rows.device,
        dtype=rows.dtype,
    )
    made.weight.copy_(collapse(made.weight_expansion, rows))
    if bias_rows is not None and made.bias is not None and made.bias_expansion is not None:
        made.bias.copy_(collapse(made.bias_expansion, bias_rows))
    if isinstance(space, TiedSpace):
        made.weight.requires_grad_(space.weight.requires_grad)
        if made.bias is not None and space.bias is not None:
            made.bias.requires_grad_(space.bias.requires_grad)
    return made.train(space.training)
