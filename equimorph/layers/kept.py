"""Dense kernels that are kept for a while instead of being made anew in each forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError

Values = tuple[Tensor | None, ...]


class Kept:
    """The dense tensors of one module, made once for each precision and memory layout. Copies of a module have none.

    Args:
        trains: Whether gradients are collected in them, to be taken further at the end.
    """

    def __init__(self, *, trains: bool) -> None:
        self.trains = trains
        self._made: dict[Any, tuple[Values, Values]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def get(self, key: Any, make: Callable[[], Values], *, training: bool) -> Values:
        """What `make` gives, made at the first call.

        Raises:
            ConfigurationError: The module is in training mode, and the values are frozen.
        """
        if training and not self.trains:
            raise ConfigurationError(
                "frozen_kernels: a layer runs in training mode, and its kernel would not follow its parameters; "
                "call network.eval() before, or train outside (em.shared_kernels is for training)."
            )
        if key not in self._made:
            # Hooks on what is saved, as checkpoints set them, are for what is computed anew in each pass.
            hooks = torch.autograd.graph.saved_tensors_hooks(_same, _same) if self.trains else nullcontext()
            with torch.inference_mode(False), torch.set_grad_enabled(self.trains), hooks:
                values = make()
            self._made[key] = values, tuple(None if one is None else _leaf(one, self.trains) for one in values)
        return self._made[key][1]

    def pull_back(self) -> None:
        """Take the gradients that were collected further, to the parameters."""
        pairs = [pair for values, leaves in self._made.values() for pair in zip(values, leaves, strict=True)]
        wanted = [(one, leaf.grad) for one, leaf in pairs if one is not None and leaf is not None]
        wanted = [(one, gradient) for one, gradient in wanted if gradient is not None]
        if wanted:
            torch.autograd.backward([one for one, _ in wanted], [gradient for _, gradient in wanted])


class Keeper(nn.Module):
    """A module that computes dense tensors from its parameters, and may keep them for a while."""

    kept: Kept | None = None

    def dense_values(self, key: Any, make: Callable[[], Values]) -> Values:
        """What `make` gives: made anew, or what is kept of it under a key."""
        return make() if self.kept is None else self.kept.get(key, make, training=self.training)


@contextmanager
def frozen_kernels(network: nn.Module) -> Iterator[None]:
    """Make dense kernels, and the tables of norms, once for all forward passes in evaluation mode while it lasts.

    Outputs are the same to the bit. Changes of parameters within are not seen, and no gradient reaches them.

    Args:
        network: A network or layer, in evaluation mode whenever it runs within.
    Raises:
        ConfigurationError: A layer runs in training mode within.
    Example:
        >>> import torch
        >>> from equimorph.layers import Conv2d
        >>> conv, x = Conv2d(2, 3, 5, group="D4").eval(), torch.randn(1, 16, 9, 9)
        >>> with frozen_kernels(conv):
        ...     outputs = [conv(x) for _ in range(3)]
        >>> bool((outputs[0] == conv(x)).all())
        True
    """
    with _keeping(network, trains=False):
        yield


@contextmanager
def shared_kernels(network: nn.Module) -> Iterator[None]:
    """Make each dense kernel once for several forward and backward passes, as when gradients are accumulated.

    Their gradients are summed over the passes as those of dense kernels, and reach the parameters, where they are added
    to `grad`, when the context ends without an exception. So it holds one step: clip and step after it, not within. The
    network is to run as it is, not through `torch.compile`.

    Args:
        network: A network or layer.
    Example:
        >>> import torch
        >>> from equimorph.layers import Conv2d
        >>> conv, parts = Conv2d(2, 3, 5, group="D4"), torch.randn(4, 1, 16, 9, 9)
        >>> with shared_kernels(conv):
        ...     for x in parts:
        ...         conv(x).square().mean().backward()
        >>> tuple(conv.space.weight.grad.shape)
        (200, 6)
    """
    with _keeping(network, trains=True) as kept:
        yield
        for one in kept:
            one.pull_back()


@contextmanager
def _keeping(network: nn.Module, *, trains: bool) -> Iterator[list[Kept]]:
    keepers = [module for module in network.modules() if isinstance(module, Keeper)]
    before = [module.kept for module in keepers]
    kept = [Kept(trains=trains) for _ in keepers]
    for module, one in zip(keepers, kept, strict=True):
        module.kept = one
    try:
        yield kept
    finally:
        for module, previous in zip(keepers, before, strict=True):
            module.kept = previous


def _same(value: Tensor) -> Tensor:
    return value


def _leaf(value: Tensor, trains: bool) -> Tensor:
    """A value apart from what it was made of, which collects its own gradient where it is to be trained."""
    return value.detach().requires_grad_(trains and value.requires_grad)
