"""Image files for a trained network: found, decoded and standardised as the training samples were."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from equimorph.data.decoding import SUFFIXES, FileSource
from equimorph.data.problems import Findings, SampleError
from equimorph.data.sources import ChannelAxis, Form
from equimorph.data.stream import cores, worker_options
from equimorph.errors import ConfigurationError, DataError

Batch = tuple[list[int], list[tuple[int, str]], Tensor]
"""Which files were read, what is wrong with others, and the raw samples."""

_FEWEST_BATCHES = 3  # below, starting workers takes longer than the work
_BATCH_SIZE = 64
_NEEDED = ("channels", "sides", "mean", "std")


def find_images(given: Sequence[str | Path], *, speaker: str = "predict") -> list[Path]:
    """The files that are meant: files themselves, all samples below folders, and what patterns such as `*.png` match.

    Raises:
        DataError: Nothing was given, or a folder or pattern holds no samples.
    """
    found: list[Path] = []
    for name in given:
        path = Path(name).expanduser()
        if path.is_dir():
            inside = [file for file in sorted(path.rglob("*")) if _is_sample(file.relative_to(path)) and file.is_file()]
            if not inside:
                raise DataError(
                    f"{speaker}: there are no images in {path}; samples are files named {', '.join(sorted(SUFFIXES))}."
                )
            found += inside
        elif not path.exists() and any(sign in str(path) for sign in "*?["):
            matched = [file for file in _matching(path) if file.is_file()]
            if not matched:
                raise DataError(f"{speaker}: no images found: nothing matches {path}.")
            found += matched
        else:
            found.append(path)
    if not found:
        raise DataError(f"{speaker}: no images found; name files, folders or patterns.")
    return list(dict.fromkeys(found))


def read_images(
    images: Sequence[str | Path],
    preprocessing: Mapping[str, Any],
    *,
    channel_axis: ChannelAxis = "auto",
    dtype: torch.dtype = torch.float32,
    speaker: str = "predict",
) -> Tensor:
    """Files as a network takes them, shape (files, channels, *sides), standardised.

    Raises:
        DataProblemsError: Files cannot be used; names all of them, with the reasons.
        ConfigurationError: Something is missing in `preprocessing`.
    """
    form, files, findings = form_of(preprocessing), [str(path) for path in images], Findings()
    parts = [torch.zeros(0, *form.shape)]
    for _, problems, raw in batches(files, form, channel_axis, size=_BATCH_SIZE, workers=0):
        for number, reason in problems:
            findings.add(files[number], reason)
        parts.append(raw)
    findings.raise_if_any(speaker, "mend these files, or leave them out:")
    return standardized(torch.cat(parts), preprocessing, dtype)


def standardized(raw: Tensor, preprocessing: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> Tensor:
    """(x - mean) / std per channel, for raw samples (batch, channels, *spatial), as `ImageData.standardize`."""
    shape = (1, -1, *([1] * (raw.ndim - 2)))
    mean, std = (
        torch.tensor(preprocessing[key], dtype=dtype, device=raw.device).view(shape) for key in ("mean", "std")
    )
    return (raw.to(dtype) - mean) / std


def form_of(preprocessing: Mapping[str, Any]) -> Form:
    """What samples are decoded to: floating-point numbers, which hold bytes as they are."""
    missing = [key for key in _NEEDED if key not in preprocessing]
    if missing:
        raise ConfigurationError(f"predict: preprocessing has no {' and no '.join(missing)}.")
    channels = preprocessing["channels"]
    if len(preprocessing["mean"]) != channels or len(preprocessing["std"]) != channels:
        raise ConfigurationError(f"predict: mean and std need {channels} numbers, one a channel.")
    return Form(channels, tuple(preprocessing["sides"]), "float32", preprocessing.get("fit") or "crop")


def tell_problems(findings: Findings, total: int, *, skip_bad: bool) -> None:
    """Raise what is wrong with files, or warn of those that were left out."""
    number = sum(len(places) for places in findings.problems.values())
    if not skip_bad or number == total:
        all_bad = skip_bad and "none of these files can be used:"
        findings.raise_if_any(
            "predict", all_bad or "mend these files, or leave them out with --skip-bad (skip_bad=True):"
        )
    elif number:
        told = "; ".join(f"{reason}: {', '.join(places[:3])}" for reason, places in findings.problems.items())
        warnings.warn(f"predict: left out {number:,} of {total:,} files: {told}", stacklevel=3)


def _is_sample(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _matching(pattern: Path) -> list[Path]:
    """The paths that match, without hidden ones unless they are asked for, as a shell has it."""
    root = Path(pattern.anchor)
    found = root.glob(str(pattern.relative_to(root)) if pattern.anchor else str(pattern))
    return sorted(path for path in found if not path.name.startswith(".") or pattern.name.startswith("."))


def batches(files: Sequence[str], form: Form, axis: ChannelAxis, size: int, workers: int | None) -> Iterator[Batch]:
    """The samples in their form, or the reasons why there are none, some files at a time, in order.

    Args:
        files: Their paths.
        form: What they are decoded to.
        axis: Which axis of an array counts channels.
        size: Of a batch.
        workers: Processes that decode; as many as there are cores when None, none beside this one when 0.
    Raises:
        ConfigurationError: The size is not positive, or the number of workers negative.
    """
    if size < 1:
        raise ConfigurationError(f"predict: --batch-size is {size}; it must be at least one.")
    if workers is not None and workers < 0:
        raise ConfigurationError(f"predict: --workers is {workers}; it must not be negative.")
    decoded = _Decoded(FileSource(list(files), len(form.sides), axis), form, size)
    wanted = cores() if workers is None else workers
    number = min(wanted, len(decoded)) if len(decoded) >= _FEWEST_BATCHES else 0
    return iter(DataLoader(decoded, batch_size=None, **worker_options(number)))


class _Decoded(Dataset[Batch]):
    """Files in batches, for workers to decode."""

    def __init__(self, source: FileSource, form: Form, size: int) -> None:
        self.source, self.form, self.size = source, form, size

    def __len__(self) -> int:
        return -(-len(self.source) // self.size)

    def __getitem__(self, batch: int) -> Batch:
        good: list[int] = []
        problems: list[tuple[int, str]] = []
        pixels: list[NDArray[Any]] = []
        for number in range(batch * self.size, min((batch + 1) * self.size, len(self.source))):
            try:
                pixels.append(self._sample(number))
                good.append(number)
            except SampleError as error:
                problems.append((number, str(error)))
        together = np.stack(pixels) if pixels else np.zeros((0, *self.form.shape), self.form.levels)
        return good, problems, torch.from_numpy(together)

    def _sample(self, number: int) -> NDArray[Any]:
        header, wanted = self.source.header(number), self.form.channels
        if header.is_image and wanted not in (1, 3):
            raise SampleError(f"it is an image, and the network takes {wanted} channels, as .npy files")
        if not header.is_image and header.channels != wanted:
            had = "1 channel" if header.channels == 1 else f"{header.channels} channels"
            raise SampleError(f"it has {had}, and the network takes {wanted}")
        return self.source.read(number, self.form)
