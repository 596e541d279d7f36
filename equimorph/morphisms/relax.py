"""The equivariance relaxation morphism, and its lossy inverse."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import nn

from equimorph.errors import GroupError, MorphismError, SiteError
from equimorph.groups import Subgroup
from equimorph.layers import Constrained, Site, sites_of

Module = TypeVar("Module", bound=nn.Module)
Target = str | Subgroup | Mapping[str, str | Subgroup]


def relax(module: Module, to: Target) -> Module:
    """Constrain a layer or some sites of a network to smaller groups, and keep the function.

        relax_{H -> K}(w) = E_K^-1( E_H(w) )                    for K <= H                                (2)

    The dense kernel is the same to the last bit, hence so is the output in evaluation mode; what changes is what
    training may do next. The norms that follow a site go through the same map.

    Args:
        module: A layer, a norm, or a network with sites (`em.sites`).
        to: The smaller group, by name or object; for a network also a mapping from sites to groups. A single group
            for a network is meant for every site.
    Returns:
        A new module; `module` is left as it was. Gradients are not copied.
    Raises:
        SiteError: The network has no such site.
        MorphismError: A group is not contained in the site's present constraint.
        GroupError: Unknown or mismatched groups.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> conv = Conv2d(2, 3, 3, group="D4")
        >>> freer = relax(conv, "C4")
        >>> freer.constraint.name, bool((freer.dense_weight() == conv.dense_weight()).all())
        ('C4', True)

    Source: Maile, Wilson and Forré (2023), section 4.
    """
    return _moved("relax", module, to, lambda part, subgroup: part.relaxed(subgroup))


def constrain(module: Module, to: Target) -> Module:
    """Replace kernels by the nearest ones that commute with a group: w = E_H^-1(P_H(W)).

    Lossy wherever the kernel does not commute already; `em.distances` says by how much. Norm parameters and running
    means are averaged over the larger orbits, running variances pooled about the new means.

    Args:
        module: A layer, a norm, or a network with sites.
        to: The group, as in `relax`.
    Returns:
        A new module; `module` is left as it was.
    Raises:
        SiteError: The network has no such site.
        GroupError: Unknown or mismatched groups.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> constrain(Conv2d(2, 3, 3, group="D4", subgroup="C1"), "D4").constraint.name
        'D4'

    Source: the projection P_H of the method's page, section 1.
    """
    return _moved("constrain", module, to, lambda part, subgroup: part.projected(subgroup))


def _moved(speaker: str, module: Module, to: Target, move: Callable[[Constrained, Subgroup], Constrained]) -> Module:
    if isinstance(module, Constrained):
        if isinstance(to, Mapping):
            raise SiteError(f"{speaker}: {type(module).__name__} is a single layer; give one group, not a mapping.")
        return move(module, _subgroup(to, module))  # type: ignore[return-value]
    sites = sites_of(module)
    if not sites:
        raise SiteError(f"{speaker}: {type(module).__name__} has no sites, that is no layers with a weight space.")
    targets = to if isinstance(to, Mapping) else dict.fromkeys(sites, to)
    replacements: dict[str, Constrained] = {}
    for name, target in targets.items():
        if name not in sites:
            raise SiteError(f'{speaker}: no site "{name}"; this network has {_quoted(sites)} (see em.sites).')
        site = sites[name]
        try:
            subgroup = _subgroup(target, site.layer)
            replacements[name] = move(site.layer, subgroup)
        except (GroupError, MorphismError) as error:
            raise type(error)(f'site "{name}": {error}') from None
        for norm in site.norms:
            replacements[norm] = move(constrained_module(module, norm), subgroup)
    return replaced(module, replacements)


def replaced(network: Module, replacements: Mapping[str, Constrained]) -> Module:
    """A copy of a network with other modules at these paths, and wherever else a replaced one is used."""
    # The memo makes deepcopy put the new module wherever it finds the old one, also where a layer is used twice.
    copied = copy.deepcopy(network, memo={id(network.get_submodule(name)): new for name, new in replacements.items()})
    for parameter in copied.parameters():
        parameter.grad = None
    return copied


def constrained_module(network: nn.Module, name: str) -> Constrained:
    """The layer or norm at this path."""
    found = network.get_submodule(name)
    assert isinstance(found, Constrained)
    return found


def _subgroup(target: str | Subgroup, module: Constrained) -> Subgroup:
    return module.constraint.group.subgroup(target) if isinstance(target, str) else target


def _quoted(sites: Mapping[str, Site]) -> str:
    return ", ".join(f'"{name}"' for name in sites)
