"""The contract of a data set: labelled tensors in three splits, and how they are standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.errors import ConfigurationError, DataError, ShapeError

SplitName = Literal["train", "validation", "test"]
_SUBSET_SEED = 0
_MOST_SEEDS = 2**32  # scikit-learn takes none beyond


@dataclass(frozen=True)
class Split:
    """Labelled samples.

    Attributes:
        x: Shape (samples, channels, *spatial), uint8 or floating.
        y: Class indices, shape (samples,), int64.
    """

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ShapeError(f"Split: {len(self.x)} samples and {len(self.y)} labels.")
        if self.x.ndim < 3:
            raise ShapeError(f"Split: samples have shape (channels, *spatial), got {tuple(self.x.shape[1:])}.")
        if len(self.x) == 0:
            raise DataError("Split: there are no samples in it.")

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class ImageData:
    """A data set in memory.

    Attributes:
        name: What it is called in reports.
        train: What networks are trained on.
        validation: What choices are made on.
        test: Used once, at the end.
        classes: The name of each class index.
        mean, std: Per channel, of the training split.
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

    @classmethod
    def from_splits(
        cls, name: str, train: Split, validation: Split, test: Split, *, classes: tuple[str, ...]
    ) -> ImageData:
        """Take mean and standard deviation of each channel from the training split."""
        axes = [0, *range(2, train.x.ndim)]
        channels = train.x.to(torch.float64)
        mean, std = channels.mean(axes), channels.std(axes, correction=0)
        std = torch.where(std > 0, std, torch.ones_like(std))
        return cls(name, train, validation, test, classes, tuple(mean.tolist()), tuple(std.tolist()))

    @property
    def in_channels(self) -> int:
        """Channels of a sample."""
        return self.train.x.shape[1]

    @property
    def image_size(self) -> int:
        """The side of a sample along its first spatial axis."""
        return self.train.x.shape[2]

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.classes)

    @property
    def dim(self) -> int:
        """The number of spatial axes."""
        return self.train.x.ndim - 2

    def standardize(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(x - mean) / std per channel, for raw samples (batch, channels, *spatial)."""
        shape = (1, -1, *([1] * self.dim))
        mean = torch.tensor(self.mean, dtype=dtype, device=x.device).view(shape)
        std = torch.tensor(self.std, dtype=dtype, device=x.device).view(shape)
        return (x.to(dtype) - mean) / std

    def resized(self, size: int) -> ImageData:
        """The same samples made smaller, `size` pixels along every spatial axis, standardised anew.

            small[i] = mean of x[j] over floor(i n / m) <= j < ceil((i + 1) n / m),   from n to m pixels, on each axis

        A mirror takes the pixels averaged for i to those for m - 1 - i, whether m divides n or not, so resizing
        commutes with quarter turns and mirrors. uint8 stays uint8, rounded.

        Raises:
            ConfigurationError: `size` is less than 1, or more than a sample has along one of its axes.
        Example:
            >>> image = torch.tensor([[0, 4, 1, 1], [4, 8, 1, 1], [0, 0, 9, 9], [0, 0, 9, 9]])
            >>> split = Split(image[None, None], torch.tensor([0]))
            >>> data = ImageData.from_splits("one", split, split, split, classes=("a",))
            >>> data.resized(2).train.x.tolist()
            [[[[4, 1], [0, 9]]]]
        """
        largest = min(self.train.x.shape[2:])
        if not 1 <= size <= largest:
            raise ConfigurationError(
                f"resized: size {size}, needed 1 to {largest}, the side of a sample of {self.name}; "
                "samples are only ever made smaller, so take a size in that range."
            )
        splits = (Split(_area_averaged(split.x, size), split.y) for split in self._splits)
        return ImageData.from_splits(self.name, *splits, classes=self.classes)

    def resplit(self, seed: int) -> ImageData:
        """All samples drawn again into splits of the same sizes, each class with its share; seed 0 changes nothing.

        An official test set is then among what is drawn from: results on other seeds tell how much hangs on the splits,
        and do not compare with published ones.

        Args:
            seed: Of the draw, from 0 to 2^32 - 1; the same seed, the same splits.
        Raises:
            ConfigurationError: The seed is out of range.
            DataError: A class has too few samples, or a split is too small, for every class to have its share.
        """
        from sklearn.model_selection import train_test_split

        if not 0 <= seed < _MOST_SEEDS:
            raise ConfigurationError(f"resplit: seed {seed}, needed a whole number from 0 to {_MOST_SEEDS - 1}.")
        if seed == 0:
            return self
        x, y = (torch.cat([getattr(split, part) for split in self._splits]) for part in "xy")
        sizes = {"validation": len(self.validation), "test": len(self.test)}
        try:
            rest, test = train_test_split(np.arange(len(y)), test_size=sizes["test"], stratify=y, random_state=seed)
            train, validation = train_test_split(
                rest, test_size=sizes["validation"], stratify=y[rest], random_state=seed
            )
        except ValueError as error:
            raise DataError(
                f"resplit: {self.name} cannot be divided by class ({error}); merge small classes or keep seed 0."
            ) from None
        splits = (Split(x[indices], y[indices]) for indices in (train, validation, test))
        return ImageData.from_splits(self.name, *splits, classes=self.classes)

    def subset(self, num_train: int) -> ImageData:
        """The same data with `num_train` of the training samples; validation and test stay.

        The choice is always the same, each class has its share and at least one sample (if it has any), and a smaller
        subset lies within every larger one.

        Raises:
            ConfigurationError: `num_train` is more than there are, or less than the number of classes.
        Example:
            >>> split = Split(torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 0, 1, 0, 1]))
            >>> data = ImageData.from_splits("noise", split, split, split, classes=("a", "b"))
            >>> data.subset(4).train.y.tolist().count(0), len(data.subset(4).test)
            (2, 6)
        """
        if not self.num_classes <= num_train <= len(self.train):
            raise ConfigurationError(
                f"subset: num_train {num_train}, needed {self.num_classes} (one of each class) to {len(self.train)} "
                f"(all that {self.name} has for training)."
            )
        chosen = _stratified_order(self.train.y, self.num_classes)[:num_train].sort().values
        train = Split(self.train.x[chosen], self.train.y[chosen])
        return ImageData.from_splits(self.name, train, self.validation, self.test, classes=self.classes)

    @property
    def _splits(self) -> tuple[Split, Split, Split]:
        return self.train, self.validation, self.test

    def preprocessing(self) -> dict[str, Any]:
        """What must be done to a raw sample before the network sees it, for the file beside its weights."""
        return {"channels": self.in_channels, "image_size": self.image_size, "mean": self.mean, "std": self.std}

    def description(self) -> dict[str, Any]:
        """Name, classes and sizes, for records."""
        sizes = {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}
        return {"name": self.name, "classes": list(self.classes), **sizes}


def _area_averaged(x: Tensor, size: int) -> Tensor:
    # In double precision means of bytes that end in one half are exact, so that a turn never rounds one the other way.
    parts = (F.interpolate(part.double(), size=[size] * (x.ndim - 2), mode="area") for part in x.split(4096))
    return torch.cat([(part if x.is_floating_point() else part.round()).to(x.dtype) for part in parts])


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
