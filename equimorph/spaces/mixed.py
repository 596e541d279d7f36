"""The [G]-mixed kernels: weighted sums of an equivariant kernel for each of several subgroups."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, GroupError
from equimorph.groups import Orbits, Subgroup
from equimorph.spaces._base import KernelShape, WeightSpace
from equimorph.spaces.energy import energy_shares
from equimorph.spaces.expansion import Expansion
from equimorph.spaces.mixed_expansion import MixedExpansion, MixedProjection, put_together
from equimorph.spaces.mixture import LogitMixture, MixtureStart


class MixedSpace(LogitMixture):
    """One kernel for each member, of which the mixture is the weighted sum.

        W = sum_i z_i E_{H_i}( w_i nu_i / |w_i| ),     b = sum_i z_i E_{H_i}(b_i),     z = softmax(alpha / T)      (3)

    nu_i is the norm of w_i at initialisation, fixed from then on, so that z and not the size of w_i carries the
    mixture. By linearity a layer needs one convolution with W, whatever the number of members.

    The w_i lie one behind the other in one memory, so that they need no copy to be summed. safetensors' `save_model`
    refuses that; `save_file(network.state_dict(), ...)` takes it.

    Args:
        shape: The shape of the kernels.
        members: H_1, ..., H_m, different subgroups of G.
        start: "uniform" for alpha = 0, or "prior" for alpha = 0 for the largest member and -2 for the others.
        skip: Whether the identity is one more member.
        penalties: A weight decay of its own for some members, by name. nu_i / |w_i| is then left out of (3) for all of
            them, since it would undo the penalty.
        bias: Whether there is a bias.
        generator: Where the initial values are drawn from.
        device: Of the parameters.
        dtype: Of the parameters.
    Attributes:
        weights: w_i, shape (orbits of H_i, out_fields * in_fields).
        biases: b_i, shape (right cosets of H_i, out_fields); none without a bias.
        logits: alpha, one for each member.
        temperature: T.
        norms: nu_i, saved with the network.
    Raises:
        GroupError: No member, one twice, one that is no subgroup of G, or a penalty for what is no member.
        ConfigurationError: An unknown start; a negative penalty.
        ShapeError: A skip member whose in and out features differ.
    Example:
        >>> from equimorph.groups import group
        >>> D4 = group("D4")
        >>> shape = KernelShape(D4, out_fields=2, in_fields=3, kernel_size=(3, 3))
        >>> space = MixedSpace(shape, [D4.subgroup("C4"), D4.whole], start="prior")
        >>> tuple(space.dense_weight().shape), {name: round(z, 3) for name, z in space.shares().items()}
        ((16, 24, 3, 3), {'D4': 0.881, 'C4': 0.119})

    Source: Maile, Wilson and Forré (2023), section 4.2.
    """

    norms: Tensor
    family = "mixed"

    def __init__(
        self,
        shape: KernelShape,
        members: Sequence[Subgroup],
        *,
        start: MixtureStart = "uniform",
        skip: bool = False,
        penalties: Mapping[str, float] | None = None,
        bias: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape, members, start=start, skip=skip, device=device, dtype=dtype)
        self.member_penalties = _check_penalties(penalties or {}, self.members)
        self._orbits = [shape.orbits(member) for member in self.members]
        self._bias_orbits = [shape.bias_orbits(member) for member in self.members] if bias else []
        self.expansion = MixedExpansion(self._orbits).to(device)
        self.bias_expansion = MixedExpansion(self._bias_orbits).to(device) if bias else None
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(orbits.num_orbits, shape.columns, **options)) for orbits in self._orbits
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.empty(orbits.num_orbits, shape.out_fields, **options)) for orbits in self._bias_orbits
        )
        put_together(list(self.weights))
        self.register_buffer("norms", torch.ones(len(self.members), **options))
        self.reset_parameters(generator)

    def shares(self) -> dict[str, float]:
        """z over the subgroups."""
        # Of the members' logits alone: a skip member that has nearly everything leaves z with no digits.
        scaled = self.logits.detach().double()[: len(self.members)] / self.temperature
        return dict(zip(self.member_names, torch.softmax(scaled, 0).tolist(), strict=False))

    def rows(self) -> Tensor:
        """(3) as rows."""
        weights = self.mixture_weights()
        norms = None if self.member_penalties else self.norms
        rows: Tensor = self.expansion(list(self.weights), weights[: len(self.members)], norms)
        return self._with_skip(rows, weights)

    def bias_rows(self) -> Tensor | None:
        """The weighted sum of the members' biases."""
        if self.bias_expansion is None:
            return None
        rows: Tensor = self.bias_expansion(list(self.biases), self.mixture_weights()[: len(self.members)])
        return rows

    def parameter_orbits(self) -> dict[str, Orbits]:
        """The orbits behind each member's table."""
        found = {f"weights.{i}": orbits for i, orbits in enumerate(self._orbits)}
        return found | {f"biases.{i}": orbits for i, orbits in enumerate(self._bias_orbits)}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw each member as a layer of its subgroup, divided by sqrt(sum_i z_i^2), so that W has its variance."""
        weights = self.mixture_weights()[: len(self.members)].double()
        scale = 1 / weights.square().sum().sqrt().item()
        for member, table, norm in zip(self.members, self.weights, self.norms, strict=True):
            drawn = torch.empty(table.shape, dtype=table.dtype).normal_(generator=generator)
            table.copy_(drawn * (scale * self._initial_std(member)))
            norm.copy_(table.norm())
        for table in self.biases:
            table.zero_()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        put_together(list(self.weights))
        return self

    @torch.no_grad()
    def take(self, space: WeightSpace) -> None:
        """Start from the kernel of another space: w_i = E_{H_i}^-1( P_{H_i}(W) ), in place."""
        rows, bias_rows = space.rows(), space.bias_rows()
        for orbits, table, norm in zip(self._orbits, self.weights, self.norms, strict=True):
            table.copy_(Expansion(orbits).to(rows.device).mean_over_orbits(rows))
            norm.copy_(table.norm())
        if bias_rows is not None:
            for orbits, table in zip(self._bias_orbits, self.biases, strict=True):
                table.copy_(Expansion(orbits).to(rows.device).mean_over_orbits(bias_rows))

    def penalties(self) -> dict[str, float]:
        """None on the logits, and those of the members that have their own."""
        own = {name: f"weights.{i}" for i, name in enumerate(self.member_names)}
        return super().penalties() | {own[name]: decay for name, decay in self.member_penalties.items()}

    def description(self) -> dict[str, Any]:
        """As of every mixture, and the members' penalties."""
        return {**super().description(), "penalties": self.member_penalties}


