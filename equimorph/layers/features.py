"""How a group acts on feature tensors: pixels move, and the channels of a regular field are permuted."""

from __future__ import annotations

import torch
from torch import Tensor

from equimorph.errors import ShapeError
from equimorph.groups import Group, Representation


def transform(feature: Tensor, element: int, group: Group, representation: Representation = "regular") -> Tensor:
    """Apply an element h of G to a feature.

        trivial: (h f)(x) = f(h^-1 x)            regular: (h f)(x, g) = f(h^-1 x, h^-1 g)

    Args:
        feature: Shape (batch, channels, *spatial), or (batch, channels) for a vector, whose pixels are not moved.
        element: The index of h in `group.elements`.
        group: G.
        representation: Type of the feature.
    Returns:
        h f, new, with the sides exchanged where h exchanges axes.
    Raises:
        ShapeError: The number of spatial axes or channels does not fit.
    Example:
        >>> from equimorph.groups import group
        >>> transform(torch.tensor([[[[1, 2], [3, 4]]]]), 1, group("C2"), "trivial").flatten().tolist()
        [4, 3, 2, 1]
    """
    spatial = feature.ndim - 2
    if spatial not in (0, group.dim):
        raise ShapeError(f"transform: {group.name} acts on {group.dim} spatial axes, got {spatial}.")
    if representation == "regular":
        if feature.shape[1] % group.order:
            raise ShapeError(f"transform: {feature.shape[1]} channels are no whole number of {group.name}'s fields.")
        source = torch.from_numpy(group.table[group.inverses[element]].copy()).to(feature.device)
        fields = feature.unflatten(1, (-1, group.order))
        feature = fields.index_select(2, source).flatten(1, 2)
    if spatial == 0:
        return feature.clone()
    matrix = group.elements[element]
    # Row i of a signed permutation matrix says which axis lands on axis i, and whether it is turned round.
    origin = abs(matrix).argmax(1)
    turned = [2 + axis for axis in range(group.dim) if matrix[axis, origin[axis]] < 0]
    return feature.permute(0, 1, *(2 + int(axis) for axis in origin)).flip(turned)
