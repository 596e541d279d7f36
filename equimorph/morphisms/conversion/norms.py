"""From a norm, or another layer with parameters per channel, to one whose parameters are tied."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.layers import BatchNorm, NormByElement, TiedParameter
from equimorph.layers.parameter import bind
from equimorph.morphisms.conversion._base import Made, RefusedError, Setting, kind_of, runs_of
from equimorph.morphisms.conversion.mixed_input import EachPart
from equimorph.morphisms.conversion.values import values_at_width
from equimorph.morphisms.conversion.widths import largest_divisor
from equimorph.tracing import Feature

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.PReLU,
)
"""Layers with parameters per channel."""


_BY_CHANNEL = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.PReLU)


@torch.no_grad()
def make_norm(module: nn.Module, feature: Feature, setting: Setting) -> Made | None:
    """The tied form of a norm, or of another layer with parameters per channel; None where it may stay.

    Raises:
        RefusedError: It has none.
    """
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return None
    runs = runs_of(feature)
    if len(runs) > 1 and isinstance(module, _BY_CHANNEL) and _is_affine(module) and feature.channel_axis == 1:
        return _make_each(module, runs, setting)
    if kind_of(feature) == "trivial":
        return None
    fields = setting.widths.fields_of(feature.segments)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return Made(_batch_norm(module, fields, setting))
    if setting.weights == "copy" and isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
        return _norm_by_element(module, feature, fields, setting)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and (
        len(module.normalized_shape) != 1 or feature.axes[-1] != ("c",)
    ):
        raise _over_positions(module)
    if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats:
        raise RefusedError("it keeps running statistics per channel", "take track_running_stats=False")
    made = Made(copy.deepcopy(module))
    made.notes.extend(fit_norm(made.module, fields, setting.group.order))
    for name, parameter in module.named_parameters(recurse=False):
        made.tied[name] = tie(parameter, fields, setting)
    return made


def _is_affine(module: nn.Module) -> bool:
    return bool(getattr(module, "num_features", getattr(module, "num_parameters", 1)) > 1)


def _make_each(module: nn.Module, runs: Sequence[Feature], setting: Setting) -> Made:
    """A norm for each type of channels."""
    parts, start = [], 0
    for run in runs:
        part = _narrowed(module, start, run.channels)
        made = make_norm(part, run, setting)
        for name, tied in (made.tied if made is not None else {}).items():
            bind(made.module if made is not None else part, name, tied)
        parts.append(part if made is None else made.module)
        start += run.channels
    channels = [setting.widths.channels_of(run.segments) for run in runs]
    return Made(EachPart(parts, channels), notes=["an image and features reach it in one tensor: one for each"])


def _narrowed(module: nn.Module, start: int, channels: int) -> nn.Module:
    """A copy for some of the channels alone."""
    made = copy.deepcopy(module)
    part: Any = made
    for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
        if value.ndim == 1:
            cut = value.detach()[start : start + channels].clone()
            setattr(part, name, nn.Parameter(cut, value.requires_grad) if isinstance(value, nn.Parameter) else cut)
    setattr(part, "num_parameters" if isinstance(part, nn.PReLU) else "num_features", channels)
    return made


def fit_norm(module: nn.Module, fields: int, order: int) -> list[str]:
    """Tell one of torch's norms, in place, of its new width; what else had to change about it."""
    norm: Any = module
    channels = fields * order
    if isinstance(module, nn.GroupNorm):
        before = module.num_groups
        norm.num_groups, norm.num_channels = largest_divisor(before, fields), channels
        if norm.num_groups != before:
            return [f"groups {before} -> {norm.num_groups}, since a field is not divided"]
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        norm.normalized_shape = (channels,)
    elif isinstance(module, nn.modules.instancenorm._InstanceNorm):
        norm.num_features = channels
    elif isinstance(module, nn.PReLU):
        norm.num_parameters = channels
    return []


def _norm_by_element(module: nn.GroupNorm | nn.LayerNorm, feature: Feature, fields: int, setting: Setting) -> Made:
    """What sees each copy of the network by itself, as the norm of the ordinary network did."""
    if isinstance(module, nn.LayerNorm) and (len(module.normalized_shape) != 1 or feature.axes[-1] != ("c",)):
        raise _over_positions(module)
    order = setting.group.order
    values = dict(module.named_parameters(recurse=False))
    dense = {name: value.detach().repeat_interleave(order) for name, value in values.items()}
    groups = module.num_groups if isinstance(module, nn.GroupNorm) else None
    norm = NormByElement(fields, order, groups=groups, eps=module.eps, **dense)
    return Made(norm, {name: tie(value, fields, setting) for name, value in values.items()})


def _over_positions(module: nn.Module) -> RefusedError:
    return RefusedError(
        f"it normalises over {tuple(getattr(module, 'normalized_shape', ()))}, positions too, and has values for each",
        "normalise over the channels alone",
    )


def _batch_norm(module: nn.modules.batchnorm._BatchNorm, fields: int, setting: Setting) -> BatchNorm:
    if not module.track_running_stats or module.momentum is None:
        raise RefusedError(
            "it keeps no running statistics, or weighs all batches alike", "take momentum=0.1, track_running_stats=True"
        )
    like = next(iter([*module.parameters(), *module.buffers()]))
    options: dict[str, Any] = {"group": setting.group, "eps": module.eps, "momentum": module.momentum}
    options |= {"device": like.device, "dtype": like.dtype}
    tables: dict[str, Tensor | None] = {"weight": module.weight, "bias": module.bias}
    if setting.weights != "fresh":
        tables |= {"running_mean": module.running_mean, "running_var": module.running_var}
    copied = setting.weights == "copy"
    # Of a copy all channels of a field are alike; otherwise each has its own values at first, which are averaged.
    norm = BatchNorm(fields, subgroup=setting.group.whole if copied else setting.group.trivial, **options)
    for name, values in tables.items():
        if values is not None:
            dense = values.detach() if copied else values_at_width(values.detach(), fields, setting.group.order)
            getattr(norm, name).copy_(dense.view(fields, -1).T)
    norm = norm if copied else norm.projected(setting.group.whole)
    norm.weight.requires_grad_(module.affine and module.weight.requires_grad)
    norm.bias.requires_grad_(module.affine and module.bias.requires_grad)
    return norm.train(module.training)


def tie(values: Tensor, fields: int, setting: Setting) -> TiedParameter:
    """A parameter or buffer with one value per channel, tied over the group."""
    order, flat = setting.group.order, values.detach().reshape(-1)
    dense = flat.repeat_interleave(order) if setting.weights == "copy" else values_at_width(flat, fields, order)
    shape = tuple(-1 if extent == values.numel() and extent > 1 else extent for extent in values.shape)
    made = TiedParameter(dense, group=setting.group, shape=shape, trainable=isinstance(values, nn.Parameter))
    if isinstance(values, nn.Parameter):
        made.table.requires_grad_(values.requires_grad)
    return made
