"""Weight spaces from what a file says of them, `WeightSpace.description`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from equimorph.errors import ConfigurationError
from equimorph.spaces._base import KernelShape, WeightSpace
from equimorph.spaces.mixed import MixedSpace, TiedMixedSpace
from equimorph.spaces.residual import ResidualSpace
from equimorph.spaces.tied import TiedSpace


def space_described(
    description: Mapping[str, Any],
    shape: KernelShape,
    *,
    bias: bool,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> WeightSpace:
    """A space of that description, with fresh values; the global generator is left as it was.

    Raises:
        ConfigurationError: There is no such family.
        GroupError: A name in it is no subgroup of G.
    Example:
        >>> from equimorph.groups import group
        >>> shape = KernelShape(group("D4"), 2, 3, (3, 3))
        >>> space_described({"space": "tied", "subgroup": "C4"}, shape, bias=False).constraint.name
        'C4'
    """
    options: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype, "generator": torch.Generator()}
    arguments = {key: value for key, value in description.items() if key != "space"}
    if "members" in arguments:
        arguments["members"] = [shape.group.subgroup(name) for name in arguments["members"]]
    match description.get("space"):
        case "tied":
            return TiedSpace(shape, shape.group.subgroup(arguments["subgroup"]), **options)
        case "mixed":
            return MixedSpace(shape, **arguments, **options)
        case "tied-mixed":
            return TiedMixedSpace(shape, **arguments, **options)
        case "residual":
            return ResidualSpace(shape, **arguments, **options)
        case family:
            raise ConfigurationError(
                f'weight space: no family "{family}"; there are tied, mixed, tied-mixed and residual.'
            )
