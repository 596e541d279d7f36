"""Out of the library: the same network made of torch's own classes."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.fx
from torch import Tensor, nn

from equimorph.errors import MorphismError
from equimorph.layers import AvgPool, BatchNorm, GlobalAvgPool, Linear, MaxPool
from equimorph.layers._base import SpaceLayer, forget_order
from equimorph.layers.convolution import ConvolutionLayer
from equimorph.layers.parameter import bound_parameters, unbind
from equimorph.layers.transposed import TransposedLayer
from equimorph.morphisms.average import GroupAverage
from equimorph.morphisms.folding import fold_norms as folded
from equimorph.morphisms.fourier import in_fourier_basis, pointwise_layers
from equimorph.morphisms.reinitialize import seeded

LayerType = TypeVar("LayerType", bound=nn.Module)

_CONVERTED = (SpaceLayer, BatchNorm, AvgPool, MaxPool, GlobalAvgPool)
_Layer = Callable[..., nn.Module]

_CONVOLUTIONS: dict[int, _Layer] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, _Layer] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORMS: dict[int, _Layer] = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_AVERAGES: dict[int, _Layer] = {3: nn.AvgPool1d, 4: nn.AvgPool2d, 5: nn.AvgPool3d}
_MAXIMA: dict[int, _Layer] = {3: nn.MaxPool1d, 4: nn.MaxPool2d, 5: nn.MaxPool3d}
_GLOBAL_AVERAGES: dict[int, _Layer] = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}


def plain(network: nn.Module, example: Tensor, *, fold_norms: bool = False, fourier: bool = False) -> nn.Module:
    """Replace every layer by torch's own with the dense kernel: an ordinary network with the same output.

    Args:
        network: Any module. Containers with the forward of `nn.Sequential` become `nn.Sequential`, those of this
            library (residual blocks) graphs of `torch.fx`; the user's own keep their class.
        example: An input. The windows of pooling layers are fixed for its size.
        fold_norms: Whether batch norms that follow a convolution or linear map go into its weight.
        fourier: Whether wide pointwise layers that commute with all of G become the blocks of irreducible
            representations, where that is estimated to be faster; fewer products and numbers, the same up to rounding.
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
    groups = pointwise_layers(probe) if fourier else {}
    with seeded(0):  # torch's layers draw initial values, which are overwritten
        converted = _Conversion(_input_sizes(probe, example)).of(probe, "")
    for parameter in converted.parameters():
        parameter.grad = None
    converted = folded(converted, example) if fold_norms else converted
    return in_fourier_basis(converted, example, groups) if groups else converted


def _input_sizes(network: nn.Module, example: Tensor) -> dict[int, set[tuple[int, ...]]]:
    """The shapes of the inputs that reach each of our layers, by the layer's id."""
    sizes: dict[int, set[tuple[int, ...]]] = {id(module): set() for module in network.modules()}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[id(module)].add(tuple(inputs[0].shape))

    def note_answer(module: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> None:
        sizes[id(module)].add(tuple(answer.shape))

    hooks = [part.register_forward_pre_hook(note) for part in network.modules() if isinstance(part, _CONVERTED)]
    averages = [part for part in network.modules() if isinstance(part, GroupAverage)]
    hooks += [part.register_forward_hook(note_answer) for part in averages]
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

    def of(self, module: nn.Module, name: str, *, traced: bool = True) -> nn.Module:
        """The plain form of a part; parts within one of our own containers are traced with it."""
        if id(module) not in self._done:
            self._done[id(module)] = self._convert(module, name, traced=traced)
        return self._done[id(module)]

    def _convert(self, module: nn.Module, name: str, *, traced: bool) -> nn.Module:
        if isinstance(module, _CONVERTED):
            return _leaf(module, self._size(module, name))
        tied = {id(one) for _, one in bound_parameters(module)}
        unbind(module)
        forget_order(module)
        is_sequential = type(module).forward is nn.Sequential.forward
        is_ours = type(module).__module__.startswith("equimorph.") and not is_sequential
        # `named_children` would leave out the second place of a layer that is used twice.
        parts = [(key, part) for key, part in module._modules.items() if part is not None and id(part) not in tied]
        children = OrderedDict(
            (key, self.of(part, f"{name}.{key}" if name else key, traced=traced and not is_ours)) for key, part in parts
        )
        if is_sequential:
            return nn.Sequential(children).eval()
        for key, child in children.items():
            setattr(module, key, child)
        if isinstance(module, GroupAverage):
            module.answers_are_maps = len(min(self._sizes[id(module)])) > 2
        return torch.fx.symbolic_trace(module).eval() if is_ours and traced else module

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
        return _weighted(module)
    if isinstance(module, BatchNorm):
        mean, var, weight, bias = module.dense_statistics()
        norm = _NORMS[rank](module.channels, eps=module.eps, momentum=module.momentum)
        return _with_state(norm, {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias})
    if isinstance(module, GlobalAvgPool):
        return nn.Sequential(_GLOBAL_AVERAGES[rank](1), nn.Flatten()).eval()
    assert isinstance(module, (AvgPool, MaxPool))
    classes = _AVERAGES if isinstance(module, AvgPool) else _MAXIMA
    return classes[rank](module.windows(size[2:]), stride=module.stride).eval()


def _weighted(module: SpaceLayer) -> nn.Module:
    weight, bias = module.space()
    shape, has_bias = module.space.shape, bias is not None
    if isinstance(module, Linear):
        layer: nn.Module = nn.Linear(module.in_features, shape.out_channels, bias=has_bias)
        weight = weight.flatten(1)
    else:
        assert isinstance(module, (ConvolutionLayer, TransposedLayer))
        options: dict[str, Any] = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
        if isinstance(module, TransposedLayer):
            make, weight = _TRANSPOSED[module.dim], module.transposed_weight()
            options["output_padding"] = module.output_padding
        else:
            make = _CONVOLUTIONS[module.dim]
            options["padding_mode"] = module.padding_mode
        layer = make(module.in_channels, shape.out_channels, shape.kernel_size, bias=has_bias, **options)
    return _with_state(layer, {"weight": weight} if bias is None else {"weight": weight, "bias": bias})


def _with_state(layer: LayerType, state: dict[str, Tensor]) -> LayerType:
    like = state["weight"]
    layer.to(device=like.device, dtype=like.dtype)
    layer.load_state_dict({**layer.state_dict(), **state})
    layer.eval()
    return layer
