"""What the reference networks have in common: arguments that make one again, and constraints for their sites."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Self

from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.groups import Group, Subgroup
from equimorph.groups import group as group_named
from equimorph.inspection import check_chain

Constraints = str | Subgroup | Sequence[str | Subgroup] | None
"""One subgroup for all sites, or one for each; the whole group when there is none."""


class ReferenceNetwork(nn.Sequential):
    """A network that can be built again from what a file says of it.

    Attributes:
        arguments: What `from_arguments` takes: the group by name and dimension, and the arguments of the class.
    """

    arguments: dict[str, Any]

    def __getitem__(self, index: Any) -> Any:
        """A part by its place; a slice is an ordinary `nn.Sequential`."""
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any], constraints: Sequence[str] | None) -> Self:
        """A network of the shape that `arguments` of another one describes; constrained to G without constraints."""
        rest: dict[str, Any] = {key: value for key, value in arguments.items() if key not in ("group", "dim")}
        make: Any = cls  # each has arguments of its own
        made: Self = make(group=group_named(arguments["group"], dim=arguments["dim"]), constraints=constraints, **rest)
        return made

    def size(self) -> int:
        """The number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def resolve_constraints(speaker: str, ambient: Group, given: Constraints, names: Sequence[str]) -> list[Subgroup]:
    """A subgroup for each site, never growing with depth.

    Raises:
        ConfigurationError: Another number of constraints than of sites, or constraints that grow.
        GroupError: No such subgroup.
    """
    if given is None or isinstance(given, str | Subgroup):
        given = [ambient.whole if given is None else given] * len(names)
    if len(given) != len(names):
        raise ConfigurationError(
            f"{speaker}: {len(given)} constraints for {len(names)} sites ({', '.join(names)}); "
            "give one for each, or one for all."
        )
    subgroups = [ambient.subgroup(one) if isinstance(one, str) else one for one in given]
    check_chain(dict(zip(names, subgroups, strict=True)))
    return subgroups
