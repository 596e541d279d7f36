"""What the arrays of a file are for, told by their usual names: `x_train` and `y_train`, or `images` and `labels`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from equimorph.data.readers._base import ReadOptions, part_named
from equimorph.errors import DataError

SAMPLES = ("x", "images", "image", "img", "data", "samples", "signals", "volumes", "inputs")
LABELS = ("y", "labels", "label", "targets", "target", "ans")
IDS = ("id", "ids")
GROUPS = ("group", "groups", "patient", "patients", "patient_id", "subject")
CLASSES = ("classes", "class_names", "label_names")

_BETWEEN = "_-/. "  # what stands between the name of an array and that of its part
_MOST_NAMES = 12  # named in a message


@dataclass(frozen=True)
class Block:
    """The names of the arrays of one part, or of all samples.

    Attributes:
        part: "train", "validation" or "test"; None when the file is not divided.
        samples, labels: The arrays of these.
        ids, groups: The arrays of these, where there are any.
    """

    part: str | None
    samples: str
    labels: str
    ids: str | None = None
    groups: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The arrays that have one short entry for each sample."""
        return tuple(name for name in (self.labels, self.ids, self.groups) if name is not None)


def blocks_of(names: Collection[str], options: ReadOptions, place: str) -> list[Block]:
    """The arrays that belong together, the training set first.

    Args:
        names: Of all arrays in the file.
        options: May name the samples (`path_column`), the labels and the groups.
        place: The file, for messages.
    Raises:
        DataError: There are no samples or no labels, a part lacks one of them, or two arrays could be the same.
    Example:
        >>> [(block.part, block.samples) for block in blocks_of(["y", "images"], ReadOptions(), "file")]
        [(None, 'images')]
    """
    samples = _found(names, SAMPLES, options.path_column, "samples", "--path-column", place)
    labels = _found(names, LABELS, options.label_column, "labels", "--label-column", place)
    groups = _found(names, GROUPS, options.group_column, "groups", "--group-column", place)
    ids = _found(names, IDS, None, "ids", "", place)
    if not samples or not labels:
        missing, option = ("samples", "--path-column") if not samples else ("labels", "--label-column")
        raise DataError(
            f"data: {place}: no {missing} among its arrays {quoted(names)}; call them x and y, or x_train, y_train, "
            f"x_test and y_test, or name the {missing} with {option}."
        )
    if None in samples and len(samples) > 1:
        raise DataError(f"data: {place}: {quoted(samples.values())} are samples of parts and of all; keep either.")
    labels = {part: name for part, name in labels.items() if part is not None or None in samples}
    if samples.keys() != labels.keys():
        part = next(iter(samples.keys() ^ labels.keys())) or "all"
        have, lack = ("samples", "labels") if part in samples or part == "all" else ("labels", "samples")
        raise DataError(f"data: {place}: {have} without {lack} for {part} among its arrays {quoted(names)}; give both.")
    if None not in samples and "train" not in samples:
        raise DataError(f"data: {place}: no training set among its arrays {quoted(names)}; give x_train and y_train.")
    parts = (part for part in (None, "train", "validation", "test") if part in samples)
    return [Block(part, samples[part], labels[part], ids.get(part), groups.get(part)) for part in parts]


def class_array(names: Iterable[str]) -> str | None:
    """The array that names the classes, where there is one."""
    return next((name for name in names if name.lower() in CLASSES), None)


def quoted(names: Iterable[str]) -> str:
    """Names for a message, the first of many."""
    listed = [f'"{name}"' for name in names]
    return ", ".join([*listed[:_MOST_NAMES], *(["…"] if len(listed) > _MOST_NAMES else [])]) or "(none)"


def _found(
    names: Collection[str], usual: tuple[str, ...], given: str | None, role: str, option: str, place: str
) -> dict[str | None, str]:
    """The array of each part."""
    if given in names:
        return {_part(given, usual): given} if given is not None else {}
    found: dict[str | None, str] = {}
    wanted = usual if given is None else (given.lower(),)
    for name in names:
        is_one, part = _matched(name, wanted)
        if is_one and part in found:
            hint = f"name one with {option}" if option else "keep one"
            raise DataError(f"data: {place}: {quoted((found[part], name))} could both be the {role}; {hint}.")
        if is_one:
            found[part] = name
    if given is not None and not found:
        raise DataError(f'data: {place}: no array "{given}" for the {role}; it has {quoted(names)} (see {option}).')
    return found


def _part(name: str, usual: tuple[str, ...]) -> str | None:
    return _matched(name, usual)[1]


def _matched(name: str, usual: tuple[str, ...]) -> tuple[bool, str | None]:
    """Whether a name is one of the usual ones, alone or with the name of a part, and of which part."""
    low = name.lower()
    if low in usual:
        return True, None
    for one in usual:
        for rest in (low.removeprefix(one), low.removesuffix(one)):
            part = part_named(rest.strip(_BETWEEN)) if rest != low else None
            if part is not None:
                return True, part
    return False, None
