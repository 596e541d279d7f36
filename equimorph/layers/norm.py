"""Batch normalisation with statistics and affine parameters tied over the orbits of a subgroup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, ShapeError
from equimorph.groups import Group, Orbits, Representation, Subgroup, kernel_orbits
from equimorph.layers._base import Constrained, resolve_constraint
from equimorph.layers.pooled_norm import pooled_batch_norm
from equimorph.spaces import Expansion, check_relaxation


class BatchNorm(Constrained):
    """Batch normalisation that commutes with a subgroup H of G; works on vectors, signals, images and volumes.

        y[(c, g)] = weight[Hg, c] (x[(c, g)] - mean[Hg, c]) / sqrt(var[Hg, c] + eps) + bias[Hg, c]

    In training mode mean and variance pool the batch, all positions and all g of a right coset Hg. The running
    variance is the biased estimate, since a correction by the pooled count would differ between a parent and its
    relaxed child.

    Args:
        fields: Fields of the feature; channels, when `representation` is trivial.
        group: G, a group or its name.
        subgroup: H, a subgroup of G or its name; G itself when left out.
        representation: Type of the feature. A trivial one is normalised per channel, whatever H is.
        eps: Added to the variance.
        momentum: Share of the new batch in the running statistics.
        device: Of the parameters.
        dtype: Of the parameters.
    Attributes:
        weight, bias: Affine parameters, shape (right cosets, fields).
        running_mean, running_var: Statistics for evaluation mode, of the same shape.
    Shapes:
        Input and output (batch, fields * |G|, *spatial), or without the factor where the feature is trivial.
    Raises:
        ShapeError: An input with another number of channels.
    Example:
        >>> norm = BatchNorm(4, group="D4", subgroup="C4")
        >>> tuple(norm.weight.shape), tuple(norm(torch.randn(2, 32, 5, 5)).shape)
        ((2, 4), (2, 32, 5, 5))

    Source: Ioffe and Szegedy (2015); tied as in equation (1) of the method's page.
    """

    running_mean: Tensor
    running_var: Tensor
    coset_order: Tensor

    def __init__(
        self,
        fields: int,
        *,
        group: Group | str,
        subgroup: Subgroup | str | None = None,
        representation: Representation = "regular",
        eps: float = 1e-5,
        momentum: float = 0.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if fields < 1:
            raise ConfigurationError(f"BatchNorm: fields is {fields}; a norm needs at least one field.")
        self.fields, self.representation, self.eps, self.momentum = fields, representation, eps, momentum
        self.subgroup = resolve_constraint(group, subgroup)
        orbits = kernel_orbits(self.subgroup, representation, "trivial", ())
        self.expansion = Expansion(orbits).to(device)
        table = {"size": (orbits.num_orbits, fields), "device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.ones(**table))  # type: ignore[arg-type]
        self.bias = nn.Parameter(torch.zeros(**table))  # type: ignore[arg-type]
        self.register_buffer("running_mean", torch.zeros(**table))  # type: ignore[arg-type]
        self.register_buffer("running_var", torch.ones(**table))  # type: ignore[arg-type]
        order = torch.from_numpy(orbits.members.reshape(-1).copy())
        self.cosets_are_contiguous = bool((order[1:] > order[:-1]).all())
        self.register_buffer("coset_order", order.to(device), persistent=False)

    @property
    def constraint(self) -> Subgroup:
        """H."""
        return self.subgroup

    @property
    def channels(self) -> int:
        """Channels of the feature as a plain tensor."""
        return self.fields * len(self.coset_order)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a plain tensor (batch, channels, *spatial)."""
        if x.ndim < 2 or x.shape[1] != self.channels:
            raise ShapeError(f"BatchNorm: needs {self.channels} channels, got a tensor {tuple(x.shape)}.")
        return self._normalize_batch(x) if self.training else self._normalize_running(x)

    def dense_statistics(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Running mean and variance, weight and bias per channel, what an ordinary batch norm holds."""
        mean, var, weight, bias = (
            self.expansion(table).T.reshape(-1)
            for table in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        return mean, var, weight, bias

    def _normalize_running(self, x: Tensor) -> Tensor:
        mean, var, weight, bias = self.dense_values(None, self.dense_statistics)
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)

    def _normalize_batch(self, x: Tensor) -> Tensor:
        y, mean, var = pooled_batch_norm(
            x, self.weight, self.bias, self.coset_order, self.eps, side_by_side=self.cosets_are_contiguous
        )
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)
        return y

    def parameter_orbits(self) -> dict[str, Orbits]:
        """The orbits behind `weight` and `bias`."""
        return {"weight": self.expansion.orbits, "bias": self.expansion.orbits}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Back to the identity: weight and variance one, bias and mean zero."""
        for table, value in ((self.weight, 1), (self.bias, 0), (self.running_mean, 0), (self.running_var, 1)):
            table.fill_(value)

    @torch.no_grad()
    def relaxed(self, subgroup: Subgroup) -> Self:
        """A new norm of the same function in evaluation mode, bit for bit, tied over the orbits of a smaller group."""
        check_relaxation(self.subgroup, subgroup)
        tables = {name: self.expansion(table) for name, table in self._tables().items()}
        return self._on(subgroup, lambda norm: {name: norm.expansion.representatives(t) for name, t in tables.items()})

    @torch.no_grad()
    def projected(self, subgroup: Subgroup) -> Self:
        """A new norm tied over another group: parameters and means averaged, variances pooled about the new mean."""
        dense = {name: self.expansion(table) for name, table in self._tables().items()}
        dense["running_var"] = dense["running_var"] + dense["running_mean"] ** 2  # second moments add up, variances not

        def average(norm: Self) -> dict[str, Tensor]:
            tables = {name: norm.expansion.mean_over_orbits(table) for name, table in dense.items()}
            tables["running_var"] = (tables["running_var"] - tables["running_mean"] ** 2).clamp_min(0)
            return tables

        return self._on(subgroup, average)

    def extra_repr(self) -> str:
        """What `print` shows of the norm."""
        return f"{self.fields} {self.representation}, constraint={self.subgroup.name}"

    def _tables(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("weight", "bias", "running_mean", "running_var")}

    def _on(self, subgroup: Subgroup, tables: Callable[[Self], dict[str, Tensor]]) -> Self:
        norm = type(self)(
            self.fields,
            group=subgroup.group,
            subgroup=subgroup,
            representation=self.representation,
            eps=self.eps,
            momentum=self.momentum,
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        for name, table in tables(norm).items():
            getattr(norm, name).copy_(table)
        norm.weight.requires_grad_(self.weight.requires_grad)
        norm.bias.requires_grad_(self.bias.requires_grad)
        return norm.train(self.training)
