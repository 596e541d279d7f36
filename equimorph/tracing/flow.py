"""The features in a network: what reaches each layer, what leaves it, and of which type it must be."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from equimorph.groups import Representation
from equimorph.layers import Linear, SpaceLayer
from equimorph.layers.convolution import SlidingLayer
from equimorph.tracing.features import Feature, Segment, Term
from equimorph.tracing.findings import Flow, ParameterUse, Problem, WeightUse
from equimorph.tracing.recording import Call, Observer, Value, record
from equimorph.tracing.rules import RESHAPES, VIEWS, ConflictError, follow, name_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS_BY_FUNCTION = frozenset(["layer_norm", "group_norm", "batch_norm", "instance_norm", "prelu", "rms_norm"])
_WEIGHTED_FUNCTIONS = frozenset(
    ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear", "bilinear"]
)


def follow_network(
    network: nn.Module,
    example: Tensor,
    *,
    output: Representation | None = None,
    opaque: Collection[str] = (),
    go_on: bool = False,
    keep: bool = False,
    observer: Observer | None = None,
) -> Flow:
    """Run a network and find the features in it. Types that nothing decides stay open.

    Args:
        network: Any module, in the mode to run it in.
        example: Its input, (batch, channels, *spatial) with a batch of two or more: a trivial feature.
        output: The type of what it returns, where that is known.
        opaque: Paths of modules not to look into.
        go_on: Whether a layer that is a problem gives features of some type nevertheless, so that it alone is one.
        keep: Whether values keep their tensors.
        observer: Is told about each call.
    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
        >>> import torch
        >>> flow = follow_network(network, torch.zeros(2, 1, 5, 5))
        >>> [(use.call.path, use.source.flattened) for use in flow.weights]
        [('0', None), ('3', (3, 3))]
    """
    recording = record(network, example, opaque=opaque, keep=keep, observer=observer)
    flow = Flow(recording, frozenset(name for name, _ in network.named_parameters()))
    flow.features[recording.input] = Feature.plain([Segment(Term("trivial"), example.shape[1])], example.shape)
    for number, call in enumerate(recording.calls):
        _follow_call(flow, number, call, is_opaque=call.path in opaque)
        if go_on and (_is_weighted(call) or (call.path in opaque and call.module is not None)):
            _go_on_behind(flow, call, is_problem=call.path not in opaque)
    if output is not None:
        _settle_outputs(flow, output)
    return flow


def _settle_outputs(flow: Flow, kind: Representation) -> None:
    read = {value for call in flow.recording.calls for value in call.inputs}
    for use in flow.weights:
        if use.call.outputs[0] not in read:  # what it gives is returned in another mode, as by heads for training
            for segment in use.target.segments:
                segment.term.settle(kind)
    for value in flow.recording.outputs:
        if value not in flow.features and value.is_floating:
            reason = f"how the group acts on what the network returns is not known{lost_before(flow, value)}"
            flow.problems.append(Problem("the output", reason, "return a vector, or maps, for each sample"))
        for segment in flow.features[value].segments if value in flow.features else ():
            if not segment.term.settle(kind):
                flow.problems.append(_conflict("the output", "it is made of features of different types"))


def _follow_call(flow: Flow, number: int, call: Call, *, is_opaque: bool) -> None:
    if not any(value in flow.features for value in call.inputs):
        return
    if _is_weighted(call) and not is_opaque:
        _follow_weight(flow, number, call)
        return
    if _has_weight(call) and not _is_fixed_filter(flow, call):
        flow.problems.append(
            Problem(
                call.path,
                f"its forward calls {call.name} with a weight of its own",
                "use a layer of torch.nn for it (of a parametrized layer, remove the parametrization)",
            )
        )
    try:
        found = follow(call, flow.features)
    except ConflictError as error:
        flow.problems.append(_conflict(call.where, str(error)))
        found = [None] * len(call.outputs)
    for value, feature in zip(call.outputs, found, strict=True):
        lost = feature is None or (is_opaque and "s" in feature.sizes)  # shuffled channels, say
        feature = _guessed(value, call) if lost and (is_opaque or _has_weight(call)) else feature
        if feature is not None and value.is_floating:
            flow.features[value] = feature
    _note_parameters(flow, number, call)


def _is_weighted(call: Call) -> bool:
    return isinstance(call.module, (SpaceLayer, nn.Linear, *CONVOLUTIONS, *TRANSPOSED))


def _go_on_behind(flow: Flow, call: Call, *, is_problem: bool) -> None:
    """Take what a layer gives for features of some type, where that is not known, and note that it is a problem."""
    unknown = [output for output in call.outputs if output not in flow.features]
    if unknown and is_problem and not any(problem.path == call.path for problem in flow.problems):
        reason = f"how the group acts on what reaches it is not known{lost_before(flow, *call.inputs)}"
        flow.problems.append(Problem(call.path, reason, "write that part another way"))
    for output in unknown:
        feature = _guessed(output, call)
        if feature is not None and output.is_floating:
            flow.features[output] = feature


def lost_before(flow: Flow, *reached: Value) -> str:
    """Where the trace was lost that leads to some values, in words."""
    sources = set(reached)
    for call in reversed(flow.recording.calls):
        if not sources.intersection(call.outputs) or call.name.startswith("new_"):  # that looks at the device alone
            continue
        if any(value in flow.features for value in call.inputs):
            return f" after {call.name}" + (f' in "{call.path}"' if call.path else "") + _why_lost(call)
        sources.update(call.inputs)
    return ""


def _why_lost(call: Call) -> str:
    if name_of(call) in RESHAPES:
        return ", which takes channels or positions apart (as a channel shuffle does, or attention by heads)"
    return ""


def _has_weight(call: Call) -> bool:
    return call.module is None and call.name in _WEIGHTED_FUNCTIONS


def _is_fixed_filter(flow: Flow, call: Call) -> bool:
    """Whether a function sees each channel alone, through a window of numbers that are not learned, such as a blur."""
    groups = call.argument(6, "groups", 1)
    if not call.name.startswith("conv") or call.name.startswith("conv_") or len(call.inputs) != 2:
        return False
    source, weight = call.inputs
    if not groups == source.shape[1] == weight.shape[0]:
        return False
    origins = {weight}
    for earlier in reversed(flow.recording.calls):
        if origins.intersection(earlier.outputs):
            origins.update(earlier.inputs)
    return not any(value.parameter in flow.learned for value in origins)


def _guessed(value: Value, call: Call) -> Feature | None:
    """Of a module that is not looked into: (batch, channels, *spatial), or what has its channels last."""
    if len(value.shape) < 2:
        return None
    if isinstance(call.module, nn.Linear):
        batch, *positions, channels = value.shape
        feature = Feature.plain([Segment(Term(), channels)], (batch, channels, *positions))
        return feature.permuted([0, *range(2, len(value.shape)), 1])
    return Feature.plain([Segment(Term(), value.shape[1])], value.shape)


def _follow_weight(flow: Flow, number: int, call: Call) -> None:
    source, output = flow.features.get(call.inputs[0]), call.outputs[0]
    if source is None:
        return
    target = _linear_target(call, source) if isinstance(call.module, (nn.Linear, Linear)) else _target(call, source)
    if isinstance(target, Problem):
        flow.problems.append(target)
        return
    flow.features[output] = target
    flow.weights.append(WeightUse(number, call, source, target))


def _target(call: Call, source: Feature) -> Feature | Problem:
    module, shape = call.module, call.outputs[0].shape
    if any("s" in labels and "c" in labels for labels in source.axes):
        return Problem(call.path, "the channels that reach it were shuffled, which takes fields apart", _LEAVE)
    if source.channel_axis != 1 or len(shape) != len(source.axes):
        return Problem(call.path, "what reaches it is not laid out as (batch, channels, *spatial)", _LEAVE)
    depthwise = module.depthwise if isinstance(module, SlidingLayer) else is_depthwise(module)
    if depthwise:
        segments = list(source.segments)
    else:
        kind = module.target if isinstance(module, SlidingLayer) else None
        segments = [Segment(Term(kind), shape[1])]
    return Feature.plain(segments, shape)


def _linear_target(call: Call, source: Feature) -> Feature | Problem:
    module, shape = call.module, call.outputs[0].shape
    last = source.axes[-1]
    if last != ("c",) and source.flattened is None:
        return Problem(call.path, "it maps an axis that is not the channels", _LEAVE)
    kind = module.space.shape.target if isinstance(module, Linear) else None
    axes = (*source.axes[:-1], ("c",))
    sizes = {label: source.sizes[label] for labels in axes for label in labels if label in source.sizes}
    return Feature((Segment(Term(kind), shape[-1]),), axes, {**sizes, "c": shape[-1]})


_LEAVE = "leave the module free, or write that part another way"


def is_depthwise(module: nn.Module | None) -> bool:
    """Whether each channel of one of torch's convolutions sees itself alone."""
    if not isinstance(module, (*CONVOLUTIONS, *TRANSPOSED)):
        return False
    return 1 < module.groups == module.in_channels == module.out_channels


