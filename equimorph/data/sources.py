"""The contract of where samples come from, and the form that all samples of a data set are brought into."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from equimorph.data.problems import SampleError
from equimorph.data.resizing import Fit, fitted

ChannelAxis = Literal["auto", "first", "last"]
Levels = Literal["uint8", "float32"]


@dataclass(frozen=True)
class Header:
    """What is known of a sample without decoding it.

    Attributes:
        channels: How many it has.
        sides: Along each spatial axis.
        levels: "uint8" for bytes, "float32" for whatever has more levels.
        is_image: Whether its channels are colours, so that grey can be made RGB and the other way round.
        handled: What will have to be put right on decoding, in words.
    """

    channels: int
    sides: tuple[int, ...]
    levels: Levels = "uint8"
    is_image: bool = False
    handled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """What all samples are decoded to.

    Attributes:
        channels: How many there are.
        sides: Along each spatial axis.
        levels: The dtype.
        fit: How samples of other sides are brought to these.
    """

    channels: int
    sides: tuple[int, ...]
    levels: Levels = "uint8"
    fit: Fit = "crop"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return (self.channels, *self.sides)

    @property
    def bytes_per_sample(self) -> int:
        """The memory of one sample."""
        return int(np.prod(self.shape)) * np.dtype(self.levels).itemsize


class Source(ABC):
    """Samples by number. What a source provides is `__len__`, `header` and `array`; it can be pickled."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def header(self, index: int) -> Header:
        """What is known of a sample without decoding it.

        Raises:
            SampleError: It cannot be used; the message is the reason alone.
        """

    @abstractmethod
    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The sample decoded, shape (channels, *sides) with sides of its own and `form.channels` channels.

        Raises:
            SampleError: It cannot be used.
        """

    @property
    def is_alike(self) -> bool:
        """Whether all samples have the same header, so that one need be looked at."""
        return False

    def read(self, index: int, form: Form) -> NDArray[Any]:
        """The sample in its form, shape `form.shape`, of dtype `form.levels`.

        Raises:
            SampleError: It cannot be used, or holds numbers that are not finite.
        """
        array, shape = self.array(index, form), form.shape
        if array.shape[0] != form.channels or array.ndim != len(shape):
            raise SampleError(f"it has shape {array.shape}, and others have {shape}")
        with np.errstate(all="ignore"):  # numbers too large for the dtype become infinite, and are refused below
            if array.shape != shape:
                array = fitted(array, form.sides, form.fit)
            array = np.ascontiguousarray(array, dtype=form.levels)
        if form.levels == "float32" and not np.isfinite(array).all():
            raise SampleError("it holds numbers that are not finite")
        return array


def levels_of(dtype: np.dtype[Any]) -> Levels:
    """The levels that samples of a dtype are kept in.

    Raises:
        SampleError: It is no dtype of numbers.
    """
    if dtype == np.uint8:
        return "uint8"
    if dtype.kind in "biuf":  # of bools, too: made smaller, they have levels between
        return "float32"
    raise SampleError(f"its values are {dtype}, and real numbers are needed")


def channel_axis(shape: tuple[int, ...], dim: int, given: ChannelAxis = "auto") -> int | None:
    """The axis of one sample's shape that counts channels, or None where there is none.

    Left to be found, it is the first or the last axis, whichever is shorter, if one of them is shorter than all sides.

    Raises:
        SampleError: The number of axes does not fit the dimension, or which one counts channels cannot be told.
    Example:
        >>> channel_axis((64, 64, 3), 2), channel_axis((5, 64, 64), 2), channel_axis((64, 64), 2)
        (2, 0, None)
    """
    if len(shape) == dim:
        return None
    if len(shape) != dim + 1:
        raise SampleError(
            f"its shape is {shape}, and a sample of dimension {dim} has {dim} axes, or {dim + 1} with channels"
        )
    if given != "auto":
        return 0 if given == "first" else dim
    first, last = shape[0], shape[-1]
    if last < min(shape[:-1]):
        return dim
    if first < min(shape[1:]):
        return 0
    raise SampleError(f"which axis of shape {shape} counts channels cannot be told; name it with --channel-axis")


def header_of(shape: tuple[int, ...], dtype: np.dtype[Any], dim: int, given: ChannelAxis = "auto") -> Header:
    """The header of a sample that is an array.

    Raises:
        SampleError: It does not fit the dimension, or holds no numbers.
    """
    axis = channel_axis(shape, dim, given)
    sides = tuple(side for index, side in enumerate(shape) if index != axis)
    if min(shape, default=0) < 1:
        raise SampleError(f"its shape is {shape}, with nothing in it")
    return Header(1 if axis is None else shape[axis], sides, levels_of(dtype))


def channels_first(array: NDArray[Any], dim: int, given: ChannelAxis = "auto") -> NDArray[Any]:
    """A sample as (channels, *sides), a view.

    Raises:
        SampleError: Its shape does not fit the dimension.
    """
    axis = channel_axis(array.shape, dim, given)
    return array[None] if axis is None else np.moveaxis(array, axis, 0)
