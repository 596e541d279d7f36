"""How well samples, or pixels, are classified: the errors that a search can make small, and scores of a whole test set.

Everything is computed in double precision on CPU copies, since not every device has that, and from the outputs of a
whole split at once, since most of it is no mean over samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from equimorph.data.targets import IGNORED
from equimorph.errors import ConfigurationError, ShapeError

Metric = Callable[[Tensor, Tensor], Tensor]
"""From all outputs and all targets of a split to what is to be small, a scalar (float64)."""


def error_rate(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of samples whose largest output is not the target's.

        e = 1/n * sum over i of [argmax_c o_ic != y_i]

    Args:
        outputs: o, shape (n, classes), any floating dtype and device.
        targets: y, shape (n,), whole numbers from 0 to classes - 1.
    Returns:
        e, float64, on the CPU.
    Raises:
        ShapeError: The shapes do not fit, or a target has no output.
    Example:
        >>> error_rate(torch.tensor([[2., 1.], [0., 3.], [5., 4.], [1., 0.]]), torch.tensor([0, 1, 0, 1])).item()
        0.25
    """
    outputs, targets = _checked(outputs, targets)
    return (outputs.argmax(1) != targets).double().mean()


def balanced_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """One minus the mean recall of the classes that occur, so that a rare class counts as much as a frequent one.

        e = 1 - mean over c with n_c > 0 of  1/n_c * sum over i with y_i = c of [argmax o_i = c]

    Args:
        outputs: o, shape (n, classes), any floating dtype and device.
        targets: y, shape (n,), whole numbers from 0 to classes - 1.
    Returns:
        e, float64, on the CPU.
    Raises:
        ShapeError: The shapes do not fit, or a target has no output.
    Example:
        >>> balanced_error(torch.tensor([[2., 1.], [3., 0.], [5., 4.], [1., 0.]]), torch.tensor([0, 0, 0, 1])).item()
        0.5

    Source: Brodersen et al. (2010), for two classes.
    """
    outputs, targets = _checked(outputs, targets)
    confusion = _count_confusion(outputs, targets)
    support = confusion.sum(1)
    occurs = support > 0
    return 1 - (confusion.diagonal()[occurs].double() / support[occurs]).mean()


def auroc_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """One minus the area under the ROC curve, each class against the rest, as the mean over classes.

        e = 1 - mean over c of  P(p_jc < p_ic) + P(p_jc = p_ic) / 2,   y_i = c, y_j != c,   p = softmax(o)

    A class that does not occur, or that all samples belong to, has no curve and is left out.

    Args:
        outputs: o, shape (n, classes), any floating dtype and device.
        targets: y, shape (n,), whole numbers from 0 to classes - 1.
    Returns:
        e, float64, on the CPU; NaN where the probabilities are no finite numbers, as in a training that diverged.
    Raises:
        ConfigurationError: Fewer than two classes occur, so that no class has a curve.
        ShapeError: The shapes do not fit, or a target has no output.
    Example:
        >>> auroc_error(torch.tensor([[2., 0.], [1., 0.], [3., 0.], [0., 0.]]), torch.tensor([0, 0, 1, 1])).item()
        0.5

    Source: Hanley and McNeil (1982) for the formula; Provost and Domingos (2000) for the mean, here without weights.
    """
    outputs, targets = _checked(outputs, targets)
    areas = [area for area in _areas(outputs, targets) if area is not None]
    if not areas:
        raise ConfigurationError(
            "training: an AUROC needs samples of at least two classes in a split, and here is "
            f'{"one" if len(targets) else "none"}; divide the data in another way, or try the metric "error".'
        )
    return 1 - torch.tensor(areas, dtype=torch.float64).mean()


