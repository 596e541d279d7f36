"""Into a mixture: every site of a network gets a kernel that several subgroups share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from equimorph.errors import ConfigurationError, GroupError, SiteError
from equimorph.groups import Group, Subgroup, search_groups
from equimorph.layers import Constrained, SpaceLayer, sites_of
from equimorph.morphisms.relax import constrained_module, replaced
from equimorph.spaces import MixedSpace, Mixture, MixtureStart, ResidualSpace, TiedMixedSpace, WeightSpace

Module = TypeVar("Module", bound=nn.Module)


def mix(
    module: Module,
    groups: Sequence[str | Subgroup] | None = None,
    *,
    start: MixtureStart = "uniform",
    tied: bool = False,
    skip: bool = False,
    penalties: Mapping[str, float] | None = None,
) -> Module:
    """Turn every site, the head and biases included, into a mixture over subgroups.

        W = sum_i z_i E_{H_i}( w_i nu_i / |w_i| ),     z = softmax(alpha),     w_i := E_{H_i}^-1( P_{H_i}(W) )      (3)

    Members start from the layer's own kernel. Where that commutes with every member, as in a network constrained to G,
    the function stays the same up to rounding. Norms that follow a site become tied over G, as they stay while it is
    a mixture. To start from independent members, `em.reinitialize` the result.

    Args:
        module: A layer, or a network with sites.
        groups: [G], the members, by name or object; `em.search_groups` of the network's group when left out.
        start: "uniform" for equal weights, "prior" for alpha = 0 for the largest member and -2 for the others.
        tied: Whether the members are projections of one dense kernel instead of having their own.
        skip: Whether the identity is one more member where a layer maps features to the same kind of features.
        penalties: A weight decay of its own for some members, by name, without holding norms (untied mixtures only).
    Returns:
        A new module; `module` is left as it was.
    Raises:
        SiteError: There are no sites.
        GroupError: No members, one twice, or one that is no subgroup of G.
        ConfigurationError: An unknown start; penalties for tied members.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> conv = Conv2d(2, 3, 3, group="D4")
        >>> mixed = mix(conv, ["C1", "C4", "D4"], start="prior")
        >>> bool(torch.allclose(mixed.dense_weight(), conv.dense_weight(), atol=1e-6))
        True

    Source: Maile, Wilson and Forré (2023), section 4.2; the tied variant is ours.
    """

    if tied and penalties:
        raise ConfigurationError("mix: tied members share one kernel, so they take no penalties of their own.")

    def mixture(layer: SpaceLayer) -> Mixture:
        shape, like = layer.space.shape, next(layer.parameters())
        members = member_groups(shape.group, groups)
        with_bias = layer.space.bias_rows() is not None
        options: dict[str, Any] = {
            "start": start,
            "skip": skip and layer.can_skip,
            "bias": with_bias,
            "device": like.device,
        }
        options |= {"dtype": like.dtype, "generator": torch.Generator()}  # the global one is left as it was
        if tied:
            dense = TiedMixedSpace(shape, members, **options)
            dense.take(layer.space)
            return dense
        space = MixedSpace(shape, members, penalties=penalties, **options)
        space.take(layer.space)
        return space

    return with_spaces("mix", module, lambda name, layer: mixture(layer))


def add_residual(module: Module, *, equivariant_penalty: float = 1e-4, residual_penalty: float = 1e-2) -> Module:
    """Give every site a free residual on top of its G-equivariant kernel, each under a Gaussian prior.

        W = E_G(w) + V,     w = E_G^-1( P_G(W_before) ),     V = W_before - P_G(W_before)

    The function stays the same up to rounding, when the norms are tied over G already.

    Args:
        module: A layer, or a network with sites.
        equivariant_penalty: The weight decay of the dense kernel E_G(w).
        residual_penalty: The weight decay of V.
    Returns:
        A new module; `module` is left as it was.
    Raises:
        SiteError: There are no sites.
        ConfigurationError: A negative penalty.
    Example:
        >>> from equimorph.layers import Linear
        >>> head = Linear(4, 10, group="D4")
        >>> sum(p.numel() for p in add_residual(head).parameters())
        380

    Source: Finzi, Benton and Wilson (2021), residual pathway priors.
    """

    def residual(layer: SpaceLayer) -> Mixture:
        like = next(layer.parameters())
        space = ResidualSpace(
            layer.space.shape,
            equivariant_penalty=equivariant_penalty,
            residual_penalty=residual_penalty,
            bias=layer.space.bias_rows() is not None,
            generator=torch.Generator(),
            device=like.device,
            dtype=like.dtype,
        )
        space.take(layer.space)
        return space

    return with_spaces("add_residual", module, lambda name, layer: residual(layer))


def member_groups(ambient: Group, groups: Sequence[str | Subgroup] | None) -> tuple[Subgroup, ...]:
    """[G] from names or objects; the default one when none is given.

    Raises:
        GroupError: The list is empty, or names no subgroup of G.
    """
    if groups is None:
        return search_groups(ambient)
    if not groups:
        raise GroupError(f"mixture: the list of members is empty; name subgroups of {ambient.name}, such as C1.")
    return tuple(ambient.subgroup(one) if isinstance(one, str) else one for one in groups)


def with_spaces(speaker: str, module: Module, space_of: Callable[[str, SpaceLayer], WeightSpace]) -> Module:
    """A copy of a layer or network whose sites have other weight spaces; the norms after mixtures are tied over G."""
    if isinstance(module, SpaceLayer):
        return replaced(module, {"": module.on(space_of("", module).train(module.training))})
    sites = sites_of(module)
    if not sites:
        raise SiteError(f"{speaker}: {type(module).__name__} has no sites, that is no layers with a weight space.")
    replacements: dict[str, Constrained] = {}
    for name, site in sites.items():
        space = space_of(name, site.layer).train(site.layer.training)
        replacements[name] = site.layer.on(space)
        tied_over = site.constraint.group.whole if isinstance(space, Mixture) else space.constraint
        for path in site.norms:
            norm = constrained_module(module, path)
            if norm.constraint != tied_over:
                replacements[path] = norm.projected(tied_over)
    return replaced(module, replacements)
