"""The contract of a data set: samples with their targets in three splits, and how they are standardised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from equimorph.data.resizing import area_averaged
from equimorph.data.sending import constants
from equimorph.data.splits import check_seed, divide
from equimorph.data.stream import Stream, mean_and_std_of
from equimorph.data.targets import Targets, check_targets, kind_of, smaller_maps, strata
from equimorph.errors import ConfigurationError, DataError, ShapeError

SplitName = Literal["train", "validation", "test"]
_SUBSET_SEED = 0
_SUMMED = 1024  # samples at a time


@dataclass(frozen=True)
class Split:
    """Labelled samples.

    Attributes:
        x: Shape (samples, channels, *spatial), uint8 or floating; a tensor, or a stream that is indexed like one.
        y: What is to be told of each: class indices, shape (samples,), int64; numbers, shape (samples,) or
            (samples, k), floating, 0 and 1 for labels of which each may be there or not; the class of each pixel, shape
            (samples, *spatial), whole; or numbers at each pixel, shape (samples, k, *spatial), floating.
        ids: What each sample is called.
        groups: What each belongs to that must not be divided, as numbers, shape (samples,).
    """

    x: Tensor | Stream
    y: Tensor
    ids: tuple[str, ...] | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ShapeError(f"Split: {len(self.x)} samples and {len(self.y)} labels.")
        if self.x.ndim < 3:
            raise ShapeError(f"Split: samples have shape (channels, *spatial), got {tuple(self.x.shape[1:])}.")
        if len(self.x) == 0:
            raise DataError("Split: there are no samples in it.")
        _ = self.targets

    def __len__(self) -> int:
        return len(self.y)

    @property
    def targets(self) -> Targets:
        """Which kind `y` is."""
        return kind_of(self.y, self.x.ndim - 2)

    def part(self, chosen: Tensor) -> Split:
        """Some of the samples, in the order of these indices."""
        x = self.x.part(chosen) if isinstance(self.x, Stream) else self.x[chosen]
        ids = None if self.ids is None else tuple(self.ids[index] for index in chosen.tolist())
        return Split(x, self.y[chosen], ids, None if self.groups is None else self.groups[chosen.cpu()])

    def to(self, device: torch.device) -> Split:
        """The samples on a device; of a stream the labels alone, since its samples come batch by batch."""
        x = self.x if isinstance(self.x, Stream) else self.x.to(device)
        return replace(self, x=x, y=self.y.to(device))

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Raw samples and labels, all of them in order, so many at a time."""
        if isinstance(self.x, Stream):
            return zip(self.x.batches(torch.arange(len(self)).split(size)), self.y.split(size), strict=True)
        return zip(self.x.split(size), self.y.split(size), strict=True)


