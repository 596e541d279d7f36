"""Samples that are the entries of an array in memory; and how much memory there is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from equimorph.data.sources import ChannelAxis, Form, Header, Source, channels_first, header_of


class ArraySource(Source):
    """The entries of an array, shape (samples, *sides), with a further axis where there are channels.

    Args:
        samples: The array, any real dtype.
        dim: Spatial axes of a sample.
        axis: Which axis of a sample counts channels.
    """

    def __init__(self, samples: NDArray[Any], dim: int, axis: ChannelAxis = "auto") -> None:
        self.samples, self.dim, self.axis = samples, dim, axis

    def __len__(self) -> int:
        return len(self.samples)

    def header(self, index: int) -> Header:
        """What shape and dtype of the array say."""
        return header_of(self.samples.shape[1:], self.samples.dtype, self.dim, self.axis)

    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The entry, a view."""
        return channels_first(self.samples[index], self.dim, self.axis)

    @property
    def is_alike(self) -> bool:
        """They are, in one array."""
        return True


def memory_available() -> int:
    """The bytes of memory that can be had: those that Linux says are available, elsewhere all that the machine has."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