class TiedMixedSpace(LogitMixture):
    """One dense kernel V for all members, of which the mixture is the weighted sum of projections.

        W = sum_i z_i P_{H_i}(V),     b = sum_i z_i P_{H_i}(b),     z = softmax(alpha / T)

    For the six subgroups of D4 it has 0.38 of the parameters of `MixedSpace`. P_G(W) = P_G(V) whatever z is, and V may
    grow where z is small, so z is no share of the kernel; `shares` are those of its energy instead.

    Args:
        shape, members, start, skip, bias, generator, device, dtype: As of `MixedSpace`.
    Attributes:
        weight: V as rows, shape (triples, out_fields * in_fields).
        bias: b as rows, shape (out indices, out_fields), or None.
        logits: alpha, one for each member.
        temperature: T.
    Raises:
        GroupError, ShapeError: As of `MixedSpace`.
    Example:
        >>> from equimorph.groups import group
        >>> D4 = group("D4")
        >>> shape = KernelShape(D4, out_fields=2, in_fields=3, kernel_size=(3, 3))
        >>> space = TiedMixedSpace(shape, [D4.subgroup("C4"), D4.whole], generator=torch.Generator().manual_seed(0))
        >>> {name: round(share, 1) for name, share in space.shares().items()}
        {'D4': 0.8, 'C4': 0.2}

    Source: the method's page, section 3; ours.
    """

    bias: nn.Parameter | None
    family = "tied-mixed"

    def __init__(
        self,
        shape: KernelShape,
        members: Sequence[Subgroup],
        *,
        start: MixtureStart = "uniform",
        skip: bool = False,
        bias: bool = False,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape, members, start=start, skip=skip, device=device, dtype=dtype)
        self._orbits = shape.orbits(shape.group.trivial)
        self._bias_orbits = shape.bias_orbits(shape.group.trivial)
        self.projection = MixedProjection(self.members, shape.target, shape.source, shape.kernel_size).to(device)
        self.weight = nn.Parameter(torch.empty(self._orbits.num_orbits, shape.columns, device=device, dtype=dtype))
        if bias:
            self.bias_projection = MixedProjection(self.members, shape.target, "trivial", ()).to(device)
            num_out = self._bias_orbits.num_orbits
            self.bias = nn.Parameter(torch.empty(num_out, shape.out_fields, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters(generator)

    def shares(self) -> dict[str, float]:
        """The shares of the members in the energy |W|^2 (`energy_shares`)."""
        return energy_shares(self, self.members)

    def rows(self) -> Tensor:
        """The mixture as rows."""
        weights = self.mixture_weights()
        rows: Tensor = self.projection(self.weight, weights[: len(self.members)])
        return self._with_skip(rows, weights)

    def bias_rows(self) -> Tensor | None:
        """The weighted sum of projections of the bias."""
        if self.bias is None:
            return None
        rows: Tensor = self.bias_projection(self.bias, self.mixture_weights()[: len(self.members)])
        return rows

    def parameter_orbits(self) -> dict[str, Orbits]:
        """V and b are free."""
        return {"weight": self._orbits} | ({} if self.bias is None else {"bias": self._bias_orbits})

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw V so that W has the variance of a layer of any one subgroup.

            Var W = Var V * sum_ij z_i z_j |H_i n H_j| / (|H_i| |H_j|)

        Between trivial features, where an element may leave an entry in place, it is more: see `MixedProjection`. A map
        from regular to trivial features needs no such factor: it sums nearly equal features, and the sum of a kernel
        over them is the same for all its projections.
        """
        drawn = torch.empty(self.weight.shape, dtype=self.weight.dtype).normal_(generator=generator)
        variance = 1.0
        if not (self.shape.source == "regular" and self.shape.target == "trivial"):
            variance = self.projection.variance(self.mixture_weights()[: len(self.members)])
        self.weight.copy_(drawn * (self._initial_std(None) / math.sqrt(variance)))
        if self.bias is not None:
            self.bias.zero_()

    @torch.no_grad()
    def take(self, space: WeightSpace) -> None:
        """Start from the kernel of another space: V = W, in place."""
        self.weight.copy_(space.rows())
        bias_rows = space.bias_rows()
        if self.bias is not None and bias_rows is not None:
            self.bias.copy_(bias_rows)


def _check_penalties(penalties: Mapping[str, float], members: Sequence[Subgroup]) -> dict[str, float]:
    """Penalties by name of the member, checked. The skip member has no parameter that one could act on."""
    names = [member.name for member in members]
    for name, penalty in penalties.items():
        if name not in names:
            raise GroupError(f"mixture: a penalty for {name}, which is no member; there are {', '.join(names)}.")
        if not penalty >= 0:
            raise ConfigurationError(f"mixture: the penalty of {name} is {penalty}; it must not be negative.")
    return dict(penalties)
