"""Batch norms put into the weights of the layers before them, for inference."""

from __future__ import annotations

import copy
from collections import Counter

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from equimorph.tracing import Call, Recording, record
from equimorph.tracing.flow import CONVOLUTIONS, TRANSPOSED

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_norms(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of an ordinary network in which a batch norm behind a convolution or linear map is part of its weight.

        W' = w / sqrt(var + eps) W,     b' = w (b - mean) / sqrt(var + eps) + bias

    A norm whose input something else uses as well, or that is used at several places, stays.

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
    for layer, norm in _pairs(recording):
        _replace(folded, layer.path, _fused(layer.module, norm.module))
        _replace(folded, norm.path, nn.Identity())
    return folded


def _pairs(recording: Recording) -> list[tuple[Call, Call]]:
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
        if once and fits and (len(norm.inputs[0].shape) == 2 or not isinstance(layer.module, nn.Linear)):
            found.append((layer, norm))
    return found


def _fused(layer: nn.Module | None, norm: nn.Module | None) -> nn.Module:
    assert isinstance(norm, _NORMS)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    assert isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED))
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, TRANSPOSED))


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
