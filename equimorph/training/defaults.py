"""What training makes small, and what candidates are chosen by, where nobody said otherwise."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from equimorph.data import ImageData
from equimorph.errors import ShapeError
from equimorph.training.metrics import METRICS, Metric, error_rate, pixel_error

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs and targets to the mean loss over the batch."""


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean squared difference.

        l = 1/n * sum over i of (o_i - y_i)^2

    Args:
        outputs: o, of the targets' shape; (samples, 1) for targets (samples,).
        targets: y, floating.
    Raises:
        ShapeError: The shapes differ; torch's own loss would stretch one to the other.
    Example:
        >>> import torch
        >>> squared_error(torch.tensor([[1.], [3.]]), torch.tensor([1., 1.])).item()
        2.0
    """
    if outputs.shape == (*targets.shape, 1) and targets.ndim == 1:
        outputs = outputs[:, 0]
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"training: outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}; the "
            "squared error needs one output for each number, so change the last layer, or hand in a loss."
        )
    return F.mse_loss(outputs, targets)


def default_loss(data: ImageData) -> Loss:
    """Cross-entropy for classes, of samples or of pixels; else the squared error."""
    return squared_error if data.train.y.is_floating_point() else F.cross_entropy


def default_metric(data: ImageData) -> Metric | None:
    """The share of samples, or of pixels, whose class is wrong; None, the loss itself, where there are no classes."""
    if data.train.y.is_floating_point():
        return None
    return error_rate if data.targets == "classes" else pixel_error


def name_of_metric(metric: Metric | None) -> str:
    """What a history calls a metric: by its name in `METRICS`, "loss" for None, "own" for any other.

    Example:
        >>> name_of_metric(error_rate), name_of_metric(None), name_of_metric(squared_error)
        ('error', 'loss', 'own')
    """
    if metric is None:
        return "loss"
    return next((name for name, known in METRICS.items() if known is metric), "own")
