"""Which symmetry the breaking of a larger symmetry has kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from equimorph.groups import Subgroup
from equimorph.layers import sites_of
from equimorph.spaces import WeightSpace, energy_within


def growth_evidence(network: nn.Module, members: Sequence[Subgroup]) -> dict[Subgroup, float]:
    """How clearly what has grown beyond G keeps a smaller group H, in nats per dimension, the mean over sites.

        inside:   a = (|P_H W|^2 - |P_G W|^2) / dim,     outside:  b = (|W|^2 - |P_H W|^2) / dim,     all:  c
        evidence = (log c - p log a - (1 - p) log b) / 2,     p: the share of the dimensions that is inside

    For a network that was constrained to G and has been trained freely since. Noise grows alike in all directions,
    what the data ask for grows in those that the data's symmetry allows; the evidence is the gain in likelihood of a
    Gaussian with two variances over one with a single variance. It is zero where the outside has grown more.

    Args:
        network: With sites that are no longer constrained.
        members: The subgroups in question; G and C1, which have no inside or no outside, are passed over.
    Returns:
        By subgroup.
    Example:
        >>> import torch
        >>> from equimorph.groups import group
        >>> from equimorph.layers import Conv2d
        >>> from equimorph.morphisms import relax
        >>> generator = torch.Generator().manual_seed(0)
        >>> conv = relax(Conv2d(2, 2, 3, group="D4", generator=generator), "C4")
        >>> conv.space.weight.data += torch.randn(conv.space.weight.shape, generator=generator)
        >>> free = relax(conv, "C1")
        >>> free.space.weight.data += 0.1 * torch.randn(free.space.weight.shape, generator=generator)
        >>> evidence = growth_evidence(nn.Sequential(free), group("D4").subgroups())
        >>> max(evidence, key=evidence.get).name
        'C4'

    Source: ours.
    """
    spaces = [site.layer.space for site in sites_of(network).values()]
    whole, trivial = spaces[0].shape.group.whole, spaces[0].shape.group.trivial
    proper = [H for H in members if H not in (whole, trivial)]
    return {H: sum(_evidence(space, H) for space in spaces) / len(spaces) for H in proper}


def _evidence(space: WeightSpace, subgroup: Subgroup) -> float:
    group = space.shape.group
    bottom = energy_within(space, group.whole)
    middle, top = energy_within(space, subgroup), energy_within(space, group.trivial)
    inside, outside, everything = middle - bottom, top - middle, top - bottom
    if min(inside.dimensions, outside.dimensions) < 1 or not inside.density > outside.density > 0:
        return 0.0
    share = inside.dimensions / everything.dimensions
    fitted = share * math.log(inside.density) + (1 - share) * math.log(outside.density)
    return (math.log(everything.density) - fitted) / 2
