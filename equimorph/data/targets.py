"""What a network is to tell of a sample: its class, values, or maps; how they are checked, divided, made smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from equimorph.data.resizing import area_averaged
from equimorph.errors import ConfigurationError, DataError, ShapeError

Targets = Literal["classes", "values", "maps"]
IGNORED = -100  # the class of a pixel that has none, as in torch's cross-entropy


def kind_of(y: Tensor, dim: int) -> Targets:
    """Which kind of targets these are, by their dtype and shape.

        classes   (samples,)              whole      the class of each sample
        values    (samples,)              floating   one number of each sample, as in regression
        values    (samples, k)            floating   k numbers of each, or k labels as 0 and 1
        maps      (samples, *spatial)     whole      the class of each pixel, or `IGNORED`
        maps      (samples, k, *spatial)  floating   k numbers at each pixel

    Args:
        y: The targets.
        dim: The number of spatial axes of the samples.
    Raises:
        DataError: They are truth values or complex numbers.
        ShapeError: Their shape is none of these.
    Example:
        >>> kind_of(torch.tensor([0, 2, 1]), 2), kind_of(torch.zeros(3, 4), 2), kind_of(torch.zeros(3, 1, 8, 8), 2)
        ('classes', 'values', 'maps')
    """
    if y.dtype == torch.bool or y.is_complex():
        raise DataError(
            f"Split: targets of dtype {y.dtype}; give whole numbers for classes, and floating ones, 0 and 1 for labels "
            "that may be there or not, for all else (y.float())."
        )
    is_floating = y.is_floating_point()
    if y.ndim == 1:
        return "values" if is_floating else "classes"
    if y.ndim == 2 and is_floating:
        return "values"
    if y.ndim == dim + (2 if is_floating else 1):
        return "maps"
    maps = "(samples, k, *spatial)" if is_floating else "(samples, *spatial)"
    others = "(samples,), (samples, k)" if is_floating else "(samples,)"
    raise ShapeError(
        f"Split: targets of shape {tuple(y.shape)} and dtype {y.dtype} for samples with {dim} spatial axes; needed "
        f"{others} or {maps}{'' if is_floating else ', or floating ones for anything that is no class'}."
    )


def check_targets(parts: Sequence[Tensor], kinds: Sequence[Targets], classes: Sequence[str]) -> None:
    """Check that the targets of all splits are of one kind, and that the names fit them.

    Raises:
        DataError: The kinds or their numbers of values differ, there are too few or too many names, or a label is no
            class.
    """
    if len(set(kinds)) > 1 or len({(y.is_floating_point(), *_numbers_of(y)) for y in parts}) > 1:
        told = ", ".join(f"{kind} of shape {tuple(y.shape)}" for kind, y in zip(kinds, parts, strict=True))
        raise DataError(
            f"ImageData: targets differ between training, validation and test ({told}); needed the same kind, with as "
            "many numbers for each sample."
        )
    if parts[0].is_floating_point():
        count = parts[0].shape[1] if parts[0].ndim > 1 else 1
        if classes and len(classes) != count:
            raise DataError(
                f"ImageData: {len(classes)} names in classes and {count} numbers to be told of a sample; "
                "give one name for each, or none."
            )
        return
    for y in parts:
        labels = y.long()  # bytes would take IGNORED for one of them
        is_class = (labels >= 0) & (labels < len(classes)) | (labels == IGNORED) & (kinds[0] == "maps")
        if not is_class.all():
            raise DataError(
                f"ImageData: labels from {int(y.min())} to {int(y.max())} and {len(classes)} names in classes; whole "
                "numbers are class indices from 0 on, so name each class, or give floating targets for values."
            )


def strata(y: Tensor) -> Tensor:
    """By what samples are divided: their class; where targets are no classes all are alike, and draws are plain."""
    return y.long() if y.ndim == 1 and not y.is_floating_point() else torch.zeros(len(y), dtype=torch.int64)


def as_target(y: Tensor, dtype: torch.dtype) -> Tensor:
    """Targets as losses take them: int64, or the floating dtype of the outputs."""
    return y.to(dtype) if y.is_floating_point() else y.long()


def smaller_maps(y: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Maps made smaller with their samples: the mean over the pixels covered, of classes the one that covers most.

    Args:
        y: Shape (samples, *old) of whole numbers, or (samples, k, *old).
        old: The sides of the samples.
        new: Theirs after.
    Raises:
        ConfigurationError: The maps have other sides than the samples.
    Example:
        >>> smaller_maps(torch.tensor([[[0, 0, 2, 2], [0, 1, 2, 1]]]), (2, 4), (1, 2)).tolist()
        [[[0, 2]]]
    """
    sides = tuple(y.shape[-len(old) :])
    if sides != old:
        raise ConfigurationError(
            f"resized: maps of sides {sides} for samples of sides {old}; make both smaller before they are handed in."
        )
    if y.is_floating_point():
        return area_averaged(y, new)
    found = torch.zeros((len(y), *new), dtype=y.dtype)
    most = torch.zeros((len(y), *new), dtype=torch.float64)
    for label in y.unique().tolist():  # of two that cover as much the smaller number, however the map is turned
        share = area_averaged((y == label).double()[:, None], new)[:, 0]
        found, most = torch.where(share > most, label, found), torch.maximum(share, most)
    return found


def _numbers_of(y: Tensor) -> tuple[int, ...]:
    """How many numbers there are for a sample or a pixel of it."""
    return tuple(y.shape[1:2]) if y.is_floating_point() else ()
