"""What the page of a data set shows, chosen and counted before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equimorph.data import ImageData
from equimorph.errors import ConfigurationError, DataError
from equimorph.groups import Group
from equimorph.layers.features import transform

MOST_CLASSES = 30  # whose samples are shown
MOST_ORBITS = 8
MOST_ELEMENTS = 16
SPLITS = ("train", "validation", "test")
_SEED = 0


@dataclass(frozen=True)
class Orbit:
    """One sample under the elements of the group.

    Attributes:
        label: The index of its class.
        row: Its place in the training split.
        fixing: The elements, among all of the group, that leave it as it is.
        size: How many different samples all elements make of it.
    """

    label: int
    row: int
    fixing: frozenset[int]
    size: int


@dataclass(frozen=True)
class Show:
    """What there is to show of a data set.

    Attributes:
        data: It.
        group: What moves its samples.
        counts: By split, the samples of each class.
        drawn: By class, the places in the training split of the samples shown, for the first `MOST_CLASSES` classes.
        elements: The elements shown, the identity first, then turns, then mirrors.
        orbits: One sample for each of the first classes that have any.
        brightness: What samples are multiplied by to be seen.
        about: What else is known of the data, by label.
    """

    data: ImageData
    group: Group
    counts: Mapping[str, tuple[int, ...]]
    drawn: tuple[tuple[int, ...], ...]
    elements: tuple[int, ...]
    orbits: tuple[Orbit, ...]
    brightness: int = 1
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_hidden(self) -> int:
        """How many classes have no samples shown."""
        return self.data.num_classes - len(self.drawn)

    def shares(self, split: str) -> tuple[float, ...]:
        """What part of a split each class has."""
        counts = self.counts[split]
        return tuple(count / sum(counts) for count in counts)

    def sample(self, row: int) -> Tensor:
        """A raw training sample, shape (channels, *spatial)."""
        return self.data.train.x[row : row + 1][0]

    def moved(self, row: int, element: int) -> Tensor:
        """A raw training sample moved by an element, shape (channels, *spatial)."""
        return _moved(self.sample(row), element, self.group)


def make_show(data: ImageData, group: Group, *, per_class: int, about: Mapping[str, str]) -> Show:
    """Count the classes, draw the samples and move some of them.

    Raises:
        ConfigurationError: `per_class` is less than 1.
        DataError: The group acts on another number of axes than the samples have.
    """
    if per_class < 1:
        raise ConfigurationError(f"write_show: per_class is {per_class}; it must be at least 1.")
    if group.dim != data.dim:
        raise DataError(
            f"write_show: {group.name} acts on {group.dim} spatial axes and the samples of {data.name} have "
            f"{data.dim}; name a group with dim={data.dim}."
        )
    splits = zip(SPLITS, (data.train, data.validation, data.test), strict=True)
    counts = {name: tuple(split.y.cpu().bincount(minlength=data.num_classes).tolist()) for name, split in splits}
    drawn = _draw(data, per_class)
    chosen = [(label, rows[0]) for label, rows in enumerate(drawn) if rows][:MOST_ORBITS]
    orbits = tuple(_measure(data.train.x[row : row + 1][0], label, row, group) for label, row in chosen)
    brightness = _choose_brightness(data, [row for rows in drawn for row in rows])
    return Show(data, group, counts, drawn, choose_elements(group), orbits, brightness, dict(about))


def choose_elements(group: Group) -> tuple[int, ...]:
    """Up to `MOST_ELEMENTS` elements, at least one of each conjugacy class, sorted as `Show.elements` says.

    Where there are more, the classes take turns, and each gives those first that move about the last axis.

    Example:
        >>> from equimorph.groups import group
        >>> choose_elements(group("C4")), len(choose_elements(group("Oh")))
        ((0, 1, 2, 3), 16)
    """
    classes = [sorted(members, key=lambda h: _plainness(group, h)) for members in _classes_of_elements(group)]
    longest = max(map(len, classes))
    in_turn = [members[turn] for turn in range(longest) for members in classes if turn < len(members)]
    places = {h: place for place, members in enumerate(classes) for h in members}
    chosen = in_turn[:MOST_ELEMENTS]
    if len(in_turn) <= MOST_ELEMENTS:
        return tuple(sorted(chosen))
    return tuple(sorted(chosen, key=lambda h: (is_mirror(group, h), places[h], _plainness(group, h))))


def is_mirror(group: Group, element: int) -> bool:
    """Whether it turns a sample into its mirror image.

    Example:
        >>> from equimorph.groups import group
        >>> [is_mirror(group("D2"), h) for h in range(4)]
        [False, False, True, True]
    """
    return bool(torch.linalg.det(torch.from_numpy(group.elements[element].copy()).double()) < 0)


def _classes_of_elements(group: Group) -> list[tuple[int, ...]]:
    """The sets {g h g^-1 : g in G}, by their first element."""
    conjugates = (group.table[group.table[:, h], group.inverses] for h in range(group.order))
    return sorted({tuple(sorted({int(g) for g in row})) for row in conjugates})


def _plainness(group: Group, element: int) -> tuple[bool, int, int]:
    """What is told and seen most easily comes first: about the last axis, then about another one, then a diagonal."""
    name = group.subgroup_generated_by([element]).name
    return not name.endswith("@z"), len(name), element


def _draw(data: ImageData, per_class: int) -> tuple[tuple[int, ...], ...]:
    generator = torch.Generator().manual_seed(_SEED)
    labels = data.train.y.cpu()
    drawn = []
    for label in range(min(data.num_classes, MOST_CLASSES)):
        rows = (labels == label).nonzero().flatten()
        order = torch.randperm(len(rows), generator=generator)[:per_class]
        drawn.append(tuple(rows[order].tolist()))
    return tuple(drawn)


def _measure(sample: Tensor, label: int, row: int, group: Group) -> Orbit:
    fixing = frozenset(h for h in range(group.order) if torch.equal(_moved(sample, h, group), sample))
    return Orbit(label, row, fixing, group.order // len(fixing))  # of the orbit and the stabiliser


def _moved(sample: Tensor, element: int, group: Group) -> Tensor:
    return transform(sample[None], element, group, "trivial")[0]


def _choose_brightness(data: ImageData, rows: Iterable[int]) -> int:
    """By what whole number bytes are multiplied to be seen, as those of a grid of cells that are full or empty."""
    greatest = [data.train.x[row : row + 1].max() for row in rows]
    if any(value.dtype != torch.uint8 for value in greatest):
        return 1
    return 255 // max(1, *(int(value) for value in greatest))
