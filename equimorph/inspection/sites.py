"""The sites of a network, in order of depth, and whether their constraints make sense together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.groups import Subgroup
from equimorph.layers import sites_of


def sites(network: nn.Module) -> dict[str, Subgroup]:
    """The searchable sites of a network with their constraints, in order of depth.

    A site is a layer with a weight space. The order is that in which the network's modules were registered.

    Example:
        >>> from equimorph.layers import Conv2d
        >>> lift = Conv2d(1, 2, 3, group="D4", source="trivial")
        >>> inner = Conv2d(2, 2, 3, group="D4", subgroup="C4")
        >>> {name: constraint.name for name, constraint in sites(nn.Sequential(lift, inner)).items()}
        {'0': 'D4', '1': 'C4'}
    """
    return {name: site.constraint for name, site in sites_of(network).items()}


def check_chain(constraints: Mapping[str, Subgroup]) -> None:
    """Raise unless constraints never grow with depth: H_1 >= H_2 >= ... >= H_L.

    A constraint on a late layer that an earlier layer does not have buys no equivariance.

    Raises:
        ConfigurationError: Names the first two sites where the constraint grows.
    """
    for earlier, later in itertools.pairwise(constraints):
        if not constraints[later] <= constraints[earlier]:
            raise ConfigurationError(
                f'constraints grow with depth: "{later}" has {constraints[later].name} after "{earlier}" with '
                f"{constraints[earlier].name}, which does not contain it; give each site a subgroup of the one before."
            )