def pixel_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of pixels whose largest output is not the target's, over all samples that have a class there.

        e = 1/n * sum over samples i and pixels p with a class of [argmax_c o_icp != y_ip]

    Args:
        outputs: o, shape (samples, classes, *spatial), any floating dtype and device.
        targets: y, shape (samples, *spatial), whole numbers from 0 to classes - 1, or `IGNORED` for no class.
    Returns:
        e, float64, on the CPU; 0 where no pixel has a class.
    Raises:
        ShapeError: The shapes do not fit, or a target has no output.
    Example:
        >>> outputs = torch.tensor([[[[2., 0., 1.]], [[1., 3., 0.]]]])  # one image of one row, two classes
        >>> pixel_error(outputs, torch.tensor([[[0, 0, IGNORED]]])).item()
        0.5
    """
    if outputs.ndim < 2 or targets.shape != (len(outputs), *outputs.shape[2:]):
        raise ShapeError(
            "metric: needed outputs (samples, classes, *spatial) and targets (samples, *spatial), "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}; hand in a metric of your own for other outputs."
        )
    has_class = targets != IGNORED
    known = targets[has_class]
    if known.numel() and not 0 <= int(known.min()) <= int(known.max()) < outputs.shape[1]:
        told = f"{int(known.min())} to {int(known.max())}"
        raise ShapeError(f"metric: needed targets from 0 to {outputs.shape[1] - 1}, got {told}.")
    num_wrong = int(((outputs.argmax(1) != targets) & has_class).sum())  # no copy in double precision: maps are large
    return torch.tensor(num_wrong / max(known.numel(), 1), dtype=torch.float64)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {"error": error_rate, "balanced-error": balanced_error, "auroc-error": auroc_error, "pixel-error": pixel_error}
)
"""The metrics that have a name."""


def metric_named(name: str) -> Metric:
    """The metric of that name.

    Raises:
        ConfigurationError: There is none.
    Example:
        >>> metric_named("balanced-error") is balanced_error
        True
    """
    if name not in METRICS:
        raise ConfigurationError(f'training: metric is "{name}"; it is one of {", ".join(METRICS)}.')
    return METRICS[name]


def class_weights(labels: Tensor, num_classes: int) -> Tensor:
    """What a sample of each class is to weigh in a loss, or in drawing samples, for all classes to weigh the same.

        w_c = n / (k * n_c),   n_c of n samples in class c, k the number of classes with n_c > 0

    Args:
        labels: Shape (n,), whole numbers from 0 to num_classes - 1, at least one.
        num_classes: How many classes there are, with or without samples.
    Returns:
        w, shape (num_classes,), float64, on the CPU; its mean over the samples is 1, and a class without any has 0.
    Raises:
        ShapeError: There is no label, or one that is no class.
    Example:
        >>> class_weights(torch.tensor([0, 0, 0, 2]), 3).tolist()
        [0.6666666666666666, 0.0, 2.0]

    Source: King and Zeng (2001).
    """
    labels = labels.detach().cpu().long()
    if labels.ndim != 1 or not len(labels) or not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ShapeError(f"class weights: needed labels (samples,) from 0 to {num_classes - 1}, got {_tell(labels)}.")
    counts = torch.bincount(labels, minlength=num_classes).double()
    weights = len(labels) / (int((counts > 0).sum()) * counts)
    return torch.where(counts > 0, weights, 0.0)


@dataclass(frozen=True)
class Scores:
    """How well a test set was classified, class by class; all lists are in the order of `classes`.

    Attributes:
        accuracy: The share of samples whose largest output is the target's.
        balanced_accuracy: The mean recall of the classes that occur.
        classes: The names of the classes.
        support: How many samples belong to each class.
        recall: The share of them that was found; None for a class without samples.
        precision: Of the samples that were taken for a class, the share that belongs to it; None where there are none.
        auroc: The area under the ROC curve of each class against the rest; None for a class without samples or with
            all of them, and for outputs that are no finite numbers.
        confusion: How many samples of class [i] were taken for class [j].
    """

    accuracy: float
    balanced_accuracy: float
    classes: tuple[str, ...]
    support: tuple[int, ...]
    recall: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    auroc: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def mean_auroc(self) -> float | None:
        """The mean over the classes that have an AUROC; None where none has."""
        known = [area for area in self.auroc if area is not None]
        return sum(known) / len(known) if known else None

    def record(self) -> dict[str, Any]:
        """All of it as JSON takes it."""
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "classes": list(self.classes),
            "support": list(self.support),
            "recall": list(self.recall),
            "precision": list(self.precision),
            "auroc": list(self.auroc),
            "confusion": [list(row) for row in self.confusion],
        }


def scores(outputs: Tensor, targets: Tensor, classes: Sequence[str]) -> Scores:
    """The scores of all outputs of a split.

    Args:
        outputs: Shape (n, classes), any floating dtype and device, n at least 1; they need not be finite.
        targets: Shape (n,), whole numbers from 0 to classes - 1.
        classes: The name of each class, one for each output.
    Raises:
        ShapeError: The shapes do not fit, a target has no output, or there are no samples.
    Example:
        >>> found = scores(torch.tensor([[2., 1.], [0., 3.], [5., 4.], [1., 0.]]), torch.tensor([0, 1, 0, 1]), "ab")
        >>> found.accuracy, found.recall, found.confusion
        (0.75, (1.0, 0.5), ((2, 0), (1, 1)))
    """
    outputs, targets = _checked(outputs, targets)
    if not len(targets) or outputs.shape[1] != len(classes):
        raise ShapeError(f"scores: needed outputs (at least 1, {len(classes)}), got {tuple(outputs.shape)}.")
    confusion = _count_confusion(outputs, targets)
    right, support, taken = (counts.tolist() for counts in (confusion.diagonal(), confusion.sum(1), confusion.sum(0)))
    recall = [_ratio(*counts) for counts in zip(right, support, strict=True)]
    found = [share for share in recall if share is not None]
    return Scores(
        accuracy=sum(right) / len(targets),
        balanced_accuracy=sum(found) / len(found),
        classes=tuple(classes),
        support=tuple(support),
        recall=tuple(recall),
        precision=tuple(_ratio(*counts) for counts in zip(right, taken, strict=True)),
        auroc=tuple(None if area is None or math.isnan(area) else area for area in _areas(outputs, targets)),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def _checked(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Copies in double precision on the CPU."""
    outputs, targets = outputs.detach().cpu(), targets.detach().cpu()
    if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
        raise ShapeError(
            "metric: needed outputs (samples, classes) and targets (samples,), "
            f"got {tuple(outputs.shape)} and {tuple(targets.shape)}; for the class of each pixel take pixel-error."
        )
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < outputs.shape[1]:
        raise ShapeError(f"metric: needed targets from 0 to {outputs.shape[1] - 1}, got {_tell(targets)}.")
    return outputs.double(), targets.long()


