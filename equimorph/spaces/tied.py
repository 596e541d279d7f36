"""The kernels that commute with one subgroup H: weights tied along H's orbits."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from equimorph.groups import Orbits, Subgroup
from equimorph.spaces._base import KernelShape, WeightSpace, check_relaxation, dense_from_rows
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
        self.weight_expansion = Expansion(shape.orbits(subgroup)).to(device)
        self.bias_expansion = Expansion(shape.bias_orbits(subgroup)).to(device) if bias else None
        num_orbits = self.weight_expansion.orbits.num_orbits
        self.weight = nn.Parameter(torch.empty(num_orbits, shape.columns, device=device, dtype=dtype))
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

    def dense_weight(self) -> Tensor:
        """E_H(w), an ordinary convolution weight."""
        return dense_from_rows(self.weight_expansion(self.weight), self.shape)

    def dense_bias(self) -> Tensor | None:
        """E_H(b), shape (out channels,)."""
        if self.bias is None or self.bias_expansion is None:
            return None
        bias: Tensor = self.bias_expansion(self.bias)
        return bias.T.reshape(-1)

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

    def relaxed(self, subgroup: Subgroup) -> TiedSpace:
        """The same kernel in the larger space of a smaller group: E_K^-1(E_H(w)), bit for bit.  (2)

        Raises:
            MorphismError: The group is not contained in the present one.
        """
        check_relaxation(self.subgroup, subgroup)
        return self._moved(subgroup, lambda expansion, rows: expansion.representatives(rows))

    def projected(self, subgroup: Subgroup) -> TiedSpace:
        """The nearest kernel that commutes with another group: E_K^-1(P_K(E_H(w))). Loses what does not commute."""
        return self._moved(subgroup, lambda expansion, rows: expansion.mean_over_orbits(rows))

    @torch.no_grad()
    def distance(self, subgroup: Subgroup) -> float:
        """delta_K = |W - P_K W| / |W|, from 0 (commutes with K) to 1."""
        expansion = Expansion(self.shape.orbits(subgroup)).to(self.weight.device)
        rows = self.weight_expansion(self.weight).double()
        nearest = expansion(expansion.mean_over_orbits(rows))
        return float((rows - nearest).norm() / rows.norm().clamp_min(torch.finfo(rows.dtype).tiny))

    @torch.no_grad()
    def _moved(self, subgroup: Subgroup, collapse: Callable[[Expansion, Tensor], Tensor]) -> TiedSpace:
        moved = TiedSpace(
            self.shape,
            subgroup,
            bias=self.bias is not None,
            generator=torch.Generator(),  # the global one is left as it was; the values are overwritten
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        moved.weight.copy_(collapse(moved.weight_expansion, self.weight_expansion(self.weight)))
        moved.weight.requires_grad_(self.weight.requires_grad)
        if self.bias_expansion is not None and moved.bias_expansion is not None:
            assert self.bias is not None and moved.bias is not None
            moved.bias.copy_(collapse(moved.bias_expansion, self.bias_expansion(self.bias)))
            moved.bias.requires_grad_(self.bias.requires_grad)
        return moved.train(self.training)
