"""Residual pathway priors: an equivariant kernel and a free one on top of it, each under its own prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError
from equimorph.groups import Orbits
from equimorph.spaces._base import KernelShape, WeightSpace
from equimorph.spaces.energy import energy_shares
from equimorph.spaces.expansion import Expansion
from equimorph.spaces.mixture import Mixture
from equimorph.spaces.tied import TiedSpace


class ResidualSpace(Mixture):
    """A G-equivariant kernel plus a free residual, with a Gaussian prior on the dense kernel of each.

        W = E_G(w) + V,     penalty = equivariant_penalty / 2 |E_G(w)|^2 + residual_penalty / 2 |V|^2

    The penalties are the weight decays of the two dense kernels (`em.parameter_groups` applies them); a Gaussian prior
    of variance s^2 on N training samples is the penalty 1 / (N s^2). The bias, E_G(b) + c, has none.

    Args:
        shape: The shape of the kernels.
        equivariant_penalty: Of E_G(w).
        residual_penalty: Of V.
        bias: Whether there is a bias.
        generator: Where the initial values of w are drawn from; V starts at zero, the mode of its prior.
        device: Of the parameters.
        dtype: Of the parameters.
    Attributes:
        equivariant: The space of E_G(w) and E_G(b).
        weight: V as rows, shape (triples, out_fields * in_fields).
        bias: c as rows, shape (out indices, out_fields), or None.
    Raises:
        ConfigurationError: A negative penalty.
    Example:
        >>> from equimorph.groups import group
        >>> D4 = group("D4")
        >>> space = ResidualSpace(KernelShape(D4, 2, 3, (3, 3)))
        >>> space.shares()["D4"] > 0.999999, space.constraint.name
        (True, 'C1')

    Source: Finzi, Benton and Wilson (2021).
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        shape: KernelShape,
        *,
        equivariant_penalty: float = 1e-4,
        residual_penalty: float = 1e-2,
        bias: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape)
        for what, value in (("equivariant_penalty", equivariant_penalty), ("residual_penalty", residual_penalty)):
            if not value >= 0:
                raise ConfigurationError(f"residual space: {what} is {value}; it must not be negative.")
        self.equivariant_penalty, self.residual_penalty = equivariant_penalty, residual_penalty
        whole, trivial = shape.group.whole, shape.group.trivial
        self.members = (whole, trivial) if whole != trivial else (whole,)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.equivariant = TiedSpace(shape, whole, bias=bias, generator=generator, **options)
        self._orbits, self._bias_orbits = shape.orbits(trivial), shape.bias_orbits(trivial)
        self.weight = nn.Parameter(torch.zeros(self._orbits.num_orbits, shape.columns, **options))
        if bias:
            self.bias = nn.Parameter(torch.zeros(self._bias_orbits.num_orbits, shape.out_fields, **options))
        else:
            self.register_parameter("bias", None)

    def shares(self) -> dict[str, float]:
        """The shares of G and C1 in the energy |W|^2 (`energy_shares`)."""
        return energy_shares(self, self.members)

    def rows(self) -> Tensor:
        """E_G(w) + V."""
        return self.equivariant.rows() + self.weight

    def bias_rows(self) -> Tensor | None:
        """E_G(b) + c."""
        tied = self.equivariant.bias_rows()
        return None if tied is None or self.bias is None else tied + self.bias

    def parameter_orbits(self) -> dict[str, Orbits]:
        """Of the two parts that are this module's own: V and c are free."""
        return {"weight": self._orbits} | ({} if self.bias is None else {"bias": self._bias_orbits})

    def penalties(self) -> dict[str, float]:
        """The two priors, and none on the biases."""
        found = {"weight": self.residual_penalty, "equivariant.weight": self.equivariant_penalty}
        return found | ({} if self.bias is None else {"bias": 0.0, "equivariant.bias": 0.0})

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw w as for a layer of G; V and c are zero."""
        self.equivariant.reset_parameters(generator)
        self.weight.zero_()
        if self.bias is not None:
            self.bias.zero_()

    @torch.no_grad()
    def take(self, space: WeightSpace) -> None:
        """Start from the kernel of another space: w from its projection on G, V the rest, in place."""
        _divide(space.rows(), self.equivariant.weight, self.weight, self.equivariant.weight_expansion)
        bias_rows, tied_bias = space.bias_rows(), self.equivariant.bias
        if bias_rows is not None and tied_bias is not None and self.bias is not None:
            assert self.equivariant.bias_expansion is not None
            _divide(bias_rows, tied_bias, self.bias, self.equivariant.bias_expansion)

    def description(self) -> dict[str, Any]:
        """The family and its penalties."""
        penalties = {"equivariant_penalty": self.equivariant_penalty, "residual_penalty": self.residual_penalty}
        return {"space": "residual", **penalties}


def _divide(rows: Tensor, table: nn.Parameter, residual: nn.Parameter, expansion: Expansion) -> None:
    """Put the projection of the rows into the table and what is left of them into the residual, in place."""
    table.copy_(expansion.mean_over_orbits(rows))
    residual.copy_(rows - expansion(table))
