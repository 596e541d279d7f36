"""What an error is in a run, in words, and the accuracy beside it."""

from __future__ import annotations

from equimorph.reports.records import ERROR_RATE
from equimorph.training.metrics import METRICS, Scores

_NAMES = {
    "balanced-error": "1 − balanced accuracy",
    "auroc-error": "1 − AUROC",
    "pixel-error": "share of pixels",
    "loss": "mean loss",
    "own": "by the run's own metric",
}
_MEANINGS = {
    "balanced-error": "Errors here are 1 − balanced accuracy, the mean recall of the classes.",
    "auroc-error": "Errors here are 1 − AUROC, the area under the ROC curve of each class against the rest, as the "
    "mean over the classes.",
    "pixel-error": "Errors here are shares of the pixels of all samples, those whose class is wrong.",
    "loss": "Errors here are the mean of the loss that the training made small.",
    "own": "Errors here are what the run's own metric gave.",
}


def describe_metric(metric: str) -> str:
    """What is meant by "error" on a page, in one sentence; empty where it is a share of samples.

    Example:
        >>> describe_metric("balanced-error")
        'Errors here are 1 − balanced accuracy, the mean recall of the classes.'
    """
    if metric == ERROR_RATE:
        return ""
    return _MEANINGS.get(metric, f'Errors here are those of the metric "{metric}".')


def name_metric(metric: str) -> str:
    """The same in a few signs.

    Example:
        >>> name_metric("auroc-error"), name_metric("error")
        ('1 − AUROC', '')
    """
    return "" if metric == ERROR_RATE else _NAMES.get(metric, f"by {metric}")


def is_share(metric: str) -> bool:
    """Whether errors are between 0 and 1, and told in percent."""
    return metric in METRICS


def shown(error: float | None, metric: str) -> float | None:
    """An error as figures show it: in percent, or as it is.

    Example:
        >>> shown(0.25, "error"), shown(0.25, "loss")
        (25.0, 0.25)
    """
    return 100 * error if error is not None and is_share(metric) else error


def tell_error(error: float | None, metric: str) -> str:
    """An error in percent to two digits, or as a plain number to four that count.

    Example:
        >>> tell_error(0.046, "error"), tell_error(0.0461234, "loss"), tell_error(None, "own")
        ('4.60 %', '0.04612', '–')
    """
    if error is None:
        return "–"
    return f"{100 * error:.2f} %" if is_share(metric) else f"{error:.4g}".replace("-", "−")


def name_axis(what: str, metric: str) -> str:
    """An error with its unit, or with the name of the metric where it has none.

    Example:
        >>> name_axis("validation error", "auroc-error"), name_axis("validation error", "loss")
        ('validation error (%)', 'validation error (mean loss)')
    """
    if is_share(metric):
        return f"{what} (%)"
    return f"{what} ({'own metric' if metric == 'own' else name_metric(metric)})"  # short, since axes are


def tell_accuracy(scores: Scores | None) -> str:
    """Accuracy and balanced accuracy, in percent; empty without scores."""
    if scores is None:
        return ""
    return f"accuracy {100 * scores.accuracy:.2f} %, balanced accuracy {100 * scores.balanced_accuracy:.2f} %"


def tell_area(area: float | None) -> str:
    """Three decimals, of which none round up to a perfect one.

    Example:
        >>> tell_area(0.98765), tell_area(0.99996), tell_area(1.0), tell_area(None)
        ('0.988', 'over 0.999', '1.000', '–')
    """
    if area is None:
        return "–"
    return "over 0.999" if 0.9995 <= area < 1 else f"{area:.3f}"
