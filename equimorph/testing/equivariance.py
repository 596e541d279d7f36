"""Whether a module commutes with a group, tried on every element."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, GroupError
from equimorph.groups import Representation, Subgroup
from equimorph.layers import sites_of, transform
from equimorph.layers._base import Constrained

TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-12,  # measured: 2e-15 for a block of convolution, norm and pooling, 1.3e-14 for a whole network
    torch.float32: 1e-5,  # measured: 7e-7 and 2.3e-6 for the same; every subgroup of D4, both modes, five seeds
}
"""Largest relative error that counts as equivariant, by dtype."""


def equivariance_errors(
    module: nn.Module,
    x: Tensor,
    *,
    source: Representation = "regular",
    target: Representation = "regular",
    constraint: Subgroup | None = None,
) -> dict[int, float]:
    """The relative error  max |m(hx) - h m(x)| / max |m(x)|  of each element h.

    Args:
        module: Called in the mode it is in, on a copy, so running statistics are left alone.
        x: An input, square along the axes that the group exchanges.
        source: Type of the input.
        target: Type of the output; a trivial vector (batch, channels) is compared as it is.
        constraint: The subgroup to try; the module's own when left out (for a network, what all its sites keep).
    Returns:
        The error by index of the element in the group.
    Raises:
        GroupError: No constraint was given and the module has none.
    """
    constraint = _constraint_of(module) if constraint is None else constraint
    module = copy.deepcopy(module)
    errors = {}
    with torch.no_grad():
        expected = module(x)
        scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
        for element in constraint.indices:
            moved = module(transform(x, element, constraint.group, source))
            difference = moved - transform(expected, element, constraint.group, target)
            errors[element] = float(difference.abs().max() / scale)
    return errors


def assert_equivariant(
    module: nn.Module,
    x: Tensor,
    *,
    source: Representation = "regular",
    target: Representation = "regular",
    constraint: Subgroup | None = None,
    tolerance: float | None = None,
) -> None:
    """Raise unless the module commutes with every element of its constraint; arguments as in `equivariance_errors`.

    Args:
        module: The module.
        x: An input.
        source: Type of the input.
        target: Type of the output.
        constraint: The subgroup to try.
        tolerance: Largest relative error; taken from `TOLERANCES` by the dtype of x when left out.
    Raises:
        AssertionError: Names the worst element and its error.
        ConfigurationError: No tolerance was given, and there is no usual one for this dtype.
    Example:
        >>> import equimorph as em
        >>> conv = em.layers.Conv2d(2, 3, 3, group="D4", subgroup="C4", padding=1, dtype=torch.float64)
        >>> assert_equivariant(conv, torch.randn(2, 16, 8, 8, dtype=torch.float64))
    """
    errors = equivariance_errors(module, x, source=source, target=target, constraint=constraint)
    worst = max(errors, key=lambda element: errors[element] if errors[element] == errors[element] else float("inf"))
    if tolerance is None and x.dtype not in TOLERANCES:
        raise ConfigurationError(f"assert_equivariant: there is no usual tolerance for {x.dtype}; pass tolerance=.")
    bound = TOLERANCES[x.dtype] if tolerance is None else tolerance
    if not errors[worst] <= bound:
        group = (_constraint_of(module) if constraint is None else constraint).group
        raise AssertionError(
            f"{type(module).__name__} does not commute with element {worst} of {group.name}, "
            f"{group.elements[worst].tolist()}: relative error {errors[worst]:.2e}, allowed {bound:.0e}."
        )


def _constraint_of(module: nn.Module) -> Subgroup:
    if isinstance(module, Constrained):
        return module.constraint
    constraints = [site.constraint for site in sites_of(module).values()]
    if not constraints:
        raise GroupError(f"assert_equivariant: {type(module).__name__} has no constraint of its own; pass constraint=.")
    common = constraints[0]
    for constraint in constraints[1:]:
        common &= constraint
    return common