def _tell(labels: Tensor) -> str:
    if not len(labels) or labels.ndim != 1:
        return f"shape {tuple(labels.shape)}"
    return f"{int(labels.min())} to {int(labels.max())}"


def _count_confusion(outputs: Tensor, targets: Tensor) -> Tensor:
    """Counts, shape (classes, classes): true, then predicted."""
    num_classes = outputs.shape[1]
    pairs = targets * num_classes + outputs.argmax(1)
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _areas(outputs: Tensor, targets: Tensor) -> list[float | None]:
    """The AUROC of each class: None where it has no curve, NaN where the probabilities are no finite numbers."""
    probabilities = outputs.softmax(1)
    is_finite = bool(probabilities.isfinite().all())
    areas: list[float | None] = []
    for own, probability in enumerate(probabilities.T):
        is_own = targets == own
        num_own = int(is_own.sum())
        if num_own in (0, len(targets)):
            areas.append(None)
        elif not is_finite:
            areas.append(math.nan)
        else:
            # Ranks from 1, equal values sharing the mean of theirs: Mann and Whitney's U, over all pairs.
            _, place, counts = probability.unique(return_inverse=True, return_counts=True)
            ranks = counts.cumsum(0) - (counts - 1) / 2
            above = float(ranks.double()[place][is_own].sum()) - num_own * (num_own + 1) / 2
            areas.append(above / (num_own * (len(targets) - num_own)))
    return areas


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
