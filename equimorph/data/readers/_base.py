"""The contract of a reader: from a path to a listing of samples, labels and what else is known, nothing decoded yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from equimorph.data.problems import Findings
from equimorph.data.resizing import Fit
from equimorph.data.sources import ChannelAxis, Source
from equimorph.data.splits import Shares

BadSamples = Literal["stop", "leave-out"]
Channels = Literal["auto", "grey", "rgb"]


@dataclass(frozen=True)
class ReadOptions:
    """How the user's own data are read.

    Attributes:
        dim: Spatial axes of a sample.
        image_size: The side that samples are brought to; when left out, as they are, and then all must be alike.
        fit: How samples of other proportions are brought to it.
        channels: "grey", "rgb", or what the images are.
        channel_axis: Which axis of an array counts channels.
        label_column, path_column, group_column, split_column: Names of a table's columns (or of a file's arrays);
            found when left out.
        images: The folder that a table's paths begin in; the table's own when left out.
        shares: Of validation and test set, where the data are not divided already.
        split: The seed of the division.
        bad_samples: "stop" at samples that cannot be used, or "leave-out" and count them.
        memory_gib: Samples are kept decoded in memory up to this size, and decoded when they are needed beyond it; when
            None, up to 4 GiB or a quarter of the memory that is free, whichever is less. It changes no result.
        workers: Processes that decode; as many as there are cores when None, none beside this one when 0.
    """

    dim: int = 2
    image_size: int | None = None
    fit: Fit = "crop"
    channels: Channels = "auto"
    channel_axis: ChannelAxis = "auto"
    label_column: str | None = None
    path_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    images: str | None = None
    shares: Shares = field(default_factory=Shares)
    split: int = 0
    bad_samples: BadSamples = "stop"
    memory_gib: float | None = None
    workers: int | None = None


@dataclass(frozen=True)
class Listing:
    """What a reader found. All sequences have one entry for each sample, in an order that every machine finds.

    Attributes:
        name: What the data set is called.
        source: The samples.
        ids: What each is called: a path within the folder, a row of the file.
        labels: The name of each one's class.
        classes: All classes in order; sorted names when None.
        parts: "train", "validation" or "test" for each, where the data are divided already; validation or test set
            may be missing, and are then drawn from the training set.
        groups: What each sample belongs to that must not be divided (a patient, an object), where that is known.
        findings: What is wrong already, and what was put right.
    """

    name: str
    source: Source
    ids: Sequence[str]
    labels: Sequence[str]
    classes: tuple[str, ...] | None = None
    parts: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    findings: Findings = field(default_factory=Findings)


class Reader(ABC):
    """Reads one kind of data. What a reader provides is `form`, `recognises` and `read`."""

    @property
    @abstractmethod
    def form(self) -> str:
        """What it reads, in a few words for the help."""

    @abstractmethod
    def recognises(self, given: str) -> bool:
        """Whether what follows --data (a path, or `kind:rest`) is for this reader."""

    @abstractmethod
    def read(self, given: str, options: ReadOptions) -> Listing:
        """List the samples.

        Raises:
            DataError: There is nothing, or it is not what this reader reads.
        """


def part_named(name: str) -> str | None:
    """The part that a folder or a table calls by some usual name; None when it is no such name.

    Example:
        >>> part_named("val"), part_named("Training"), part_named("cats")
        ('validation', 'train', None)
    """
    usual = {
        "train": ("train", "training", "trn"),
        "validation": ("val", "valid", "validation", "dev"),
        "test": ("test", "testing", "tst"),
    }
    return next((part for part, names in usual.items() if name.strip().lower() in names), None)


def path_of(given: str) -> Path:
    """The path that a user typed."""
    return Path(given).expanduser()
