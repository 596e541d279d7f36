"""From a reader's listing to a data set: look at everything once, tell all that is wrong, divide, keep or stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from equimorph.data._base import DataNotes, ImageData, Split
from equimorph.data.problems import Findings
from equimorph.data.readers._base import Listing, ReadOptions
from equimorph.data.readers.arrays import memory_available
from equimorph.data.scan import Pixels, Progress, scan_headers, scan_pixels
from equimorph.data.sources import Form, Header, Levels
from equimorph.data.splits import PARTS, divide, divide_in_two
from equimorph.data.stream import Stream
from equimorph.errors import ConfigurationError, DataError

_FEWEST_OF_CLASS = 3  # one for each part
_GIB = 2**30
_MOST_GIB, _MOST_OF_MEMORY = 4, 0.25  # of samples that are kept decoded, unless the user says how many


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody is told of."""


def assemble(listing: Listing, options: ReadOptions, *, progress: Progress = silent) -> ImageData:
    """Decode every sample once, and make the data set.

    Args:
        listing: What a reader found.
        options: How the data are read.
        progress: Is told while samples are looked at.
    Raises:
        DataProblemsError: Samples that cannot be used, classes that are too small, sides that differ: all together.
        ConfigurationError: The options do not fit the samples.
    """
    _check(options)
    findings = listing.findings
    speaker = f"data: {listing.name}"
    hint = "mend them, or leave these samples out with --bad-samples leave-out:"
    headers = scan_headers(listing.source, listing.ids, findings, workers=options.workers, progress=progress)
    form = _form(listing, headers, options)
    if form is None:
        findings.raise_if_any(speaker, hint)
        raise DataError(f"{speaker}: there are no samples in it.")
    usable = _usable(listing, headers, findings)
    keep = len(usable) * form.bytes_per_sample <= _limit_bytes(options)
    pixels = scan_pixels(
        listing.source,
        form,
        usable,
        listing.ids,
        findings,
        keep=keep,
        workers=options.workers,
        progress=progress,
    )
    kept = _without_small_classes(listing, [number for number in usable if pixels.good[number]], findings)
    if options.bad_samples == "leave-out":
        findings.leave_out()
        hint = "this cannot be left out:"
    if options.image_size is None:
        _find_other_sides(headers, form, findings)
    findings.raise_if_any(speaker, hint)
    if not kept:
        raise DataError(f"{speaker}: no sample is left that could be used.")
    _count_handled(listing, headers, kept, form, findings)
    whole = _Whole(listing, form, pixels, np.array(kept), options)
    return whole.divided(DataNotes(handled=dict(findings.handled), left_out=dict(findings.left_out), fit=form.fit))


def _limit_bytes(options: ReadOptions) -> float:
    """Up to which size samples are kept decoded."""
    if options.memory_gib is not None:
        return options.memory_gib * _GIB
    return min(_MOST_GIB * _GIB, _MOST_OF_MEMORY * memory_available())


def _check(options: ReadOptions) -> None:
    if options.image_size is not None and options.image_size < 1:
        raise ConfigurationError(f"data: --image-size is {options.image_size}; it must be at least one.")
    if options.workers is not None and options.workers < 0:
        raise ConfigurationError(f"data: --workers is {options.workers}; it must not be negative.")


def _form(listing: Listing, headers: Sequence[Header | None], options: ReadOptions) -> Form | None:
    """What all samples are decoded to: the most channels and levels, and the one size there is or was asked for."""
    known = Counter(header for header in headers if header is not None)
    if not known:
        return None
    images = [header for header in known if header.is_image]
    channels = Counter[int]()
    for header, times in known.items():
        channels[header.channels] += times
    wanted = max(channels) if images else channels.most_common(1)[0][0]
    if options.channels != "auto":
        if len(images) < len(known):
            raise ConfigurationError(
                f"data: --channels {options.channels} is for image files; {listing.name} holds arrays, of "
                f"{', '.join(map(str, sorted(channels)))} channels."
            )
        wanted = {"grey": 1, "rgb": 3}[options.channels]
    if options.image_size is None:
        sides = Counter(header.sides for header in headers if header is not None).most_common(1)[0][0]
    else:
        sides = (options.image_size,) * options.dim
    levels: Levels = "uint8" if all(header.levels == "uint8" for header in known) else "float32"
    return Form(wanted, sides, levels, options.fit)


def _find_other_sides(headers: Sequence[Header | None], form: Form, findings: Findings) -> None:
    """Put among the findings that there are samples of other sides."""
    all_sides = {header.sides for header in headers if header is not None}
    if len(all_sides) > 1:
        smallest, largest = min(all_sides, key=_volume), max(all_sides, key=_volume)
        findings.add(
            f"{_times(smallest)} to {_times(largest)}, most often {_times(form.sides)}",
            "sides differ, so name one size with --image-size",
        )


def _usable(listing: Listing, headers: Sequence[Header | None], findings: Findings) -> list[int]:
    """The samples to decode: those whose header could be read, and whose channels are those of most others."""
    arrays = Counter(header.channels for header in headers if header is not None and not header.is_image)
    usual = arrays.most_common(1)[0][0] if arrays else 0
    usable = []
    for number, header in enumerate(headers):
        if header is None:
            continue
        if not header.is_image and header.channels != usual:
            findings.add(listing.ids[number], f"{header.channels} channels, and most others have {usual}")
            continue
        usable.append(number)
    return usable


