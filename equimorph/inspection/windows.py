"""The windows that slide over positions in a network, and the sizes of input at which they all keep the grid."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from equimorph.layers import keeps_grid
from equimorph.layers.transposed import TransposedLayer
from equimorph.tracing import Call, record
from equimorph.tracing.flow import TRANSPOSED
from equimorph.tracing.recording import FAILURES

_REACH = 17  # how far other sizes are looked for


@dataclass(frozen=True)
class Window:
    """A window that slides along one axis.

    Attributes:
        size: N, the side of the input.
        window: k.
        stride: s.
        padding: p, at each end.
        dilation: a.
    """

    size: int
    window: int
    stride: int
    padding: int = 0
    dilation: int = 1

    @property
    def rest(self) -> int:
        """(N + 2p - a (k - 1) - 1) mod s, zero where equation (4) holds."""
        return (self.size + 2 * self.padding - self.dilation * (self.window - 1) - 1) % self.stride

    @property
    def keeps_grid(self) -> bool:
        """Whether equation (4) holds."""
        return keeps_grid(self.size, self.window, stride=self.stride, padding=self.padding, dilation=self.dilation)


def windows_of(call: Call) -> tuple[Window, ...]:
    """The windows of a convolution or pooling, one along each axis; none of anything else.

    Example:
        >>> import torch
        >>> (call,) = record(nn.MaxPool2d(3, stride=2, padding=1), torch.zeros(1, 1, 28, 28)).calls
        >>> windows_of(call)[0].rest
        1
    """
    found = _of_function(call) if call.module is None else _of_layer(call.module)
    if found is None:
        return ()
    sides = call.inputs[0].shape[2:]
    columns = [_per_axis(value, len(sides)) for value in found]
    return tuple(Window(side, *values) for side, *values in zip(sides, *columns, strict=True))


def _of_layer(module: nn.Module) -> tuple[Any, ...] | None:
    layer: Any = module
    if isinstance(module, (*TRANSPOSED, TransposedLayer)) or not hasattr(layer, "stride"):
        return None
    padding = getattr(layer, "padding", 0)
    if not hasattr(layer, "kernel_size") and not hasattr(layer, "space"):
        return None
    window = layer.kernel_size if hasattr(layer, "kernel_size") else layer.space.shape.kernel_size
    if isinstance(padding, str):
        padding = (
            0 if padding == "valid" else tuple(a * (k - 1) // 2 for k, a in zip(window, layer.dilation, strict=True))
        )
    return window, layer.stride, padding, getattr(layer, "dilation", 1)


def _of_function(call: Call) -> tuple[Any, ...] | None:
    if call.name in ("conv1d", "conv2d", "conv3d"):
        window, padding = call.inputs[1].shape[2:], call.argument(4, "padding", 0)
        if isinstance(padding, str):
            return None
        return window, call.argument(3, "stride", 1), padding, call.argument(5, "dilation", 1)
    if not call.name.startswith(("max_pool", "avg_pool", "lp_pool")):
        return None
    window = call.argument(1, "kernel_size")
    stride = call.argument(2, "stride")
    dilation = call.argument(4, "dilation", 1) if call.name.startswith("max") else 1
    return window, window if stride is None or stride == [] else stride, call.argument(3, "padding", 0), dilation


def _per_axis(value: Any, rank: int) -> Sequence[int]:
    if isinstance(value, int):
        return (value,) * rank
    return tuple(value) * rank if len(value) == 1 else tuple(value)


def suitable_sizes(network: nn.Module, example: Tensor, most: int = 2) -> tuple[int, ...]:
    """Sides of a square input, the nearest to the example's, at which all windows of a network keep the grid.

    Args:
        network: In the mode to run it in.
        example: An input that it takes.
        most: How many are looked for.
    Returns:
        Sides; none where there is none near, or where the network takes no other sizes.
    Example:
        >>> import torch
        >>> pooled = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.Conv2d(1, 1, 3, stride=2))
        >>> suitable_sizes(pooled, torch.zeros(1, 1, 28, 28))
        (29, 25)
    """
    side = example.shape[2]
    network, example = _without_numbers(network, example)
    found: list[int] = []
    for distance in range(1, _REACH):
        for size in (side + distance, side - distance):
            if 2 * size > side and len(found) < most and _fit(network, example, size):
                found.append(size)
    return tuple(found)


def _without_numbers(network: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """A copy that computes shapes alone, on torch's meta device, where the network's own code allows that."""
    shapes, probe = copy.deepcopy(network).to("meta"), example.to("meta")
    try:
        record(shapes, probe)
    except FAILURES:  # it makes tensors on another device, or looks at values
        return network, example
    return shapes, probe


def _fit(network: nn.Module, example: Tensor, size: int) -> bool:
    try:
        calls = record(network, example.new_zeros(*example.shape[:2], *[size] * (example.ndim - 2))).calls
    except FAILURES:  # too small, say, or of a size that its own code does not expect
        return False
    return all(window.keeps_grid for call in calls for window in windows_of(call))
