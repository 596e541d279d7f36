"""Looking at every sample once, in parallel: headers first, then pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from equimorph.data.problems import Findings, SampleError
from equimorph.data.sources import Form, Header, Source
from equimorph.data.stream import cores, worker_options

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many samples are done, and how many there are."""

_CHUNK = 256  # samples that a worker does at a time
_CHUNK_BYTES = 2**22  # eight times as much while sums are taken
_FEWEST_CHUNKS = 3  # below, starting workers takes longer than the work


@dataclass(frozen=True)
class Pixels:
    """What the second look gave.

    Attributes:
        good: Which samples could be decoded, shape (samples,).
        sums: Sum and sum of squares of each channel, shape (2, samples, channels), 0 where not good.
        samples: All samples, shape (samples, *form.shape), where they were kept; None otherwise.
    """

    good: NDArray[np.bool_]
    sums: NDArray[np.float64]
    samples: NDArray[Any] | None


def scan_headers(
    source: Source, ids: Sequence[str], findings: Findings, *, workers: int | None, progress: Progress
) -> list[Header | None]:
    """The header of every sample; None, and a problem among the findings, where it cannot be used."""
    if source.is_alike:
        try:
            return [source.header(0)] * len(source)
        except SampleError as error:
            findings.add(f"all {len(source):,} samples", str(error))
            return [None] * len(source)
    headers: list[Header | None] = []
    for chunk in _in_parallel(_HeaderChunks(source, range(len(source)), _CHUNK), workers):
        for header in chunk:
            if isinstance(header, str):
                findings.add(ids[len(headers)], header)
            headers.append(None if isinstance(header, str) else header)
        progress("looking at samples", len(headers), len(source))
    return headers


def scan_pixels(
    source: Source,
    form: Form,
    chosen: Sequence[int],
    ids: Sequence[str],
    findings: Findings,
    *,
    keep: bool,
    workers: int | None,
    progress: Progress,
) -> Pixels:
    """Decode the chosen samples, to know that they can be, and to keep them or only their sums.

    Args:
        source: The samples.
        form: What they are decoded to.
        chosen: Which ones.
        ids: The names of all, for the findings.
        findings: Where problems go.
        keep: Whether the samples are kept.
        workers: Processes that decode.
        progress: Is told.
    """
    good = np.zeros(len(source), np.bool_)
    sums = np.zeros((2, len(source), form.channels))
    samples = np.zeros((len(source), *form.shape), form.levels) if keep else None
    done = 0
    for numbers, problems, chunk_sums, pixels in _in_parallel(_PixelChunks(source, form, chosen, keep=keep), workers):
        good[numbers] = True
        sums[:, numbers] = chunk_sums
        if samples is not None and len(numbers):
            samples[numbers] = pixels
        for number, reason in problems:
            findings.add(ids[number], reason)
        done += len(numbers) + len(problems)
        progress("decoding samples" if keep else "checking samples", done, len(chosen))
    return Pixels(good, sums, samples)


class _Chunks(Dataset[Any]):
    """A row of samples, some at a time."""

    def __init__(self, source: Source, chosen: Sequence[int], size: int) -> None:
        self.source, self.chosen, self.size = source, chosen, size

    def __len__(self) -> int:
        return -(-len(self.chosen) // self.size)

    def numbers(self, chunk: int) -> Sequence[int]:
        """The samples of a chunk."""
        return self.chosen[chunk * self.size : (chunk + 1) * self.size]


class _HeaderChunks(_Chunks):
    """Headers, or the reasons why there are none."""

    def __getitem__(self, chunk: int) -> list[Header | str]:
        found: list[Header | str] = []
        known: dict[Header, Header] = {}  # equal ones travel between processes once
        for number in self.numbers(chunk):
            try:
                header = self.source.header(number)
                found.append(known.setdefault(header, header))
            except SampleError as error:
                found.append(str(error))
        return found


class _PixelChunks(_Chunks):
    """Decoded samples: the numbers, sums and pixels of the good ones, and what is wrong with the others."""

    def __init__(self, source: Source, form: Form, chosen: Sequence[int], *, keep: bool) -> None:
        # No more than some MiB a chunk, however large the samples.
        super().__init__(source, chosen, max(1, min(_CHUNK, _CHUNK_BYTES // form.bytes_per_sample)))
        self.form, self.keep = form, keep

    def __getitem__(
        self, chunk: int
    ) -> tuple[list[int], list[tuple[int, str]], NDArray[np.float64], torch.Tensor | None]:
        numbers: list[int] = []
        problems: list[tuple[int, str]] = []
        pixels: list[NDArray[Any]] = []
        for number in self.numbers(chunk):
            try:
                sample = self.source.read(number, self.form)
            except SampleError as error:
                problems.append((number, str(error)))
                continue
            numbers.append(number)
            pixels.append(sample)
        together = np.stack(pixels) if pixels else np.zeros((0, *self.form.shape), self.form.levels)
        # A tensor, which travels between processes without being copied.
        return numbers, problems, _sums(together), torch.from_numpy(together) if self.keep else None


def _sums(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Sum and sum of squares over the positions, shape (2, samples, channels); exact for bytes."""
    wide = samples.reshape(*samples.shape[:2], -1).astype(np.float64)
    return np.stack([wide.sum(2), np.einsum("scp,scp->sc", wide, wide)])


def _in_parallel(chunks: _Chunks, workers: int | None) -> Iterator[Any]:
    wanted = cores() if workers is None else workers
    number = min(wanted, len(chunks)) if len(chunks) >= _FEWEST_CHUNKS else 0
    return iter(DataLoader(chunks, batch_size=None, **worker_options(number)))
