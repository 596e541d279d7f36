"""The contract of a data set: labelled tensors in three splits, and how they are standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from equimorph.errors import DataError, ShapeError

SplitName = Literal["train", "validation", "test"]


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

    def preprocessing(self) -> dict[str, Any]:
        """What must be done to a raw sample before the network sees it, for the file beside its weights."""
        return {"channels": self.in_channels, "image_size": self.image_size, "mean": self.mean, "std": self.std}

    def description(self) -> dict[str, Any]:
        """Name, classes and sizes, for records."""
        sizes = {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}
        return {"name": self.name, "classes": list(self.classes), **sizes}
