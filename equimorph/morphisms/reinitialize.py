"""A network of the same shape with fresh parameters, for trainings from scratch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from equimorph.layers import Constrained

Module = TypeVar("Module", bound=nn.Module)


def reinitialize(module: Module, generator: torch.Generator) -> Module:
    """Draw all parameters anew.

    Args:
        module: A layer or network.
        generator: Where the values are drawn from. Torch's own layers, which draw from the global generator, are
            given one seeded from here, and the global one is left as it was.
    Returns:
        A new module; `module` is left as it was.
    Example:
        >>> from equimorph.layers import Linear
        >>> head = Linear(2, 3, group="D4")
        >>> one, two = (reinitialize(head, torch.Generator().manual_seed(7)) for _ in range(2))
        >>> bool((one.dense_weight() == two.dense_weight()).all())
        True
    """
    fresh = copy.deepcopy(module)
    for part in _outermost(fresh):
        if isinstance(part, Constrained):
            part.reset_parameters(generator)
        else:
            seed = int(torch.randint(2**31, (), generator=generator))
            with seeded(seed):
                part.reset_parameters()  # type: ignore[operator]
    for parameter in fresh.parameters():
        parameter.grad = None
    return fresh


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Give torch's global generators a seed for a while, and then their former state back."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that can reset themselves, not looking into these any further unless a constrained one is inside."""
    inside = any(isinstance(part, Constrained) for part in module.modules() if part is not module)
    if callable(getattr(module, "reset_parameters", None)) and (isinstance(module, Constrained) or not inside):
        yield module
        return
    for child in module.children():
        yield from _outermost(child)
