"""What layers have in common: a constraint, how it is moved, and which of them are sites of a search.

A *site* is a layer with a weight space. A norm has no say of its own: it follows the constraint of the nearest site
before it. The order is the one in which the modules run, where it is known (`set_order`, which `equivariantize` calls);
otherwise that in which they were registered, the order of `network.named_modules()`.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor, nn

from equimorph.errors import GroupError
from equimorph.groups import Group, Orbits, Subgroup, group
from equimorph.layers.kept import Keeper
from equimorph.spaces import WeightSpace, is_channels_last, tied


class Constrained(Keeper):
    """A module that commutes with a subgroup, whose parameters can be carried over to another one."""

    @property
    @abstractmethod
    def constraint(self) -> Subgroup:
        """The subgroup that the module is guaranteed to commute with."""

    @abstractmethod
    def relaxed(self, subgroup: Subgroup) -> Self:
        """A new module of the same function, constrained to a smaller group."""

    @abstractmethod
    def projected(self, subgroup: Subgroup) -> Self:
        """A new module, the nearest one that commutes with another group."""

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters, in place."""


class SpaceLayer(Constrained):
    """A layer whose weight comes from a weight space."""

    space: WeightSpace

    @property
    def constraint(self) -> Subgroup:
        """The subgroup that the layer's kernel commutes with."""
        return self.space.constraint

    def dense_weight(self) -> Tensor:
        """The dense kernel, an ordinary weight of shape (out channels, in channels, *kernel_size)."""
        return self.space.dense_weight()

    def dense_bias(self) -> Tensor | None:
        """The dense bias, shape (out channels,), or None."""
        return self.space.dense_bias()

    def kernel_for(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Kernel and bias, the kernel in the precision and memory layout in which its product with x is computed."""
        channels_last = is_channels_last(x)
        # Where gradients are collected they are summed in the parameters' precision; autocast keeps its copy of a leaf.
        dtype = None if self.kept is not None and self.kept.trains else _product_dtype(x)
        make = partial(self.space, dtype=dtype, channels_last=channels_last)
        weight, bias = self.dense_values((dtype, channels_last), make)
        assert weight is not None
        return weight, bias

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters, in place."""
        self.space.reset_parameters(generator)

    def relaxed(self, subgroup: Subgroup) -> Self:
        """A new layer with the same dense kernel, bit for bit, constrained to a smaller group."""
        return self.on(tied.relaxed(self.space, subgroup))

    def projected(self, subgroup: Subgroup) -> Self:
        """A new layer with the nearest kernel that commutes with another group."""
        return self.on(tied.projected(self.space, subgroup))

    def distance(self, subgroup: Subgroup) -> float:
        """|W - P_H W| / |W|, how far the kernel is from commuting with H."""
        return tied.distance(self.space, subgroup)

    @property
    def can_skip(self) -> bool:
        """Whether the identity is among the layer's maps, as a skip path needs: same features in and out."""
        shape = self.space.shape
        return (shape.out_fields, shape.target) == (shape.in_fields, shape.source)

    def on(self, space: WeightSpace) -> Self:
        """A new layer, this one with its kernel from another weight space."""
        # The memo makes deepcopy put the new space where it finds the old one.
        return copy.deepcopy(self, memo={id(self.space): space})


def _product_dtype(x: Tensor) -> torch.dtype | None:
    """What automatic mixed precision computes products in; None where it is off, or leaves them alone."""
    kind = x.device.type
    if x.dtype is torch.float64 or kind == "meta" or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


@dataclass(frozen=True)
class Site:
    """A place in a network whose constraint a search may choose.

    Attributes:
        name: The layer's path in the network.
        layer: The layer with a weight space.
        norms: Paths of the norms that follow its constraint.
    """

    name: str
    layer: SpaceLayer
    norms: tuple[str, ...]

    @property
    def constraint(self) -> Subgroup:
        """The subgroup that the site's layer commutes with."""
        return self.layer.constraint


_ORDER = "constrained_order"
_NOTES = (_ORDER, "conversion", "narrowed")  # what is on record about a network that was converted


def set_order(network: nn.Module, names: Sequence[str]) -> None:
    """Put on record, in place, in which order the constrained modules of a network run."""
    network.__dict__[_ORDER] = tuple(names)


def forget_order(network: nn.Module) -> None:
    """Take away, in place, what is on record about a network's layers, for one that has none any more."""
    for name in _NOTES:
        network.__dict__.pop(name, None)


def constrained_modules(network: nn.Module) -> Iterator[tuple[str, Constrained]]:
    """All constrained modules with their paths, in the order in which they run or were registered."""
    found = {name: module for name, module in network.named_modules() if isinstance(module, Constrained)}
    order = list(found)
    # Inner parts first, so that what is known of the whole has the last word.
    for prefix, part in reversed(list(network.named_modules())):
        if _ORDER in part.__dict__:
            names = [f"{prefix}.{name}" if prefix else name for name in part.__dict__[_ORDER]]
            order = _reordered(order, names)
    for name in order:
        yield name, found[name]


def _reordered(order: list[str], wanted: list[str]) -> list[str]:
    """The names with those that are wanted in another order put in each other's places."""
    present = set(order)
    ordered = iter([name for name in wanted if name in present])
    moved = set(wanted)
    return [next(ordered) if name in moved else name for name in order]


def sites_of(network: nn.Module) -> dict[str, Site]:
    """The sites of a network by name, in the order of `constrained_modules`, which is read as that of depth."""
    layers: dict[str, SpaceLayer] = {}
    norms: dict[str, list[str]] = {}
    current = None
    for name, module in constrained_modules(network):
        if isinstance(module, SpaceLayer):
            current = name
            layers[name], norms[name] = module, []
        elif current is not None:
            norms[current].append(name)
    return {name: Site(name, layer, tuple(norms[name])) for name, layer in layers.items()}


def resolve_constraint(ambient: Group | str, subgroup: Subgroup | str | None, *, dim: int | None = None) -> Subgroup:
    """A subgroup of G from names or objects; G itself when none is given.

    Raises:
        GroupError: G has another dimension than the layer, or no such subgroup.
    """
    ambient = group(ambient, dim=dim) if isinstance(ambient, str) else ambient
    if dim is not None and ambient.dim != dim:
        raise GroupError(f"layer of dimension {dim}: the group {ambient.name} acts in dimension {ambient.dim}.")
    if subgroup is None:
        return ambient.whole
    if isinstance(subgroup, str):
        return ambient.subgroup(subgroup)
    if subgroup.group != ambient:
        raise GroupError(f"layer: {subgroup.name} is a subgroup of {subgroup.group.name}, not of {ambient.name}.")
    return subgroup


def parameter_orbits(network: nn.Module) -> dict[str, Orbits]:
    """The orbits behind each parameter of a network that is a table of orbits, by the parameter's full name."""
    found: dict[str, Orbits] = {}
    for prefix, module in network.named_modules():
        tables = getattr(module, "parameter_orbits", None)
        if tables is not None:
            for name, orbits in tables().items():
                found[f"{prefix}.{name}" if prefix else name] = orbits
    return found
