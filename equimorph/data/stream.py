"""Samples that are decoded when they are needed, ahead of their use, by worker processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from equimorph.data.problems import SampleError
from equimorph.data.sources import Form, Source
from equimorph.errors import DataError

_AHEAD = 2  # batches that each worker holds ready


class Stream:
    """Samples of a source in their form; it is indexed like a tensor (samples, channels, *spatial).

    Args:
        source: The samples.
        form: What they are decoded to.
        indices: Which samples of the source, in order, shape (samples,).
        sums: The sum and the sum of squares of each channel of each sample of the source, shape (2, all, channels).
        ids: What each sample of the source is called, for messages.
        workers: Processes that decode; as many as there are cores when None, none beside this one when 0.
    """

    def __init__(
        self,
        source: Source,
        form: Form,
        indices: NDArray[np.int64],
        sums: NDArray[np.float64],
        *,
        ids: Sequence[str] | None = None,
        workers: int | None = None,
    ) -> None:
        self.source, self.form, self.indices, self.sums, self.ids = source, form, indices, sums, ids
        self.workers = cores() if workers is None else workers

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that all samples together would have."""
        return (len(self), *self.form.shape)

    @property
    def ndim(self) -> int:
        """The number of axes of `shape`."""
        return len(self.shape)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """Some samples, decoded in this process.

        Raises:
            DataError: A sample cannot be read any more.
        """
        numbers = self.indices[chosen if isinstance(chosen, slice) else chosen.cpu().numpy()]
        return torch.from_numpy(np.stack([self._decoded(int(number)) for number in numbers]))

    def part(self, chosen: Tensor) -> Stream:
        """Some of the samples, still to be decoded."""
        return self.having(self.indices[chosen.cpu().numpy()])

    def having(self, indices: NDArray[np.int64]) -> Stream:
        """These samples of the same source."""
        return Stream(self.source, self.form, indices, self.sums, ids=self.ids, workers=self.workers)

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of each channel; the standard deviation of a channel without variation is given as one."""
        return mean_and_std_of(self.sums[:, self.indices].sum(1), len(self) * int(np.prod(self.form.sides)))

    def batches(self, orders: Iterable[Tensor]) -> Iterator[Tensor]:
        """Batches of samples, for each some indices into this stream; decoded ahead, while others are used."""
        loader = DataLoader(
            _Batched(self),
            sampler=_Orders(orders),
            batch_size=None,
            prefetch_factor=_AHEAD if self.workers else None,
            **worker_options(self.workers),
        )
        return _raising(iter(loader))

    def _decoded(self, number: int) -> NDArray[Any]:
        try:
            return self.source.read(number, self.form)
        except SampleError as error:  # it was good when all samples were looked at
            name = f"sample {number}" if self.ids is None else self.ids[number]
            raise DataError(f"data: {name} changed while it was in use: {error}.") from None


class AheadOfSteps:
    """The batches of a stream by step, decoded ahead as long as steps follow each other.

    Args:
        stream: The samples.
        order_at: The indices of a step's samples.
    """

    def __init__(self, stream: Stream, order_at: Callable[[int], Tensor]) -> None:
        self.stream, self.order_at = stream, order_at
        self._next_step: int | None = None
        self._batches: Iterator[Tensor] = iter(())

    def at(self, step: int) -> Tensor:
        """The raw samples of a step."""
        if step != self._next_step:
            self._batches = iter(())  # ends the workers of the ones before
            self._batches = self.stream.batches(map(self.order_at, count(step)))
        self._next_step = step + 1
        return next(self._batches)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_options(number: int) -> dict[str, Any]:
    """What a DataLoader is told so that this many processes work for it."""
    # Forked, workers share the memory of this process; and without a generator it would draw from the global one.
    context = "fork" if number and sys.platform == "linux" else None
    return {"num_workers": number, "multiprocessing_context": context, "generator": torch.Generator()}


def mean_and_std_of(sums: NDArray[np.float64], number: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel (one, where nothing varies) from sums and squares, shape (2, channels)."""
    totals, squares = sums
    mean = totals / number
    std = np.sqrt(np.maximum(squares / number - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def _raising(batches: Iterator[Tensor | DataError]) -> Iterator[Tensor]:
    """Batches up to the first error, which is raised."""
    for batch in batches:
        if isinstance(batch, DataError):
            break
        yield batch
    else:
        return
    # The workers end here: held by the trace of the error they would be left to the collector, which takes seconds.
    del batches
    raise batch


class _Batched(Dataset[Tensor | DataError]):
    """A stream of which the items are whole batches, for workers to decode."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __getitem__(self, chosen: Any) -> Tensor | DataError:
        try:
            return self.stream[chosen]
        except DataError as error:  # returned, since a worker's own exception would come with its whole trace
            return error


class _Orders(Sampler[Tensor]):
    """Goes through the indices of batches, which may have no end."""

    def __init__(self, orders: Iterable[Tensor]) -> None:
        self.orders = orders

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.orders)
