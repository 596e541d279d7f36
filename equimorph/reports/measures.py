"""What an error is in a run, in words, and the accuracy beside it."""

from __future__ import annotations

from equimorph.reports.records import ERROR_RATE
from equimorph.training.metrics import Scores

_NAMES = {"balanced-error": "1 − balanced accuracy", "auroc-error": "1 − AUROC", "own": "by the run's own metric"}
_MEANINGS = {
    "balanced-error": "Errors here are 1 − balanced accuracy, the mean recall of the classes.",
    "auroc-error": "Errors here are 1 − AUROC, the area under the ROC curve of each class against the rest, as the "
    "mean over the classes.",
    "own": "Errors here are what the run's own metric gave, times 100 wherever they are told in %.",
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
