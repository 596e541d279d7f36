"""From one of torch's layers to one on a weight space, or to one whose parameters are tied."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.errors import ShapeError
from equimorph.groups import Group, Representation
from equimorph.layers import (
    BatchNorm,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Linear,
    NormByElement,
    SpaceLayer,
    TiedParameter,
)
from equimorph.layers.parameter import bind
from equimorph.morphisms.conversion.mixed_input import EachPart, SumOverParts
from equimorph.morphisms.conversion.values import Weights, copy_values, filled_up, project_values, values_at_width
from equimorph.morphisms.conversion.widths import Widths, largest_divisor
from equimorph.tracing import Feature, WeightUse
from equimorph.tracing.flow import TRANSPOSED, is_depthwise

_CONVS: dict[type[nn.Module], type[Any]] = {nn.Conv1d: Conv1d, nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}
_TRANSPOSED: dict[type[nn.Module], type[Any]] = {
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}
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


class RefusedError(Exception):
    """A layer that cannot be converted: why, and what to try."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


@dataclass(frozen=True)
class Setting:
    """What all layers of a conversion have in common."""

    group: Group
    widths: Widths
    weights: Weights
    generator: torch.Generator | None


@dataclass
class Made:
    """A layer in the place of another.

    Attributes:
        module: The new layer, or a copy of the old one.
        tied: Parameters to bind in it, by name.
        notes: What had to be changed about it.
        distance: How far its weights were from commuting, where they were projected.
    """

    module: nn.Module
    tied: dict[str, TiedParameter] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    distance: float | None = None


def kind_of(feature: Feature) -> Representation:
    """The type of all channels of a feature.

    Raises:
        RefusedError: They are of several types.
    """
    kinds = {segment.term.kind for segment in feature.segments}
    if len(kinds) > 1:
        raise RefusedError(
            "it sees an image and features in one tensor, channels of two types",
            "bring the image to features by a convolution of its own before they are concatenated",
        )
    return kinds.pop() or "trivial"


def make_weighted(use: WeightUse, setting: Setting) -> Made | None:
    """The layer on a weight space for a convolution or linear map of torch; None where it may stay.

    Raises:
        RefusedError: It has no counterpart.
    """
    module: Any = use.call.module
    try:
        if isinstance(module, nn.Linear):
            return _make_linear(module, use, kind_of(use.source), kind_of(use.target), setting)
        runs = _runs(use.source)
        if len(runs) > 1 and module.groups == 1 and not isinstance(module, TRANSPOSED):
            return _make_sum(module, use, runs, setting)
        kind_of(use.source)
        return _make_sliding(module, module.weight, module.bias, use, setting)
    except ShapeError as error:
        raise RefusedError(str(error), "take equal extents, or a group that keeps the axes, such as D2") from None


def _runs(feature: Feature) -> list[Feature]:
    """The parts of a feature whose neighbouring segments are of one type."""
    kinds = itertools.groupby(feature.segments, key=lambda segment: segment.term.kind)
    return [feature.having(list(segments)) for _, segments in kinds]


def _make_sum(module: Any, use: WeightUse, runs: Sequence[Feature], setting: Setting) -> Made:
    """One convolution for each type of input."""
    parts = []
    weights = module.weight.split([run.channels for run in runs], dim=1)
    for number, (run, weight) in enumerate(zip(runs, weights, strict=True)):
        bias = module.bias if number == 0 else None
        parts.append(_make_sliding(module, weight, bias, replace(use, source=run), setting))
    channels = [setting.widths.channels_of(run.segments) for run in runs]
    distances = [part.distance for part in parts if part.distance is not None]
    notes = [*parts[0].notes, "an image and features reach it in one tensor: a convolution for each, and their sum"]
    module = SumOverParts([part.module for part in parts], channels)
    return Made(module, notes=notes, distance=max(distances, default=None))


def _make_linear(
    module: nn.Linear, use: WeightUse, source: Representation, target: Representation, setting: Setting
) -> Made | None:
    sides = use.source.flattened or ()
    if source == target == "trivial" and not use.source.is_map and not sides:
        return None  # invariant vectors may be mapped in any way
    in_fields = _count(use.source, source, setting.widths)
    out_fields = _count(use.target, target, setting.widths)
    like = module.weight
    layer = Linear(
        in_fields,
        out_fields,
        group=setting.group,
        source=source,
        target=target,
        sides=sides,
        bias=module.bias is not None,
        generator=setting.generator,
        device=like.device,
        dtype=like.dtype,
    )
    weight = module.weight.reshape(module.out_features, -1, *sides)
    return _with_values(layer, weight, module.bias, use, setting, _rounding(use, target, setting.widths))


