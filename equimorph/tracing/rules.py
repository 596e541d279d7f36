"""What functions and layers do to features: where channels and positions are afterwards, and which types must agree.

A rule gives a feature for each result, or None where nothing is known. What no rule knows is taken to leave the axes as
they are when it leaves their number and the channels; whether it commutes with the group is not decided here but
measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from equimorph.tracing.features import Feature, Label, Segment, Term
from equimorph.tracing.recording import Call, Value
from equimorph.tracing.slicing import cut, indexed

Features = dict[Value, Feature]
Found = Sequence[Feature | None]


class ConflictError(Exception):
    """Two features that must be of one type are not."""


def follow(call: Call, features: Features) -> Found:
    """The features that a call makes of those that reach it, one for each result.

    Raises:
        ConflictError: It joins features of different types.
    """
    known = [value for value in call.inputs if value in features]
    if not known:
        return [None] * len(call.outputs)
    rule = RULES.get(name_of(call))
    if rule is not None:
        found = rule(call, features)
        return list(found)[: len(call.outputs)] + [None] * (len(call.outputs) - len(found))
    if call.name in _UNKNOWN:
        return [None] * len(call.outputs)
    return [_by_shape(call, output, [features[value] for value in known]) for output in call.outputs]


def name_of(call: Call) -> str:
    """The name of what is called, the same for what works in place."""
    return call.name if call.name.startswith("__") else call.name.removesuffix("_")


def _by_shape(call: Call, output: Value, known: list[Feature]) -> Feature | None:
    """Of pointwise functions, pools, norms and the like."""
    if not output.is_floating:
        return None
    if len(known) == 1:
        feature = known[0]
        return feature.resized(output.shape) if len(output.shape) == len(feature.axes) else _spread(feature, output)
    return _elementwise(call, output, known)


def _spread(feature: Feature, output: Value) -> Feature | None:
    """A feature that was broadcast to more axes."""
    missing = len(output.shape) - len(feature.axes)
    if missing < 0:
        return None
    return Feature(feature.segments, ((),) * missing + feature.axes, feature.sizes).resized(output.shape)


def _elementwise(call: Call, output: Value, known: list[Feature]) -> Feature | None:
    """Broadcasting as numpy does it: extents are compared from the last axis on."""
    rank = len(output.shape)
    aligned = [((),) * (rank - len(feature.axes)) + feature.axes for feature in known]
    axes: list[tuple[Any, ...]] = []
    for axis, extent in enumerate(output.shape):
        candidates = {
            labels[axis]
            for labels, feature in zip(aligned, known, strict=True)
            if labels[axis] and (extent == 1 or _extent(feature, labels[axis]) == extent)
        }
        if len(candidates) > 1:
            return None
        axes.append(candidates.pop() if candidates else ())
    sizes = {label: size for feature in known for label, size in feature.sizes.items() if size > 1 or label == "c"}
    widest = max(known, key=lambda feature: feature.channels)
    for feature in known:
        if feature.channels == widest.channels:
            agree = _join(widest, feature)
        else:  # one channel for all
            agree = feature.channels == 1 and feature.segments[0].term.settle("trivial")
        if not agree:
            raise ConflictError(f"{call.name} joins features of different types or widths")
    present = {label for labels in axes for label in labels}
    return Feature(
        widest.segments,
        tuple(axes),
        {**{label: sizes.get(label, 1) for label in present}, "c": widest.channels},
    )


def _extent(feature: Feature, labels: Sequence[Any]) -> int:
    return math.prod(feature.sizes[label] for label in labels)


def _join(one: Feature, other: Feature) -> bool:
    if [segment.channels for segment in one.segments] == [segment.channels for segment in other.segments]:
        return all(a.term.join(b.term) for a, b in zip(one.segments, other.segments, strict=True))
    every = [segment.term for feature in (one, other) for segment in feature.segments]
    return all(every[0].join(term) for term in every)


def _first(call: Call, features: Features) -> Feature:
    return next(features[value] for value in call.inputs if value in features)


def _reshape(call: Call, features: Features) -> Found:
    return [_first(call, features).reshaped(output.shape) for output in call.outputs]


def _permute(call: Call, features: Features) -> Found:
    feature = _first(call, features)
    rank = len(feature.axes)
    if call.name == "permute":
        dims = call.argument(1, "dims")
        order = dims if isinstance(dims, (tuple, list)) else call.args[1:]
    elif call.name in ("t", "T", "mT", "H"):
        order = [*range(rank - 2), rank - 1, rank - 2]
    elif call.name in ("movedim", "moveaxis"):
        order = _moved(rank, call.argument(1, "source"), call.argument(2, "destination"))
    else:
        one = call.argument(1, "dim0", call.kwargs.get("axis0"))
        other = call.argument(2, "dim1", call.kwargs.get("axis1"))
        order = list(range(rank))
        order[one], order[other] = order[other], order[one]
    return [feature.permuted([axis % rank for axis in order])]


def _moved(rank: int, source: Any, destination: Any) -> list[int]:
    sources = [axis % rank for axis in ([source] if isinstance(source, int) else source)]
    targets = [axis % rank for axis in ([destination] if isinstance(destination, int) else destination)]
    rest = iter([axis for axis in range(rank) if axis not in sources])
    return [sources[targets.index(axis)] if axis in targets else next(rest) for axis in range(rank)]


def _reduce(call: Call, features: Features) -> Found:
    feature = _first(call, features)
    if len([value for value in call.inputs if value in features]) > 1:
        return [_by_shape(call, output, [features[v] for v in call.inputs if v in features]) for output in call.outputs]
    axes = call.kwargs.get("dim", call.kwargs.get("axis", call.argument(1, "dim")))
    if call.name in ("norm", "vector_norm"):
        axes = call.argument(2, "dim")
    if axes is None or isinstance(axes, bool):
        return []
    chosen = [axis % len(feature.axes) for axis in ([axes] if isinstance(axes, int) else axes)]
    keep = len(call.outputs[0].shape) == len(feature.axes)
    return [feature.reduced(chosen, keep)]


def _pool_everything(call: Call, features: Features) -> Found:
    feature = _first(call, features)
    return [feature.reduced(range(2, len(feature.axes)), keep=False)]


def _concatenate(call: Call, features: Features) -> Found:
    parts = [features.get(value) for value in call.inputs]
    axis = call.kwargs.get("dim", call.kwargs.get("axis", call.argument(1, "dim", 0)))
    if any(part is None for part in parts):
        return []
    known = [part for part in parts if part is not None]
    first = known[0]
    axis %= len(first.axes)
    if any(part.axes != first.axes for part in known):
        return []
    if first.axes[axis] == ("c",):
        return [first.having([segment for part in known for segment in part.segments])]
    for part in known[1:]:
        if not _join(first, part):
            raise ConflictError("cat joins features of different types")
    return [first.resized(call.outputs[0].shape)]


def _divide(call: Call, features: Features) -> Found:
    """chunk, split, tensor_split: parts one after the other along an axis."""
    feature = _first(call, features)
    axis = call.kwargs.get("dim", call.argument(2, "dim", 0)) % len(feature.axes)
    found, start = [], 0
    for output in call.outputs:
        found.append(cut(feature, axis, start, output.shape[axis], output.shape))
        start += output.shape[axis]
    return found


def _narrow(call: Call, features: Features) -> Found:
    feature = _first(call, features)
    axis, start, length = (call.argument(*what) for what in ((1, "dim"), (2, "start"), (3, "length")))
    return [cut(feature, axis % len(feature.axes), start, length, call.outputs[0].shape)]


def _index(call: Call, features: Features) -> Found:
    given = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    return [indexed(_first(call, features), given)]


def _write(call: Call, features: Features) -> Found:
    """x[...] = y: what x is, with other values."""
    return [features.get(call.inputs[0])]


def _expand(call: Call, features: Features) -> Found:
    """Extents of 1 made larger: the same values at each position."""
    feature, output = _first(call, features), call.outputs[0]
    if (
        feature.channel_axis is not None
        and feature.channels == 1 < output.shape[feature.channel_axis - len(feature.axes)]
    ):
        return [_for_all_channels(call, feature, output.shape)]
    missing = len(output.shape) - len(feature.axes)
    axes: list[tuple[Label, ...]] = [*((),) * missing, *feature.axes]
    absent: list[Label] = [label for label in range(len(output.shape) - 2) if label not in feature.spatial]
    sizes = dict(feature.sizes)
    for axis, extent in enumerate(output.shape):
        if not axes[axis] and extent > 1:
            if not absent:
                return []
            axes[axis] = (absent.pop(0),)
            sizes[axes[axis][0]] = extent
        elif len(axes[axis]) == 1:
            sizes[axes[axis][0]] = extent
    return [Feature(feature.segments, tuple(axes), sizes)] if sizes["c"] == feature.channels else []


def _for_all_channels(call: Call, feature: Feature, shape: Sequence[int]) -> Feature | None:
    """One channel made many, all alike: features of any type."""
    if not feature.segments[0].term.settle("trivial"):
        raise ConflictError(f"{call.name} takes one channel, which is no whole feature, for all")
    if len(shape) != len(feature.axes) or feature.channel_axis is None:
        return None
    return feature.having([Segment(Term(), shape[feature.channel_axis])]).resized(shape)


def _stack(call: Call, features: Features) -> Found:
    """Features one beside the other along an axis of its own."""
    parts = [features.get(value) for value in call.inputs]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or any(part.axes != known[0].axes or "s" in part.sizes for part in known):
        return []
    for part in known[1:]:
        if not _join(known[0], part):
            raise ConflictError("stack joins features of different types")
    axis = call.kwargs.get("dim", call.argument(1, "dim", 0)) % (len(known[0].axes) + 1)
    axes = (*known[0].axes[:axis], ("s",), *known[0].axes[axis:])
    return [Feature(known[0].segments, axes, {**known[0].sizes, "s": len(parts)})]


def _unbind(call: Call, features: Features) -> Found:
    """The features of a stack, each by itself."""
    feature = _first(call, features)
    axis = call.kwargs.get("dim", call.argument(1, "dim", 0)) % len(feature.axes)
    if feature.axes[axis] != ("s",):
        return []
    return [feature.reduced([axis], keep=False)] * len(call.outputs)


def _contract(call: Call, features: Features) -> Found:
    """A product of matrices that sums over positions, with channels on one side, as a pooling by attention has it."""
    known = [features[value] for value in call.inputs if value in features]
    if len(known) != 2 or len(known[0].axes) != len(known[1].axes):
        return []
    one, other = known
    summed = one.axes[-1]
    if not summed or summed != other.axes[-2] or not all(isinstance(label, int) for label in summed):
        return []
    wide, weights = (one, other) if one.channels > 1 else (other, one)
    left, right = ([() if side is weights and labels == ("c",) else labels for labels in side.axes] for side in known)
    axes = (*(mine or theirs for mine, theirs in zip(left[:-2], right[:-2], strict=True)), left[-2], right[-1])
    if weights.channels > 1 or sum("c" in labels for labels in axes) != 1:
        return []
    if not weights.segments[0].term.settle("trivial"):
        raise ConflictError(f"{call.name} weighs features by one channel, which is no whole feature")
    sizes = {label: size for label, size in wide.sizes.items() if label not in summed}
    return [Feature(wide.segments, axes, sizes)]


_Rule = Callable[[Call, Features], Found]
_GROUPS: list[tuple[_Rule, str]] = [
    (_reshape, "flatten reshape view view_as reshape_as unflatten squeeze unsqueeze Flatten Unflatten _unsafe_view"),
    (_permute, "permute transpose t T mT movedim moveaxis swapaxes swapdims"),
    (_reduce, "mean sum amax amin max min var std norm vector_norm logsumexp prod median nanmean var_mean std_mean"),
    (_pool_everything, "GlobalAvgPool"),
    (_concatenate, "cat concat concatenate"),
    (_stack, "stack"),
    (_unbind, "unbind"),
    (_divide, "chunk split tensor_split split_with_sizes"),
    (_narrow, "narrow"),
    (_index, "__getitem__"),
    (_write, "__setitem__"),
    (_expand, "expand expand_as broadcast_to"),
    (_contract, "matmul bmm __matmul__"),
]
RULES: dict[str, _Rule] = {name: rule for rule, names in _GROUPS for name in names.split()}
"""By the name of a function or layer."""

# fmt: off
_UNKNOWN = frozenset([
    "mm", "baddbmm", "__rmatmul__", "einsum", "tensordot", "outer", "cdist",
    "unfold", "fold", "Fold", "Unfold", "scaled_dot_product_attention", "grid_sample", "embedding",
    "MultiheadAttention", "pixel_shuffle", "pixel_unshuffle", "PixelShuffle", "PixelUnshuffle", "repeat", "tile",
    "repeat_interleave", "gather", "index_select",
])
# fmt: on
"""Of which the shapes alone would tell something wrong."""

RESHAPES = frozenset(name for rule, names in _GROUPS for name in names.split() if rule is _reshape)
"""Functions that read the axes in another shape."""

VIEWS = frozenset(name for rule, names in _GROUPS for name in names.split() if rule in (_reshape, _index, _expand))
"""Functions that give the same numbers in another shape."""
