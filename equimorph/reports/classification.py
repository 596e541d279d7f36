"""The section on the test set: the confusion matrix, what is confused with what, and what each class scored."""

from __future__ import annotations

from html import escape

from equimorph.reports.classes import worst_confusion
from equimorph.reports.measures import tell_area
from equimorph.reports.shell import ShownFigure, make_details, make_section, make_table
from equimorph.training.metrics import Scores

HEADING = "On the test set"


def show_classification(scores: Scores) -> ShownFigure | None:
    """The confusion matrix with its caption, and the table of the classes below; None for too many classes to draw."""
    from equimorph.reports import confusion_figure

    if len(scores.classes) > confusion_figure.MOST_DRAWN:
        return None
    figure = confusion_figure.draw_confusion(scores)
    return ShownFigure(HEADING, escape(explain_confusion(scores)), figure, make_class_table(scores))


def make_classification(scores: Scores, *, is_drawn: bool) -> str:
    """What stands apart from the figure: the counts as a table; where nothing is drawn, the table of the classes."""
    if is_drawn:
        return make_details("The confusion matrix as a table", _make_confusion_table(scores))
    return make_section("classes", HEADING, f"<p>{escape(_tell_worst(scores))}</p>\n{make_class_table(scores)}")


def explain_confusion(scores: Scores) -> str:
    """How to read the matrix, and the mistake that was made most often.

    Example:
        >>> found = Scores(0.9, 0.9, ("a", "b"), (8, 2), (1.0, 0.5), (0.9, 1.0), (1.0, 1.0), ((8, 0), (1, 1)))
        >>> explain_confusion(found).partition("row. ")[2]
        'The most frequent mistake: 1 of the 2 samples of “b” was taken for “a”.'
    """
    reading = "A row for each class and a column for what the network took it for; what lies on the diagonal is right"
    return f"{reading}, and darker is a larger share of the row. {_tell_worst(scores)}"


def make_class_table(scores: Scores) -> str:
    """Samples, recall, precision and AUROC of each class."""
    means = f"Mean over the classes: recall {100 * scores.balanced_accuracy:.2f} %"
    if scores.mean_auroc is not None:
        means += f", AUROC {tell_area(scores.mean_auroc)}"
    rows = zip(scores.classes, scores.support, scores.recall, scores.precision, scores.auroc, strict=True)
    return make_table(
        ["class", "samples", "recall", "precision", "AUROC"],
        [
            [escape(name), f"{support:,}", _tell_share(recall), _tell_share(precision), tell_area(area)]
            for name, support, recall, precision, area in rows
        ],
        caption="Recall: the share of a class that was found. Precision: of what was taken for a class, the share that "
        "belongs to it. AUROC: how well the class is told from the rest, 1 always and 0.5 by chance. "
        f"{means}.",
        numeric={"samples", "recall", "precision", "AUROC"},
    )


def _make_confusion_table(scores: Scores) -> str:
    names = [escape(name) for name in scores.classes]
    head = ["true class", *(f"as {name}" for name in names)]
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(names, scores.confusion, strict=True)]
    caption = "How many samples of the class of each row were taken for the class of each column."
    return make_table(head, rows, caption=caption, numeric=set(head[1:]))


def _tell_worst(scores: Scores) -> str:
    worst = worst_confusion(scores)
    if worst is None:
        return "There was no mistake."
    true, predicted = scores.classes[worst.true], scores.classes[worst.predicted]
    support, verb = scores.support[worst.true], "was" if worst.num_samples == 1 else "were"
    taken = f"{worst.num_samples:,} of the {support:,} samples" if support > 1 else "the only sample"
    return f"The most frequent mistake: {taken} of “{true}” {verb} taken for “{predicted}”."


def _tell_share(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
