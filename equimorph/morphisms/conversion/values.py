"""The values with which a converted layer begins, made of those that the ordinary layer had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from equimorph.errors import ConfigurationError
from equimorph.groups.orbits import kernel_images
from equimorph.layers import SpaceLayer
from equimorph.morphisms.conversion.widths import Widths
from equimorph.spaces import TiedSpace, rows_from_dense
from equimorph.tracing import Segment

Weights = Literal["fresh", "copy", "project"]


def check_weights(weights: str, width: str | float) -> None:
    """Raise ConfigurationError unless values can be taken over at that width."""
    if weights not in get_args(Weights):
        raise ConfigurationError(
            f'equivariantize: weights is "{weights}"; it is one of {", ".join(get_args(Weights))}.'
        )
    needed = {"copy": "fields", "project": "cost"}.get(weights)
    if needed is not None and width != needed:
        raise ConfigurationError(f'equivariantize: weights="{weights}" needs width="{needed}", got {width!r}.')


@torch.no_grad()
def copy_values(layer: SpaceLayer, weight: Tensor, bias: Tensor | None) -> None:
    """Give a layer, in place, one turned copy of an ordinary kernel V for each element of the group.

        regular -> regular:  W[(o, g), (c, u)](delta) = [g = u] V[o, c](g^-1 delta)
        trivial -> regular:  W[(o, g), c](delta)      = V[o, c](g^-1 delta)
        regular -> trivial:  W[o, (c, u)](delta)      = V[o, c](u^-1 delta) / |G|
        trivial -> trivial:  W = P_G(V)

    So every layer does to channel (., g) what the ordinary network does to an image that was moved by g^-1, and the
    last one takes the mean over g.

    Args:
        layer: Constrained to G.
        weight: V, shape (out fields, in fields, *kernel_size); of a depthwise layer (fields, 1, *kernel_size).
        bias: One value per field.
    """
    space = layer.space
    assert isinstance(space, TiedSpace)
    shape, group = space.shape, space.shape.group
    moved = kernel_images(group.whole, "trivial", "trivial", shape.kernel_size)  # [h, delta] = h delta
    columns = weight.reshape(shape.columns, -1).T  # (delta, (o, c))
    representatives = space.weight_expansion.orbits.representatives
    sizes = space.weight_expansion.orbits.shape
    num_out, num_in = sizes[0], sizes[1]
    pairs, delta = np.divmod(representatives, int(np.prod(sizes[2:], dtype=int)))
    g, u = np.divmod(pairs, num_in)
    if num_out == num_in == 1:
        turned = torch.stack([columns[torch.from_numpy(moved[h][delta].copy())] for h in group.inverses]).mean(0)
        space.weight.copy_(turned)
    else:
        by = g if num_out > 1 else u
        origin = moved[group.inverses[by], delta]
        factor = np.where(g == u, 1.0, 0.0) if num_out > 1 and num_in > 1 else np.ones(len(by))
        factor = factor / (group.order if num_out == 1 else 1)
        space.weight.copy_(columns[torch.from_numpy(origin.copy())] * torch.from_numpy(factor)[:, None].to(columns))
    if space.bias is not None and bias is not None:
        space.bias.copy_(bias[None, :])


@torch.no_grad()
def project_values(layer: SpaceLayer, weight: Tensor, bias: Tensor | None) -> float:
    """Give a layer, in place, the nearest kernel to an ordinary one of the same dense shape.

        w = E_G^-1( P_G(V) )

    Returns:
        |V - P_G V| / |V|.
    """
    space = layer.space
    assert isinstance(space, TiedSpace)
    shape = space.shape
    rows = rows_from_dense(weight.reshape(shape.format.weight_shape), shape.format)
    space.weight.copy_(space.weight_expansion.mean_over_orbits(rows))
    if space.bias is not None and space.bias_expansion is not None and bias is not None:
        bias_rows = bias.view(shape.out_fields, -1).T.contiguous()
        space.bias.copy_(space.bias_expansion.mean_over_orbits(bias_rows))
    nearest = space.weight_expansion(space.weight)
    return float((rows - nearest).norm() / rows.norm().clamp_min(torch.finfo(rows.dtype).tiny))


def filled_up(values: Tensor, dim: int, segments: Sequence[Segment], widths: Widths) -> Tensor:
    """Values by channel with zeros for the channels that fill up the last field of each regular segment."""
    parts = []
    for part, segment in zip(values.split([one.channels for one in segments], dim), segments, strict=True):
        missing = widths.channels_of([segment]) - segment.channels
        parts.append(part)
        if missing:
            parts.append(part.new_zeros([missing if axis == dim else side for axis, side in enumerate(part.shape)]))
    return torch.cat(parts, dim)


def values_at_width(values: Tensor, fields: int, order: int) -> Tensor:
    """Values per channel at another width, shape (fields * order,).

    Channels of the same number are the same channels; where there are more, the mean fills up, where there are fewer,
    it is taken for all.
    """
    missing = fields * order - len(values)
    if missing < 0:
        return values.mean().expand(fields * order).clone()
    return torch.cat([values, values.mean().expand(missing)])