@dataclass(frozen=True)
class DataNotes:
    """What is on record about how a data set was put together.

    Attributes:
        split: How the samples were divided, in words.
        handled: How many samples were put right, by what was done.
        left_out: How many were left out, by the reason.
        fit: How samples of other proportions were brought to one; empty where there were none.
    """

    split: str = ""
    handled: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    fit: str = ""


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
        name: What it is called in reports.
        train: What networks are trained on.
        validation: What choices are made on.
        test: Used once, at the end.
        classes: The name of each class index; of each number, or none, where targets are no classes.
        mean, std: Per channel, of the training split.
        notes: How it was put together.
    Example:
        >>> split = Split(torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 0, 1, 0, 1]))
        >>> data = ImageData.from_splits("noise", split, split, split, classes=("a", "b"))
        >>> data.in_channels, data.image_size, data.num_classes
        (1, 8, 2)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: DataNotes = DataNotes()

    def __post_init__(self) -> None:
        check_targets([split.y for split in self._splits], [split.targets for split in self._splits], self.classes)

    @classmethod
    def from_splits(
        cls,
        name: str,
        train: Split,
        validation: Split,
        test: Split,
        *,
        classes: tuple[str, ...] = (),
        notes: DataNotes | None = None,
    ) -> ImageData:
        """Take mean and standard deviation of each channel from the training split.

        Raises:
            DataError: The targets of the splits are not of one kind, or a label has no name in `classes`.
        """
        notes = notes or DataNotes()
        if isinstance(train.x, Stream):
            return cls(name, train, validation, test, classes, *train.x.mean_and_std(), notes)
        if train.x.dtype == torch.uint8:  # exact sums, so that a stream of the same samples gives the same to the bit
            sums = torch.stack([_sums(part) for part in train.x.split(_SUMMED)]).sum(0)
            number = train.x.numel() // train.x.shape[1]
            return cls(name, train, validation, test, classes, *mean_and_std_of(sums.cpu().numpy(), number), notes)
        axes = [0, *range(2, train.x.ndim)]
        channels = train.x.to(torch.float64)
        mean, std = channels.mean(axes), channels.std(axes, correction=0)
        std = torch.where(std > 0, std, torch.ones_like(std))
        return cls(name, train, validation, test, classes, tuple(mean.tolist()), tuple(std.tolist()), notes)

    @property
    def in_channels(self) -> int:
        """Channels of a sample."""
        return self.train.x.shape[1]

    @property
    def image_size(self) -> int:
        """The smallest side of a sample."""
        return min(self.train.x.shape[2:])

    @property
    def targets(self) -> Targets:
        """What is to be told of a sample: its class ("classes"), numbers ("values"), or "maps" of either."""
        return self.train.targets

    @property
    def num_classes(self) -> int:
        """The number of classes; of names, where targets are no classes."""
        return len(self.classes)

    @property
    def dim(self) -> int:
        """The number of spatial axes."""
        return self.train.x.ndim - 2

    def standardize(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(x - mean) / std per channel, for raw samples (batch, channels, *spatial)."""
        shape = (1, -1, *([1] * self.dim))
        mean, std = (constants(tuple(values), dtype, x.device).view(shape) for values in (self.mean, self.std))
        return (x.to(dtype) - mean) / std

    def resized(self, size: int) -> ImageData:
        """The same samples made smaller, `size` pixels along every spatial axis (`area_averaged`), standardised anew.

        Maps are made smaller with them (`equimorph.data.targets.smaller_maps`).

        Raises:
            ConfigurationError: `size` is less than 1, or more than a sample has along one of its axes; or the samples
                are a stream, whose size is chosen when it is read.
        Example:
            >>> image = torch.tensor([[0, 4, 1, 1], [4, 8, 1, 1], [0, 0, 9, 9], [0, 0, 9, 9]])
            >>> split = Split(image[None, None], torch.tensor([0]))
            >>> data = ImageData.from_splits("one", split, split, split, classes=("a",))
            >>> data.resized(2).train.x[:].tolist()
            [[[[4, 1], [0, 9]]]]
        """
        largest = min(self.train.x.shape[2:])
        if not 1 <= size <= largest:
            raise ConfigurationError(
                f"resized: size {size}, needed 1 to {largest}, the side of a sample of {self.name}; "
                "samples are only ever made smaller, so take a size in that range."
            )
        smaller = []
        for split in self._splits:
            if isinstance(split.x, Stream):
                raise ConfigurationError(
                    f"resized: samples of {self.name} are decoded when they are needed; give image_size when they are "
                    "read (--image-size)."
                )
            old, new = tuple(split.x.shape[2:]), (size,) * self.dim
            y = smaller_maps(split.y, old, new) if self.targets == "maps" else split.y
            smaller.append(replace(split, x=area_averaged(split.x, new), y=y))
        return ImageData.from_splits(self.name, *smaller, classes=self.classes, notes=self.notes)

    def resplit(self, seed: int) -> ImageData:
        """All samples drawn again into splits of the same sizes (`divide`); seed 0 changes nothing.

        Each class has its share in each split; where targets are no classes, the draw is a plain one.

        An official test set is then among what is drawn from: results on other seeds tell how much hangs on the splits,
        and do not compare with published ones.

        Args:
            seed: Of the draw, from 0 to 2^32 - 1; the same seed, the same splits.
        Raises:
            ConfigurationError: The seed is out of range.
            DataError: A class has too few samples, or a split is too small, for every class to have its share.
        """
        check_seed("resplit", seed)
        if seed == 0:
            return self
        whole = joined(self._splits)
        groups = None if whole.groups is None else whole.groups.numpy()
        try:
            parts = divide(strata(whole.y).numpy(), len(self.validation), len(self.test), seed=seed, groups=groups)
        except DataError as error:
            by_class = ("by class ", "merge small classes or ") if self.targets == "classes" else ("", "")
            raise DataError(
                f"resplit: {self.name} cannot be divided {by_class[0]}({error}); {by_class[1]}keep seed 0."
            ) from None
        splits = (whole.part(torch.from_numpy(indices)) for indices in parts)
        how = ", by class" if self.targets == "classes" else ""
        notes = replace(self.notes, split=f"all samples drawn anew with seed {seed}{how}")
        return ImageData.from_splits(self.name, *splits, classes=self.classes, notes=notes)

    def subset(self, num_train: int) -> ImageData:
        """The same data with `num_train` of the training samples; validation and test stay.

        The choice is always the same, each class has its share and at least one sample (if it has any), and a smaller
        subset lies within every larger one. Where targets are no classes, it is a plain draw.

        Raises:
            ConfigurationError: `num_train` is more than there are, or less than the number of classes.
        Example:
            >>> split = Split(torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 0, 1, 0, 1]))
            >>> data = ImageData.from_splits("noise", split, split, split, classes=("a", "b"))
            >>> data.subset(4).train.y.tolist().count(0), len(data.subset(4).test)
            (2, 6)
        """
        least, why = (self.num_classes, " (one of each class)") if self.targets == "classes" else (1, "")
        if not least <= num_train <= len(self.train):
            raise ConfigurationError(
                f"subset: num_train {num_train}, needed {least}{why} to {len(self.train)} "
                f"(all that {self.name} has for training)."
            )
        chosen = _stratified_order(strata(self.train.y), max(self.num_classes, 1))[:num_train].sort().values
        return ImageData.from_splits(
            self.name, self.train.part(chosen), self.validation, self.test, classes=self.classes, notes=self.notes
        )

    @property
    def _splits(self) -> tuple[Split, Split, Split]:
        return self.train, self.validation, self.test

    def preprocessing(self) -> dict[str, Any]:
        """What must be done to a raw sample before the network sees it, for the file beside its weights."""
        known = {
            "channels": self.in_channels,
            "image_size": self.image_size,
            "sides": list(self.train.x.shape[2:]),
            "mean": self.mean,
            "std": self.std,
        }
        if self.targets != "classes":
            known["targets"] = self.targets
        return known | ({"fit": self.notes.fit} if self.notes.fit else {})

    def description(self) -> dict[str, Any]:
        """Name, classes and sizes, for records."""
        sizes = {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}
        notes = {key: value for key, value in asdict(self.notes).items() if value}
        return {"name": self.name, "classes": list(self.classes), **sizes, **notes}


def joined(splits: Sequence[Split]) -> Split:
    """All samples of some splits, one after the other; streams must be of one source."""
    y = torch.cat([split.y for split in splits])
    all_ids = [split.ids for split in splits]
    ids = None if None in all_ids else tuple(name for part in all_ids for name in part or ())
    all_groups = [split.groups for split in splits]
    groups = None if any(part is None for part in all_groups) else torch.cat([p for p in all_groups if p is not None])
    first = splits[0].x
    if isinstance(first, Stream):
        indices = [split.x.indices for split in splits if isinstance(split.x, Stream)]
        return Split(first.having(np.concatenate(indices)), y, ids, groups)
    return Split(torch.cat([split.x for split in splits if isinstance(split.x, Tensor)]), y, ids, groups)


def _sums(x: Tensor) -> Tensor:
    """Sum and sum of squares of each channel of some bytes, exact, shape (2, channels)."""
    wide = x.transpose(0, 1).flatten(1).long()
    return torch.stack([wide.sum(1), wide.square().sum(1)]).double()


def _stratified_order(labels: Tensor, num_classes: int) -> Tensor:
    """Indices in an order of which any first few have each class's share: its k-th of n stands at (k + 1/2) / n."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SUBSET_SEED))
    of_class = labels[shuffled]
    by_class = of_class.argsort(stable=True)
    sizes = of_class.bincount(minlength=num_classes)
    ranks = torch.empty_like(by_class)
    ranks[by_class] = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[of_class[by_class]]
    places = (ranks + 0.5).double() / sizes[of_class]
    places[ranks == 0] = 0  # one of each class first
    return shuffled[places.argsort(stable=True)]
