"""What a tensor between two layers is: which axes are channels and positions, and of which type the channels are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from equimorph.groups import Group, Representation
from equimorph.layers import transform

Label = str | int
"""Of an axis: "b" for the samples, "c" for the channels, "s" for features that were stacked, or a spatial axis."""


class Term:
    """The type of some channels, known or yet to be found; terms that must be of one type are joined.

    Args:
        kind: The type, where it is known.
    """

    def __init__(self, kind: Representation | None = None) -> None:
        self._kind = kind
        self._joined: Term | None = None

    @property
    def root(self) -> Term:
        """The term that stands for all that are joined with this one."""
        while self._joined is not None and self._joined._joined is not None:
            self._joined = self._joined._joined
        return self if self._joined is None else self._joined

    @property
    def kind(self) -> Representation | None:
        """The type, or None while it is open."""
        return self.root._kind

    def join(self, other: Term) -> bool:
        """Have one type with another term; False when the two are known to be of different types."""
        mine, theirs = self.root, other.root
        if mine is theirs:
            return True
        if mine._kind and theirs._kind and mine._kind != theirs._kind:
            return False
        mine._kind = mine._kind or theirs._kind
        theirs._joined = mine
        return True

    def settle(self, kind: Representation) -> bool:
        """Be of this type; False when another one is known."""
        return self.join(Term(kind))


@dataclass(frozen=True)
class Segment:
    """Neighbouring channels of one type.

    Attributes:
        term: The type.
        channels: How many.
    """

    term: Term
    channels: int


@dataclass(frozen=True)
class Feature:
    """A tensor of features.

    Attributes:
        segments: Its channels, by type.
        axes: For each axis of the tensor what it runs over, several labels where axes were merged (the first the
            slowest), none for an axis of extent 1.
        sizes: The extent behind each label.
    """

    segments: tuple[Segment, ...]
    axes: tuple[tuple[Label, ...], ...]
    sizes: dict[Label, int]

    @classmethod
    def plain(cls, segments: Sequence[Segment], shape: Sequence[int]) -> Feature:
        """A tensor (batch, channels, *spatial)."""
        labels: list[Label] = ["b", "c", *range(len(shape) - 2)]
        return cls(tuple(segments), tuple((label,) for label in labels), dict(zip(labels, shape, strict=True)))

    @property
    def channels(self) -> int:
        """All channels."""
        return sum(segment.channels for segment in self.segments)

    @property
    def channel_axis(self) -> int | None:
        """The axis that runs over the channels and nothing else."""
        return next((axis for axis, labels in enumerate(self.axes) if labels == ("c",)), None)

    @property
    def spatial(self) -> tuple[int, ...]:
        """The numbers of the spatial axes that are left, those of extent 1 too."""
        return tuple(sorted(label for labels in self.axes for label in labels if isinstance(label, int)))

    @property
    def is_map(self) -> bool:
        """Whether there are positions."""
        return any(self.sizes[label] > 1 for label in self.spatial)

    @property
    def flattened(self) -> tuple[int, ...] | None:
        """The sides of the map that was flattened into the channel axis, or None."""
        for labels in self.axes:
            positions = [label for label in labels if isinstance(label, int)]
            if positions and list(labels) == ["c", *sorted(positions)]:
                return tuple(self.sizes[label] for label in positions)
        return None

    def term(self) -> Term | None:
        """The one type of all channels; None when there are several."""
        roots = {segment.term.root for segment in self.segments}
        return roots.pop() if len(roots) == 1 else None

    def having(self, segments: Sequence[Segment]) -> Feature:
        """The same axes with other channels."""
        made = tuple(segments)
        return Feature(made, self.axes, {**self.sizes, "c": sum(segment.channels for segment in made)})

    def resized(self, shape: Sequence[int]) -> Feature | None:
        """The same axes with other extents, of axes that were not merged."""
        sizes = dict(self.sizes)
        for labels, extent in zip(self.axes, shape, strict=True):
            if len(labels) == 1:
                sizes[labels[0]] = extent
            elif math.prod(sizes[label] for label in labels) != extent:
                return None
        return Feature(self.segments, self.axes, sizes) if sizes["c"] == self.sizes["c"] else None

    def reshaped(self, shape: Sequence[int]) -> Feature | None:
        """The axes of the same numbers read in another shape; None where that divides one of them.

        The channels may be divided into equal parts, which are features that were stacked.
        """
        found = self._read_in(shape)
        if found is not None or "s" in self.sizes:
            return found
        for extent, parts in zip(shape[1:], shape, strict=False):
            stacked = self._stacked(parts) if extent * parts == self.channels and parts > 1 else None
            found = None if stacked is None else stacked._read_in(shape)
            if found is not None:
                return found
        return None

    def _stacked(self, parts: int) -> Feature | None:
        """The channels, which are an axis of their own, as stacked features of equal parts of them."""
        axis, segments = self.channel_axis, split_segments(self.segments, parts)
        if axis is None or segments is None:
            return None
        axes = (*self.axes[:axis], ("s", "c"), *self.axes[axis + 1 :])
        return Feature(segments, axes, {**self.sizes, "s": parts, "c": self.channels // parts})

    def _read_in(self, shape: Sequence[int]) -> Feature | None:
        labels = [label for merged in self.axes for label in merged if self.sizes[label] > 1 or label in ("b", "c")]
        axes: list[tuple[Label, ...]] = []
        for extent in shape:
            taken: list[Label] = []
            product = 1
            while labels and product * self.sizes[labels[0]] <= extent and (product < extent or not taken):
                product *= self.sizes[labels[0]]
                taken.append(labels.pop(0))
            if product != extent:
                return None
            axes.append(tuple(taken))
        if labels:
            return None
        if axes[:2] == [("b",), ()] and not any("c" in taken for taken in axes):
            axes[1] = ("c",)  # the one channel that a sum over channels had left
        merged = Feature(self.segments, tuple(axes), self._kept(axes))
        return merged._unstacked() if ("s", "c") in axes else merged

    def _unstacked(self) -> Feature:
        """Stacked features one after the other, as channels."""
        parts = self.sizes["s"]
        axes = tuple(("c",) if labels == ("s", "c") else labels for labels in self.axes)
        sizes = {label: size for label, size in self.sizes.items() if label != "s"}
        return Feature(self.segments * parts, axes, {**sizes, "c": self.channels * parts})

    def permuted(self, order: Sequence[int]) -> Feature:
        """The axes in another order."""
        return Feature(self.segments, tuple(self.axes[axis] for axis in order), self.sizes)

    def reduced(self, axes: Sequence[int], keep: bool) -> Feature | None:
        """What is left when some axes are summed or averaged over, or the like."""
        gone = {label for axis in axes for label in self.axes[axis]}
        if "b" in gone:
            return None
        segments, sizes = self.segments, self.sizes
        if "c" in gone:  # all channels alike, so it is the same for every element
            segments, sizes = (Segment(Term("trivial"), 1),), {**self.sizes, "c": 1}
        kept = [
            (() if axis in axes else labels) if "c" not in labels or axis not in axes else ("c",)
            for axis, labels in enumerate(self.axes)
        ]
        if not keep:
            kept = [labels for axis, labels in enumerate(kept) if axis not in axes]
        return Feature(segments, tuple(kept), self._kept(kept, sizes))

    def _kept(self, axes: Sequence[tuple[Label, ...]], sizes: dict[Label, int] | None = None) -> dict[Label, int]:
        present = {label for labels in axes for label in labels} | {"c"}
        return {label: size for label, size in (sizes or self.sizes).items() if label in present}


def split_segments(segments: Sequence[Segment], parts: int) -> tuple[Segment, ...] | None:
    """The segments of each of some equal parts of channels, which are made of one type; None where they are not."""
    total = sum(segment.channels for segment in segments)
    ends = set(itertools.accumulate(segment.channels for segment in segments))
    if len(segments) == 1:
        return (Segment(segments[0].term, total // parts),)
    if total % parts or not ends.issuperset(range(total // parts, total + 1, total // parts)):
        return None
    size = len(segments) // parts
    rows = [segments[start : start + size] for start in range(0, len(segments), size)]
    widths = {tuple(segment.channels for segment in row) for row in rows}
    agree = all(one.term.join(other.term) for row in rows[1:] for one, other in zip(rows[0], row, strict=False))
    return tuple(rows[0]) if len(widths) == 1 and agree else None


def can_transform(feature: Feature, group: Group) -> bool:
    """Whether it is known how the group acts on such a tensor."""
    kinds = [segment.term.kind for segment in feature.segments]
    whole = all(
        kind == "trivial" or (kind == "regular" and segment.channels % group.order == 0)
        for kind, segment in zip(kinds, feature.segments, strict=True)
    )
    labels = [label for merged in feature.axes for label in merged]
    return (
        whole and labels.count("s") <= 1 and len(feature.spatial) in (0, group.dim) and "b" in labels and "c" in labels
    )


def transformed(tensor: Tensor, feature: Feature, element: int, group: Group) -> Tensor:
    """h f, for a tensor with any order of axes (`can_transform`)."""
    merged = [label for labels in feature.axes for label in labels]
    spread = tensor.reshape([feature.sizes[label] for label in merged])
    stacked: list[Label] = ["s"] if "s" in merged else []
    canonical: list[Label] = [*stacked, "b", "c", *feature.spatial]
    order = [merged.index(label) for label in canonical]
    permuted = spread.permute(order)
    plain = permuted.flatten(0, len(stacked))
    parts = plain.split([segment.channels for segment in feature.segments], dim=1)
    moved: Tensor = torch.cat(
        [
            transform(part, element, group, segment.term.kind or "trivial")
            for part, segment in zip(parts, feature.segments, strict=True)
        ],
        dim=1,
    ).unflatten(0, permuted.shape[: len(stacked) + 1])  # the sides may have been exchanged
    back = moved.permute([order.index(axis) for axis in range(len(order))])
    shape = list(back.shape)
    extents = [math.prod(shape[merged.index(label)] for label in labels) for labels in feature.axes]
    return back.reshape(extents)
