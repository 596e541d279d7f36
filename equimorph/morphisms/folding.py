"""Batch norms put into the weights of the layers before them, for inference."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn

from equimorph.tracing import Call, Recording, record
from equimorph.tracing.flow import CONVOLUTIONS, TRANSPOSED

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_norms(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of an ordinary network in which a batch norm behind a convolution or linear map is part of its weight.

        W' = w / sqrt(var + eps) W,     b' = w (b - mean) / sqrt(var + eps) + bias

    A norm whose input something else uses as well, or that is used at several places, stays; so does one whose own
    parameters, or those of the layer before it, a function reads, and one behind a layer with hooks.

    Args:
        network: Of torch's own layers, in evaluation mode.
        example: An input that runs through it.
    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
        >>> fold_norms(network, torch.zeros(1, 1, 5, 5))
        Sequential(
          (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
          (1): Identity()
        )
    """
    folded = copy.deepcopy(network).eval()
    recording = record(folded, example)
    for layer, norm in _pairs(recording, _read_by_functions(folded, recording)):
        _replace(folded, layer.path, _fused(layer.module, norm.module))
        _replace(folded, norm.path, nn.Identity())
    return folded


def _read_by_functions(network: nn.Module, recording: Recording) -> set[int]:
    """The ids of the parameters and buffers that are used outside of their layer's own forward."""
    named = dict([*network.named_parameters(), *network.named_buffers()])
    functions = [call for call in recording.calls if call.module is None]
    return {id(named[value.parameter]) for call in functions for value in call.inputs if value.parameter in named}


def _pairs(recording: Recording, read: set[int]) -> list[tuple[Call, Call]]:
    calls = Counter(id(call.module) for call in recording.calls if call.module is not None)
    uses = Counter(value for call in recording.calls for value in call.inputs)
    uses.update(recording.outputs)
    makers = {value: call for call in recording.calls for value in call.outputs}
    found = []
    for norm in recording.calls:
        layer = makers.get(norm.inputs[0]) if norm.inputs else None
        if not isinstance(norm.module, _NORMS) or layer is None:
            continue
        once = calls[id(norm.module)] == 1 == calls[id(layer.module)] and uses[norm.inputs[0]] == 1
        fits = isinstance(layer.module, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)) and norm.module.track_running_stats
        # Of a linear map of maps the channels are the last axis, of the norm behind it the second.
        fits = fits and (len(norm.inputs[0].shape) == 2 or not isinstance(layer.module, nn.Linear))
        if once and fits and _is_closed(layer.module, read) and _is_closed(norm.module, read):
            found.append((layer, norm))
    return found


def _is_closed(module: nn.Module | None, read: set[int]) -> bool:
    """Whether nothing but a layer's own forward uses its parameters, and nothing changes these or what it returns."""
    assert module is not None
    hooks = (module._forward_pre_hooks, module._forward_hooks)  # of torch's weight normalisation, say
    return not any(hooks) and read.isdisjoint(id(one) for one in [*module.parameters(), *module.buffers()])


@torch.no_grad()
def _fused(layer: nn.Module | None, norm: nn.Module | None) -> nn.Module:
    assert isinstance(norm, _NORMS) and isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear))
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    scale = scale if norm.weight is None else norm.weight * scale
    bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
    bias = scale * bias if norm.bias is None else scale * bias + norm.bias
    # A transposed kernel has the shape (in, out / groups, ...), all other weights (out, ...).
    groups = layer.groups if isinstance(layer, TRANSPOSED) else 1
    by_group = (groups, -1) if isinstance(layer, TRANSPOSED) else (1, 1, -1)
    weight = layer.weight.unflatten(0, by_group)  # (groups, in or 1, out / groups, ...)
    scaled = weight * scale.view(groups, 1, -1, *(1,) * (weight.ndim - 3))
    fused = copy.deepcopy(layer)
    fused.weight = nn.Parameter(scaled.view(layer.weight.shape), requires_grad=layer.weight.requires_grad)
    fused.bias = nn.Parameter(bias, requires_grad=layer.weight.requires_grad)
    return fused


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