def _without_small_classes(listing: Listing, numbers: list[int], findings: Findings) -> list[int]:
    """The samples of classes that are large enough to be divided; the others are put among the findings."""
    first: dict[str, int] = {}
    of_class: Counter[str] = Counter()
    in_training: Counter[str] = Counter()
    for number in numbers:
        label = listing.labels[number]
        first.setdefault(label, number)
        of_class[label] += 1
        if listing.parts is None or listing.parts[number] == "train":
            in_training[label] += 1
    needed = _FEWEST_OF_CLASS - len(set(listing.parts or ["train"])) + 1
    small = {label: in_training[label] for label in of_class if in_training[label] < max(1, needed)}
    for label, number_there in small.items():
        what = "no sample" if number_there == 0 else "a single sample" if number_there == 1 else "two samples"
        findings.add(
            f'"{label}" ({listing.ids[first[label]]})',
            f"a class with {what} for training, and at least {max(1, needed)} must be there",
        )
    return [number for number in numbers if listing.labels[number] not in small]


def _count_handled(
    listing: Listing, headers: Sequence[Header | None], kept: list[int], form: Form, findings: Findings
) -> None:
    """Count what was put right in the samples that are used."""
    for header, times in Counter(headers[number] for number in kept).items():
        assert header is not None
        done = list(header.handled)
        if header.channels != form.channels:
            done.append("grey made RGB" if form.channels == 3 else "colour made grey")
        if header.sides != form.sides:
            larger = any(old < new for old, new in zip(header.sides, form.sides, strict=True))
            done.append(f"{'made larger' if larger else 'made smaller'}, to {_times(form.sides)}")
            if (
                form.fit != "stretch"
                and len({round(old / new, 6) for old, new in zip(header.sides, form.sides, strict=True)}) > 1
            ):
                done.append("cut to proportion" if form.fit == "crop" else "padded to proportion")
        for what in done:
            findings.handled[what] += times


@dataclass(frozen=True)
class _Whole:
    """All samples that are used, to be divided."""

    listing: Listing
    form: Form
    pixels: Pixels
    numbers: NDArray[np.int64]
    options: ReadOptions

    def divided(self, notes: DataNotes) -> ImageData:
        """The data set with its three splits."""
        listing = self.listing
        names = [listing.labels[number] for number in self.numbers]
        present = set(names)
        classes = tuple(label for label in listing.classes or sorted(present) if label in present)
        index = {label: place for place, label in enumerate(classes)}
        y = np.array([index[label] for label in names])
        groups = None
        if listing.groups is not None:
            groups = np.unique([listing.groups[number] for number in self.numbers], return_inverse=True)[1]
        parts, told = self._parts(y, groups)
        train, validation, test = (self._split(chosen, y, groups) for chosen in parts)
        missing = sorted(set(range(len(classes))) - set(y[parts[0]].tolist()))
        if missing:
            raise DataError(
                f"data: {listing.name}: no sample of {', '.join(classes[c] for c in missing)} is in the training "
                "set; divide the data anew, or merge classes."
            )
        # Sums of all samples, so that kept and streamed samples are standardised alike.
        mean, std = self._stream(parts[0]).mean_and_std()
        notes = replace(notes, split=told)
        return ImageData(listing.name, train, validation, test, classes, mean, std, notes)

    def _parts(self, y: NDArray[np.int64], groups: NDArray[np.int64] | None) -> tuple[list[NDArray[np.int64]], str]:
        """The places of training, validation and test samples, and how they were found, in words."""
        shares, seed = self.options.shares, self.options.split
        given = self.listing.parts
        how = f"by class{' and group' if groups is not None else ''}, seed {seed}"
        if given is None:
            count = len(y)
            wanted = max(1, round(shares.validation * count)), max(1, round(shares.test * count))
            try:
                drawn = divide(y, *wanted, seed=seed, groups=groups)
            except DataError as error:
                raise self._undivided(error) from None
            return list(drawn), f"{shares.validation:.0%} validation and {shares.test:.0%} test drawn {how}"
        named = np.array([given[number] for number in self.numbers])
        found = {part: np.flatnonzero(named == part) for part in PARTS}
        missing = [part for part in PARTS[1:] if not len(found[part])]
        if not len(found["train"]):
            raise DataError(f"data: {self.listing.name} has no training samples.")
        if not missing:
            return [found[part] for part in PARTS], "as the data are divided"
        train = found["train"]
        for part in missing:
            share = {"validation": shares.validation, "test": shares.test}[part]
            count = max(1, round(share * len(train)))
            try:
                rest, drawn_part = divide_in_two(
                    y[train], count, seed=seed, groups=None if groups is None else groups[train]
                )
            except DataError as error:
                raise self._undivided(error) from None
            found[part], train = train[drawn_part], train[rest]
        found["train"] = train
        return [found[part] for part in PARTS], f"as the data are divided; {' and '.join(missing)} drawn {how}"

    def _undivided(self, error: DataError) -> DataError:
        return DataError(
            f"data: {self.listing.name} cannot be divided ({error}); give larger shares (--validation-share, "
            "--test-share), or merge small classes."
        )

    def _split(self, chosen: NDArray[np.int64], y: NDArray[np.int64], groups: NDArray[np.int64] | None) -> Split:
        numbers = self.numbers[chosen]
        ids = tuple(self.listing.ids[number] for number in numbers)
        x = self._stream(chosen) if self.pixels.samples is None else torch.from_numpy(self.pixels.samples[numbers])
        return Split(x, torch.from_numpy(y[chosen]), ids, None if groups is None else torch.from_numpy(groups[chosen]))

    def _stream(self, chosen: NDArray[np.int64]) -> Stream:
        return Stream(
            self.listing.source,
            self.form,
            self.numbers[chosen],
            self.pixels.sums,
            ids=self.listing.ids,
            workers=self.options.workers,
        )


def _volume(sides: tuple[int, ...]) -> int:
    return int(np.prod(sides))


def _times(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))
