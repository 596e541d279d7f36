"""From one of torch's convolutions or linear maps to one on a weight space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from equimorph.errors import ShapeError
from equimorph.groups import Representation
from equimorph.layers import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Linear,
    SpaceLayer,
)
from equimorph.morphisms.conversion._base import Made, RefusedError, Setting, kind_of, runs_of
from equimorph.morphisms.conversion.mixed_input import SumOverParts
from equimorph.morphisms.conversion.values import copy_values, filled_up, project_values
from equimorph.morphisms.conversion.widths import Widths, largest_divisor
from equimorph.tracing import Feature, WeightUse
from equimorph.tracing.flow import TRANSPOSED, is_depthwise

_CONVS: dict[type[nn.Module], type[Any]] = {nn.Conv1d: Conv1d, nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}


_TRANSPOSED: dict[type[nn.Module], type[Any]] = {
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}


def make_weighted(use: WeightUse, setting: Setting) -> Made | None:
    """The layer on a weight space for a convolution or linear map of torch; None where it may stay.

    Raises:
        RefusedError: It has no counterpart.
    """
    module: Any = use.call.module
    try:
        if isinstance(module, nn.Linear):
            return _make_linear(module, use, kind_of(use.source), kind_of(use.target), setting)
        runs = runs_of(use.source)
        weight = _as_convolution(module) if isinstance(module, TRANSPOSED) else module.weight
        if len(runs) > 1 and module.groups == 1:
            return _make_sum(module, weight, use, runs, setting)
        kind_of(use.source)
        return _make_sliding(module, weight, module.bias, use, setting)
    except ShapeError as error:
        raise RefusedError(str(error), "take equal extents, or a group that keeps the axes, such as D2") from None


def _make_sum(module: Any, weight: Tensor, use: WeightUse, runs: Sequence[Feature], setting: Setting) -> Made:
    """One convolution for each type of input."""
    parts = []
    weights = weight.split([run.channels for run in runs], dim=1)
    for number, (run, part) in enumerate(zip(runs, weights, strict=True)):
        bias = module.bias if number == 0 else None
        parts.append(_make_sliding(module, part, bias, replace(use, source=run), setting))
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
    if setting.weights != "fresh":  # what is frozen stays so, unless its values are new
        for name, given in (("weight", weight), ("bias", bias)):
            own = getattr(layer.space, name)
            if own is not None and given is not None:
                own.requires_grad_(given.requires_grad)
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


def resized_free(module: nn.Module, source: Feature, target: Feature, widths: Widths) -> nn.Module | None:
    """A layer of torch that was left free, at the widths of its neighbours; None where they did not change."""
    widened = widths.channels_of(source.segments), widths.channels_of(target.segments)
    if widened == (source.channels, target.channels) or "s" in source.sizes:  # of shuffled channels no width is known
        return None
    layer: Any = module
    if isinstance(module, nn.Linear) and not source.flattened:
        return nn.Linear(*widened, bias=module.bias is not None).to(module.weight)
    if _is_simple(module, widened):
        cls: Any = _base(module)
        names: Sequence[str] = ("kernel_size", "stride", "padding", "dilation", "padding_mode", "groups")
        options = {name: getattr(layer, name) for name in names}
        if isinstance(module, TRANSPOSED):
            options["output_padding"] = layer.output_padding
        if is_depthwise(module):
            options["groups"] = widened[0]
        made: nn.Module = cls(*widened, bias=layer.bias is not None, **options)
        return made.to(layer.weight)
    raise RefusedError(f"left free it keeps its width, and its neighbours get {widened}", "choose widths that divide")


def _is_simple(module: nn.Module, widened: tuple[int, int]) -> bool:
    if is_depthwise(module):
        return widened[0] == widened[1]
    known = any(cls in _CONVS or cls in _TRANSPOSED for cls in type(module).__mro__)
    return known and all(count % getattr(module, "groups", 1) == 0 for count in widened)