def _make_sliding(module: nn.Module, weight: Tensor, bias: Tensor | None, use: WeightUse, setting: Setting) -> Made:
    source, target = kind_of(use.source), kind_of(use.target)
    conv: Any = module
    transposed = isinstance(module, TRANSPOSED)
    made = _TRANSPOSED[_base(module)] if transposed else _CONVS[_base(module)]
    widths = setting.widths
    in_fields, out_fields = _count(use.source, source, widths), _count(use.target, target, widths)
    notes = _rounding(use, target, widths)
    depthwise = is_depthwise(module)
    groups = 1 if depthwise else largest_divisor(conv.groups, in_fields, out_fields)
    if groups != conv.groups and not depthwise:
        notes.append(f"groups {conv.groups} -> {groups}, since a field is not divided")
    options: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype, "generator": setting.generator}
    if transposed:
        options["output_padding"] = conv.output_padding
    else:
        options["padding_mode"] = conv.padding_mode
    layer: SpaceLayer = made(
        in_fields,
        out_fields,
        conv.kernel_size,
        group=setting.group,
        source=source,
        target=target,
        stride=conv.stride,
        padding=_padding(conv),
        dilation=conv.dilation,
        groups=groups,
        depthwise=depthwise,
        bias=bias is not None,
        **options,
    )
    if setting.weights != "fresh" and groups != conv.groups and not depthwise:
        raise RefusedError(f"its groups change ({conv.groups} -> {groups})", 'take weights="fresh"')
    weight = _as_convolution(conv) if transposed else weight
    return _with_values(layer, weight, bias, use, setting, notes)


def _base(module: nn.Module) -> type[nn.Module]:
    return next(cls for cls in type(module).__mro__ if cls in _CONVS or cls in _TRANSPOSED)


def _padding(conv: Any) -> Any:
    if conv.padding == "valid":
        return 0
    if conv.padding == "same" and any(extent % 2 == 0 for extent in conv.kernel_size):
        raise RefusedError(
            f'its padding "same" adds more at one end than at the other, for a kernel of {conv.kernel_size}',
            "take an odd kernel, or a number as padding",
        )
    return conv.padding


def _as_convolution(conv: Any) -> Tensor:
    """The weight of a transposed convolution in the layout of a convolution's, (out, in / groups, *kernel)."""
    weight: Tensor = conv.weight
    by_group = weight.view(conv.groups, conv.in_channels // conv.groups, *weight.shape[1:])
    return by_group.transpose(1, 2).reshape(conv.out_channels, -1, *conv.kernel_size)


def _with_values(
    layer: SpaceLayer, weight: Tensor, bias: Tensor | None, use: WeightUse, setting: Setting, notes: list[str]
) -> Made:
    distance = None
    if setting.weights == "copy":
        copy_values(layer, weight, bias)
    elif setting.weights == "project":
        weight = filled_up(weight, 0, use.target.segments, setting.widths)
        if weight.shape[1] == use.source.channels:
            weight = filled_up(weight, 1, use.source.segments, setting.widths)
        bias = None if bias is None else filled_up(bias, 0, use.target.segments, setting.widths)
        if weight.numel() != layer.dense_weight().numel():
            raise RefusedError(
                f"its groups of {tuple(weight.shape)} are no whole numbers of fields", 'take weights="fresh"'
            )
        distance = project_values(layer, weight, bias)
    return Made(layer, notes=notes, distance=distance)


def _count(feature: Feature, kind: Representation, widths: Widths) -> int:
    """Fields of a regular feature, channels of a trivial one."""
    return widths.fields_of(feature.segments) if kind == "regular" else feature.channels


def _rounding(use: WeightUse, target: Representation, widths: Widths) -> list[str]:
    channels = use.target.channels
    if target == "trivial" or not widths.is_cost or channels % widths.order == 0:
        return []
    fields = widths.fields_of(use.target.segments)
    return [f"{channels} channels are no whole number of fields: {fields} fields, {fields * widths.order} channels"]


@torch.no_grad()
def make_norm(module: nn.Module, feature: Feature, setting: Setting) -> Made | None:
    """The tied form of a norm, or of another layer with parameters per channel; None where it may stay.

    Raises:
        RefusedError: It has none.
    """
    runs = _runs(feature)
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
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return None
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


def resized_free(module: nn.Module, source: Feature, target: Feature, widths: Widths) -> nn.Module | None:
    """A layer of torch that was left free, at the widths of its neighbours; None where they did not change."""
    widened = widths.channels_of(source.segments), widths.channels_of(target.segments)
    if widened == (source.channels, target.channels):
        return None
    layer: Any = module
    if isinstance(module, nn.Linear) and not source.flattened:
        return nn.Linear(*widened, bias=module.bias is not None).to(module.weight)
    if _is_simple(module, widened):
        cls: Any = _base(module)
        names: Sequence[str] = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        options = {name: getattr(layer, name) for name in names}
        made: nn.Module = cls(*widened, bias=layer.bias is not None, **options)
        return made.to(layer.weight)
    raise RefusedError(f"left free it keeps its width, and its neighbours get {widened}", "choose widths that divide")


def _is_simple(module: nn.Module, widened: tuple[int, int]) -> bool:
    known = any(cls in _CONVS or cls in _TRANSPOSED for cls in type(module).__mro__)
    return known and all(count % getattr(module, "groups", 1) == 0 for count in widened)
