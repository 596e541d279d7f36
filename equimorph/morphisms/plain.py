"""Out of the library: the same network made of torch's own classes."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from equimorph.errors import MorphismError
from equimorph.layers import AvgPool, BatchNorm, GlobalAvgPool, Linear, MaxPool
from equimorph.layers._base import SpaceLayer
from equimorph.layers.convolution import Conv1d, Conv2d, Conv3d
from equimorph.morphisms.reinitialize import seeded

LayerType = TypeVar("LayerType", bound=nn.Module)

_CONVERTED = (SpaceLayer, BatchNorm, AvgPool, MaxPool, GlobalAvgPool)
_Layer = Callable[..., nn.Module]

_CONVOLUTIONS: dict[int, _Layer] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: dict[int, _Layer] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_AVERAGES: dict[int, _Layer] = {3: nn.AvgPool1d, 4: nn.AvgPool2d, 5: nn.AvgPool3d}
_MAXIMA: dict[int, _Layer] = {3: nn.MaxPool1d, 4: nn.MaxPool2d, 5: nn.MaxPool3d}
_GLOBAL_AVERAGES: dict[int, _Layer] = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}


def plain(network: nn.Module, example: Tensor) -> nn.Module:
    """Replace every layer by torch's own with the dense kernel: an ordinary network with the same output.

    Args:
        network: Any module; containers with the forward of `nn.Sequential` become `nn.Sequential`, others keep
            their class.
        example: An input. The windows of pooling layers are fixed for its size.
    Returns:
        A new module in evaluation mode; `network` is left as it was.
    Raises:
        MorphismError: The example does not reach a layer, so its input size is unknown; a pooling layer is used twice
            at sizes that need different windows.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> plain(Conv2d(2, 3, 3, group="D4"), torch.zeros(1, 16, 8, 8))
        Conv2d(16, 24, kernel_size=(3, 3), stride=(1, 1))
    """
    probe = copy.deepcopy(network).eval()
    with seeded(0):  # torch's layers draw initial values, which are overwritten
        converted = _Conversion(_input_sizes(probe, example)).of(probe, "")
    for parameter in converted.parameters():
        parameter.grad = None
    return converted


def plain_source(network: nn.Module) -> str:
    """Python source of a stand-alone module that rebuilds a plain network with torch alone.

    Args:
        network: What `plain` returned, made of `nn.Sequential` and leaf modules of `torch.nn`.
    Returns:
        Source with a function `build()`, which gives the network without its weights, and `load(folder)`, with them.
    Raises:
        MorphismError: A container or layer that is not torch's own.
    """
    return _SOURCE.format(body=_expression(network, 1))


def _input_sizes(network: nn.Module, example: Tensor) -> dict[int, set[tuple[int, ...]]]:
    """The shapes of the inputs that reach each of our layers, by the layer's id."""
    sizes: dict[int, set[tuple[int, ...]]] = {id(module): set() for module in network.modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[id(module)].add(tuple(inputs[0].shape))

    hooks = [part.register_forward_pre_hook(note) for part in network.modules() if isinstance(part, _CONVERTED)]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return sizes


class _Conversion:
    """Converts the parts of one network, each once, so that a layer that is used twice stays one layer."""

    def __init__(self, sizes: dict[int, set[tuple[int, ...]]]) -> None:
        self._sizes = sizes
        self._done: dict[int, nn.Module] = {}

    def of(self, module: nn.Module, name: str) -> nn.Module:
        if id(module) not in self._done:
            self._done[id(module)] = self._convert(module, name)
        return self._done[id(module)]

    def _convert(self, module: nn.Module, name: str) -> nn.Module:
        if isinstance(module, _CONVERTED):
            return _leaf(module, self._size(module, name))
        # `named_children` would leave out the second place of a layer that is used twice.
        parts = [(key, part) for key, part in module._modules.items() if part is not None]
        children = OrderedDict((key, self.of(part, f"{name}.{key}" if name else key)) for key, part in parts)
        if type(module).forward is nn.Sequential.forward:
            return nn.Sequential(children).eval()
        for key, child in children.items():
            setattr(module, key, child)
        return module

    def _size(self, module: nn.Module, name: str) -> tuple[int, ...]:
        sizes = self._sizes[id(module)]
        if not sizes:
            raise MorphismError(f'plain: the example does not reach "{name}"; pass one that runs through every layer.')
        if isinstance(module, (AvgPool, MaxPool)) and len({module.windows(size[2:]) for size in sizes}) > 1:
            sides = " and ".join(sorted(str(size[2:]) for size in sizes))
            raise MorphismError(
                f'plain: "{name}" pools sides {sides}, which need different windows; give each place its own layer.'
            )
        return min(sizes)


@torch.no_grad()
def _leaf(module: nn.Module, size: tuple[int, ...]) -> nn.Module:
    rank = len(size)
    if isinstance(module, SpaceLayer):
        weight, bias = module.space()
        shape = module.space.shape
        if isinstance(module, Linear):
            layer: nn.Module = nn.Linear(shape.in_channels, shape.out_channels, bias=bias is not None)
        else:
            assert isinstance(module, (Conv1d, Conv2d, Conv3d))
            layer = _CONVOLUTIONS[module.dim](
                shape.in_channels,
                shape.out_channels,
                shape.kernel_size,
                stride=module.stride,
                padding=module.padding,
                dilation=module.dilation,
                bias=bias is not None,
            )
        state = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return _with_state(layer, state)
    if isinstance(module, BatchNorm):
        mean, var, weight, bias = module.dense_statistics()
        norm = _NORMS[rank](module.channels, eps=module.eps, momentum=module.momentum)
        return _with_state(norm, {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias})
    if isinstance(module, GlobalAvgPool):
        return nn.Sequential(_GLOBAL_AVERAGES[rank](1), nn.Flatten()).eval()
    assert isinstance(module, (AvgPool, MaxPool))
    classes = _AVERAGES if isinstance(module, AvgPool) else _MAXIMA
    return classes[rank](module.windows(size[2:]), stride=module.stride).eval()


def _with_state(layer: LayerType, state: dict[str, Tensor]) -> LayerType:
    like = state["weight"]
    layer.to(device=like.device, dtype=like.dtype)
    layer.load_state_dict({**layer.state_dict(), **state})
    layer.eval()
    return layer


def _expression(module: nn.Module, depth: int) -> str:
    if type(module) is nn.Sequential:
        indent = "    " * (depth + 1)
        parts = [
            f"{indent}({name!r}, {_expression(child, depth + 1)}),\n"
            for name, child in module._modules.items()
            if child is not None
        ]
        return f"nn.Sequential(OrderedDict([\n{''.join(parts)}{'    ' * depth}]))"
    if not type(module).__module__.startswith("torch.nn.") or list(module.children()):
        raise MorphismError(f"plain_source: {type(module).__name__} is not one of torch's own layers.")
    return f"nn.{module!r}"  # torch prints its layers as the calls that make them


_SOURCE = '''"""The network that the search found, in torch alone. `load(folder)` returns it with its weights."""

from collections import OrderedDict
from pathlib import Path

import safetensors.torch
from torch import nn


def build():
    """The network with random weights."""
    return {body}


def load(folder=Path(__file__).parent):
    """The network with the weights of weights.safetensors in the folder, in evaluation mode."""
    network = build()
    network.load_state_dict(safetensors.torch.load_file(Path(folder) / "weights.safetensors"))
    return network.eval()
'''
