"""Group and layer normalisation with statistics of their own for each element of the group."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from equimorph.errors import ConfigurationError


class NormByElement(nn.Module):
    """Normalise the fields of a regular feature, for each element g by itself.

        y[(c, g)] = weight[(c, g)] (x[(c, g)] - mean_g) / sqrt(var_g + eps) + bias[(c, g)]

    mean_g and var_g are over the fields of a group of fields, and for "maps" over positions, at this one g: what a
    group or layer norm of an ordinary network sees when its input is moved by g^-1. (The usual one, over all g at once,
    is equivariant, too, and is another function.)

    Args:
        fields: Fields of the feature.
        order: |G|.
        groups: Groups of fields that are normalised together; None for all fields at each position by itself, as a
            layer norm over the last axis does.
        eps: Added to the variance.
        weight: The first values per channel, shape (fields * order,); None for no affine parameters.
        bias: Likewise.
    Shapes:
        (batch, fields * |G|, *spatial) with groups, (..., fields * |G|) without.
    Example:
        >>> import torch
        >>> norm = NormByElement(4, 8, groups=2)
        >>> tuple(norm(torch.randn(2, 32, 5, 5)).shape)
        (2, 32, 5, 5)

    Source: ours, after Wu and He (2018) and Ba, Kiros and Hinton (2016).
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        fields: int,
        order: int,
        *,
        groups: int | None,
        eps: float = 1e-5,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        if groups is not None and (groups < 1 or fields % groups):
            raise ConfigurationError(f"NormByElement: groups={groups} must divide the {fields} fields.")
        self.fields, self.order, self.groups, self.eps = fields, order, groups, eps
        self.weight = None if weight is None else nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a plain tensor."""
        return self._over_last(x) if self.groups is None else self._over_groups(x, self.groups)

    def extra_repr(self) -> str:
        """What `print` shows of the norm."""
        return f"{self.fields} fields by {self.order} elements, groups={self.groups}"

    def _over_last(self, x: Tensor) -> Tensor:
        by_element = x.unflatten(-1, (self.fields, self.order)).transpose(-1, -2)
        normalized: Tensor = F.layer_norm(by_element, (self.fields,), eps=self.eps)
        y = normalized.transpose(-1, -2).flatten(-2)
        return self._affine(y)

    def _over_groups(self, x: Tensor, groups: int) -> Tensor:
        by_element = x.unflatten(1, (self.fields, self.order)).transpose(1, 2)  # (batch, g, c, *spatial)
        y = F.group_norm(by_element.flatten(1, 2), self.order * groups, eps=self.eps)
        y = y.unflatten(1, (self.order, self.fields)).transpose(1, 2).flatten(1, 2)
        # Channels last for a moment, so that the values per channel fit whatever the number of axes.
        return self._affine(y.transpose(1, -1)).transpose(1, -1)

    def _affine(self, y: Tensor) -> Tensor:
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias
