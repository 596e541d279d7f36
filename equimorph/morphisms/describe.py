"""The weight spaces of a network as data, and a network from such data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from equimorph.errors import SiteError
from equimorph.layers import SpaceLayer, sites_of
from equimorph.morphisms.mix import with_spaces
from equimorph.spaces import WeightSpace, space_described

Module = TypeVar("Module", bound=nn.Module)


def describe_spaces(network: nn.Module) -> dict[str, dict[str, Any]]:
    """For each site, what it takes to make its weight space again.

    Example:
        >>> from equimorph.layers import Conv2d
        >>> describe_spaces(nn.Sequential(Conv2d(2, 2, 3, group="D4", subgroup="C4")))
        {'0': {'space': 'tied', 'subgroup': 'C4'}}
    """
    return {name: site.layer.space.description() for name, site in sites_of(network).items()}


def rebuild_spaces(network: Module, descriptions: Mapping[str, Mapping[str, Any]]) -> Module:
    """A copy of a network with weight spaces of these descriptions, to be filled with values by `load_state_dict`.

    Raises:
        SiteError: The sites of the network and of the descriptions differ.
        ConfigurationError, GroupError: A description that cannot be understood.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> network = nn.Sequential(Conv2d(2, 2, 3, group="D4"))
        >>> rebuild_spaces(network, {"0": {"space": "tied", "subgroup": "C1"}})[0].constraint.name
        'C1'
    """
    present = list(sites_of(network))
    if present != list(descriptions):
        raise SiteError(
            f"rebuild: the network has the sites {', '.join(present)}, and spaces are given for "
            f"{', '.join(descriptions)}; take the network that they were taken from."
        )

    def space(name: str, layer: SpaceLayer) -> WeightSpace:
        like = next(layer.parameters())
        bias = layer.space.bias_rows() is not None
        return space_described(descriptions[name], layer.space.shape, bias=bias, device=like.device, dtype=like.dtype)

    return with_spaces("rebuild", network, space)
