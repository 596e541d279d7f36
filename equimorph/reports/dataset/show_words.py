"""The sentences of the page of a data set: what its samples are, and what each element of a group does to one."""

from __future__ import annotations

from equimorph.data import ImageData
from equimorph.groups import Group
from equimorph.reports.dataset.show_numbers import Orbit, Show

_SAMPLES = {1: "signals", 2: "images", 3: "volumes"}
_CHANNELS = {1: "grey", 3: "RGB"}


def tell_samples(data: ImageData) -> str:
    """What the samples are, with channels and sides.

    Example:
        >>> from equimorph.data import make_textures
        >>> tell_samples(make_textures("C4", num_train=10))
        'grey images of 16 × 16'
    """
    shape = data.train.x.shape
    what, channels = _SAMPLES[data.dim], shape[1]
    sides = " × ".join(map(str, shape[2:]))
    if data.dim == 1:
        return f"{what} of length {sides} with {_count(channels, 'channel')}"
    if data.dim == 2 and channels in _CHANNELS:
        return f"{_CHANNELS[channels]} {what} of {sides}"
    if channels == 1:
        return f"{what} of {sides}"
    return f"{what} of {sides} with {_count(channels, 'channel')}"


def tell_headline(data: ImageData) -> str:
    """The data set in one sentence."""
    number = sum(len(split) for split in (data.train, data.validation, data.test))
    return f"{data.name}: {number:,} {tell_samples(data)}, in {_count(data.num_classes, 'class', 'classes')}"


def tell_balance(show: Show) -> str:
    """How even the classes are, in the training split."""
    counts = show.counts["train"]
    most, least = max(counts), min(counts)
    if most == least:
        return f"Every class has {most:,} training samples."
    largest, smallest = (show.data.classes[counts.index(count)] for count in (most, least))
    ratio = f", {most / least:.3g} times as many" if least else ""
    return f"Of “{largest}” there are {most:,} training samples{ratio}, and of “{smallest}” {least:,}."


def tell_orbit(orbit: Orbit, group: Group) -> str:
    """How many different samples the group makes of one.

    Example:
        >>> from equimorph.groups import group
        >>> tell_orbit(Orbit(0, 0, frozenset({0, 3}), 4), group("D4"))
        '4 different pictures, not 8'
    """
    if orbit.size == 1:
        return "always the same"
    return f"{orbit.size} different pictures" + (f", not {group.order}" if orbit.size < group.order else "")


def tell_orbits(show: Show) -> str:
    """How to read the pictures of the orbits."""
    group, shown = show.group, len(show.elements)
    every = f"by every element of {group.name}"
    if shown < group.order:
        every = f"by {shown} of the {group.order} elements of {group.name}, at least one of every kind"
    of_each = (
        "each class"
        if len(show.orbits) == show.data.num_classes
        else f"{len(show.orbits)} of the {show.data.num_classes} classes each"
    )
    told = (
        f"One training sample of {of_each}, moved {every}. What stays in all of its pictures is what a network "
        f"invariant under {group.name} can tell classes by; whatever tells a picture from the first one of its sample "
        "is lost to it. If two pictures of one sample should have different labels, the group is too large."
    )
    if any(len(orbit.fixing) > 1 for orbit in show.orbits):
        told += " “The same”: equal to the sample as it is, in every value."
    return told


def tell_pictures(show: Show) -> str:
    """What must be known of the pictures of samples that are no plain images."""
    data = show.data
    told = []
    if data.dim == 3:
        told.append(
            "A volume has two pictures: its greatest values along z, with x downwards and y to the right, and along x, "
            "with z upwards and y to the right."
        )
    if data.dim > 1 and data.in_channels not in _CHANNELS:
        told.append(f"Of the {data.in_channels} channels the mean is shown.")
    if show.brightness > 1:
        told.append(f"Values are multiplied by {show.brightness} to be seen.")
    return " ".join(told)


def tell_hidden(show: Show) -> str:
    """How many classes are not among the samples; empty where all are."""
    if not show.num_hidden:
        return ""
    return f"The first {len(show.drawn)} of {show.data.num_classes} classes; {show.num_hidden} are not shown."


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