def _note_parameters(flow: Flow, number: int, call: Call) -> None:
    """Parameters and buffers that a function uses along the channels of a feature."""
    if call.module is not None:
        return
    feature = next((flow.features[value] for value in call.outputs if value in flow.features), None)
    for value in call.inputs:
        if value.parameter is None or feature is None or call.name in VIEWS or _size(value) == 1:
            continue
        if call.name in NORMS_BY_FUNCTION:
            is_per_channel = value.shape == (feature.channels,)
        else:
            is_per_channel = _runs_over(value, feature) == {"c"}
        if is_per_channel:
            flow.parameters.append(ParameterUse(number, value.parameter, feature))
        elif call.name not in _WEIGHTED_FUNCTIONS:
            remedy = "take a parameter per channel alone, or leave the module free"
            flow.problems.append(Problem(call.path, f'"{value.parameter}" has values of its own by position', remedy))


def _runs_over(value: Value, feature: Feature) -> set[object]:
    """What the axes of a parameter that is broadcast to a feature run over."""
    axes = feature.axes[len(feature.axes) - len(value.shape) :]
    return {label for extent, labels in zip(value.shape, axes, strict=True) if extent > 1 for label in labels}


def _size(value: Value) -> int:
    size = 1
    for extent in value.shape:
        size *= extent
    return size


def _conflict(path: str, reason: str) -> Problem:
    return Problem(path, reason, "leave one of the two out, or bring it to the other's type by a convolution")
