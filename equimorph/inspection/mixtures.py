"""What the mixtures of a network are made of."""

from __future__ import annotations

from torch import nn

from equimorph.layers import sites_of
from equimorph.spaces import LogitMixture, Mixture


def mixture_shares(network: nn.Module) -> dict[str, dict[str, float]]:
    """For each site that is a mixture, the share of each of its members, largest groups first; each adds up to one.

    Of an untied mixture it is z, of a tied or residual one the part of the energy |W|^2 that the member adds.

    Example:
        >>> from equimorph.layers import Conv2d
        >>> from equimorph.morphisms import mix
        >>> mixture_shares(mix(nn.Sequential(Conv2d(2, 2, 3, group="D4")), ["C4", "D4"]))
        {'0': {'D4': 0.5, 'C4': 0.5}}

    Source: the method's page, section 3.
    """
    spaces = {name: site.layer.space for name, site in sites_of(network).items()}
    return {name: space.shares() for name, space in spaces.items() if isinstance(space, Mixture)}


def mixture_weights(network: nn.Module) -> dict[str, dict[str, float]]:
    """For each site whose mixture has logits, z = softmax(alpha / T) by member, a skip path included.

    Example:
        >>> from equimorph.layers import Conv2d
        >>> from equimorph.morphisms import mix
        >>> mixture_weights(mix(nn.Sequential(Conv2d(2, 2, 3, group="D4", padding="same")), ["C4", "D4"], skip=True))
        {'0': {'D4': 0.3333333432674408, 'C4': 0.3333333432674408, 'skip': 0.3333333432674408}}
    """
    found: dict[str, dict[str, float]] = {}
    for name, site in sites_of(network).items():
        space = site.layer.space
        if isinstance(space, LogitMixture):
            found[name] = dict(zip(space.member_names, space.mixture_weights().tolist(), strict=True))
    return found
