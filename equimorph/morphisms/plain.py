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

LayerType = TypeVar("LayerType", bound=nn.Module)

_CONVERTED = (SpaceLayer, BatchNorm, AvgPool, MaxPool, GlobalAvgPool)
_Layer = Callable[..., nn.Module]

_CONVOLUTIONS: dict[type, _Layer] = {Conv1d: nn.Conv1d, Conv2d: nn.Conv2d, Conv3d: nn.Conv3d}
_NORMS: dict[int, _Layer] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_AVERAGES: dict[int, _Layer] = {3: nn.AvgPool1d, 4: nn.AvgPool2d, 5: nn.AvgPool3d}
_MAXIMA: dict[int, _Layer] = {3: nn.MaxPool1d, 4: nn.MaxPool2d, 5: nn.MaxPool3d}
_GLOBAL_AVERAGES: dict[int, _Layer] = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}


def plain(network: nn.Module, example: Tensor) -> nn.Module:
    """Replace every layer by torch's own with the dense kernel: an ordinary network with the same output.

    Args:
        network: Any module; containers that derive from `nn.Sequential` become `nn.Sequential`, other containers keep
            their class.
        example: An input. The windows of pooling layers are fixed for its size.
    Returns:
        A new module in evaluation mode; `network` is left as it was.
    Raises:
        MorphismError: The example does not reach a layer, so its input size is unknown.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> plain(Conv2d(2, 3, 3, group="D4"), torch.zeros(1, 16, 8, 8))
        Conv2d(16, 24, kernel_size=(3, 3), stride=(1, 1))
    """
    sizes = _input_sizes(network, example)
    converted = _converted(copy.deepcopy(network).eval(), "", sizes)
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


def _input_sizes(network: nn.Module, example: Tensor) -> dict[str, tuple[int, ...]]:
    sizes: dict[str, tuple[int, ...]] = {}
    probe = copy.deepcopy(network).eval()
    for name, module in probe.named_modules():
        if isinstance(module, _CONVERTED):
            module.register_forward_pre_hook(lambda _, inputs, name=name: sizes.update({name: tuple(inputs[0].shape)}))
    with torch.no_grad():
        probe(example)
    return sizes


def _converted(module: nn.Module, name: str, sizes: dict[str, tuple[int, ...]]) -> nn.Module:
    if isinstance(module, _CONVERTED):
        if name not in sizes:
            raise MorphismError(f'plain: the example does not reach "{name}"; pass one that runs through every layer.')
        return _leaf(module, sizes[name])
    children = OrderedDict(
        (child_name, _converted(child, f"{name}.{child_name}" if name else child_name, sizes))
        for child_name, child in module.named_children()
    )
    if isinstance(module, nn.Sequential):
        return nn.Sequential(children).eval()
    for child_name, child in children.items():
        setattr(module, child_name, child)
    return module


@torch.no_grad()
def _leaf(module: nn.Module, size: tuple[int, ...]) -> nn.Module:
    rank = len(size)
    if isinstance(module, SpaceLayer):
        weight, bias = module.space()
        shape = module.space.shape
        if isinstance(module, Linear):
            layer: nn.Module = nn.Linear(shape.in_channels, shape.out_channels, bias=bias is not None)
        else:
            layer = _CONVOLUTIONS[type(module)](
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
        parts = [f"{indent}({name!r}, {_expression(child, depth + 1)}),\n" for name, child in module.named_children()]
        return f"nn.Sequential(OrderedDict([\n{''.join(parts)}{'    ' * depth}]))"
    if not type(module).__module__.startswith("torch.nn.") or list(module.children()):
        raise MorphismError(f"plain_source: {type(module).__name__} is not one of torch's own layers.")
    return f"nn.{module!r}"  # torch prints its layers as the calls that make them


_SOURCE = '''"""The network that the search found, in torch alone. `load(folder)` returns it with its weights."""

from collections import OrderedDict
from collections.abc import Callable
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
