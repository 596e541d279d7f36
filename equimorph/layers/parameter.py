"""One value per channel, tied over orbits: what norms, activations and scales of torch and of the user hold.

`bind` lets a module find such a parameter where its own was, under the same name, so that its forward need not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch import Tensor, nn

from equimorph.errors import ShapeError
from equimorph.groups import Group, Orbits, Representation, Subgroup, kernel_orbits
from equimorph.layers._base import Constrained, resolve_constraint
from equimorph.spaces import Expansion, check_relaxation

_SUFFIX = "_tied"


class TiedParameter(Constrained):
    """A value per channel (c, g) that is the same along each right coset Hg; calling it gives all of them.

        value[(c, g)] = table[Hg, c]

    Args:
        values: The values, shape (channels,), by which it begins; they are averaged over cosets.
        group: G, a group or its name.
        subgroup: H, a subgroup of G or its name; G itself when left out.
        shape: What the values are viewed as, such as (-1, 1, 1).
        trainable: Whether it is a parameter; a buffer otherwise.
    Raises:
        ShapeError: The channels are no whole number of fields.
    Example:
        >>> scale = TiedParameter(torch.ones(16), group="D4", shape=(-1, 1, 1))
        >>> tuple(scale().shape), tuple(scale.table.shape)
        ((16, 1, 1), (1, 2))

    Source: equation (1) of the method's page, for a bias.
    """

    table: Tensor
    initial: Tensor

    def __init__(
        self,
        values: Tensor,
        *,
        group: Group | str,
        subgroup: Subgroup | str | None = None,
        shape: tuple[int, ...] = (-1,),
        trainable: bool = True,
    ) -> None:
        super().__init__()
        self.subgroup = resolve_constraint(group, subgroup)
        order = self.subgroup.group.order
        if values.ndim != 1 or len(values) % order:
            raise ShapeError(f"TiedParameter: {tuple(values.shape)} values are no whole number of fields of {order}.")
        self.shape, self.trainable = shape, trainable
        representation: Representation = "regular"
        self.expansion = Expansion(kernel_orbits(self.subgroup, representation, "trivial", ())).to(values.device)
        table = self.expansion.mean_over_orbits(values.detach().view(-1, order).T.contiguous())
        if trainable:
            self.table = nn.Parameter(table)
        else:
            self.register_buffer("table", table)
        self.register_buffer("initial", table.detach().clone(), persistent=False)

    @property
    def constraint(self) -> Subgroup:
        """H."""
        return self.subgroup

    def forward(self) -> Tensor:
        """The values, in the shape that was asked for."""
        (value,) = self.dense_values(None, lambda: (self.dense(),))
        assert value is not None
        return value.view(self.shape)

    def dense(self) -> Tensor:
        """The values, shape (channels,)."""
        rows: Tensor = self.expansion(self.table)
        return rows.T.reshape(-1)

    def parameter_orbits(self) -> dict[str, Orbits]:
        """The orbits behind `table`."""
        return {"table": self.expansion.orbits} if self.trainable else {}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Back to the values by which it began."""
        self.table.copy_(self.initial)

    @torch.no_grad()
    def relaxed(self, subgroup: Subgroup) -> Self:
        """A new parameter of the same values, bit for bit, tied over the orbits of a smaller group."""
        check_relaxation(self.subgroup, subgroup)
        return self._on(subgroup, lambda expansion, rows: expansion.representatives(rows))

    @torch.no_grad()
    def projected(self, subgroup: Subgroup) -> Self:
        """A new parameter, averaged over the orbits of another group."""
        return self._on(subgroup, lambda expansion, rows: expansion.mean_over_orbits(rows))

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return f"{self.table.shape[1]} fields, constraint={self.subgroup.name}"

    def _on(self, subgroup: Subgroup, collapse: Callable[[Expansion, Tensor], Tensor]) -> Self:
        made = type(self)(
            self.dense(), group=subgroup.group, subgroup=subgroup, shape=self.shape, trainable=self.trainable
        )
        made.table.copy_(collapse(made.expansion, self.expansion(self.table)))
        made.initial.copy_(collapse(made.expansion, self.expansion(self.initial)))
        made.table.requires_grad_(self.table.requires_grad)
        return made.train(self.training)


def bind(module: nn.Module, name: str, tied: TiedParameter) -> None:
    """Let `module.name`, a parameter or buffer of its own until now, be what a tied parameter gives, in place.

    Example:
        >>> norm = nn.GroupNorm(2, 16)
        >>> bind(norm, "weight", TiedParameter(norm.weight, group="D4"))
        >>> [name for name, _ in norm.named_parameters()], tuple(norm.weight.shape)
        (['bias', 'weight_tied.table'], (16,))
    """
    original, names = _bound_of(module)
    delattr(module, name)
    module.add_module(name + _SUFFIX, tied)
    module.__class__ = _bound_class(original, (*names, name))


def unbind(module: nn.Module) -> None:
    """Give a module parameters of its own again, with the present values, in place."""
    bound = list(bound_parameters(module))
    module.__class__, _ = _bound_of(module)
    for name, tied in bound:
        value = tied().detach().clone()
        delattr(module, name + _SUFFIX)
        if tied.trainable:
            module.register_parameter(name, nn.Parameter(value, requires_grad=tied.table.requires_grad))
        else:
            module.register_buffer(name, value)


def bound_parameters(module: nn.Module) -> Iterator[tuple[str, TiedParameter]]:
    """The parameters of a module that are bound, by the names under which it finds them."""
    _, names = _bound_of(module)
    for name in names:
        tied = module.get_submodule(name + _SUFFIX)
        assert isinstance(tied, TiedParameter)
        yield name, tied


def _bound_of(module: nn.Module) -> tuple[type[nn.Module], tuple[str, ...]]:
    """The class of a module before anything was bound, and the names that are."""
    found: tuple[type[nn.Module], tuple[str, ...]] = getattr(type(module), "_bound_of", (type(module), ()))
    return found


_CLASSES: dict[tuple[type[nn.Module], tuple[str, ...]], type[nn.Module]] = {}


def _bound_class(original: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    """A subclass whose attributes of these names are what the tied parameters beside them give, always the same one."""

    def finder(name: str) -> property:
        return property(lambda module: module.get_submodule(name + _SUFFIX)())

    if (original, names) not in _CLASSES:
        own: dict[str, Any] = {name: finder(name) for name in names}
        own |= {"__module__": original.__module__, "__qualname__": original.__qualname__, "__doc__": original.__doc__}
        own |= {"_bound_of": (original, names), "__reduce_ex__": _reduced}
        _CLASSES[original, names] = type(original.__name__, (original,), own)
    return _CLASSES[original, names]


def _reduced(module: nn.Module, protocol: Any) -> tuple[Any, ...]:
    """What pickle needs to make a module with bound parameters again, whose class has no name by which it is found."""
    original, names = _bound_of(module)
    return (_unfilled, (original, names), *original.__reduce_ex__(module, protocol)[2:])


def _unfilled(original: type[nn.Module], names: tuple[str, ...]) -> nn.Module:
    bound = _bound_class(original, names)
    return bound.__new__(bound)
