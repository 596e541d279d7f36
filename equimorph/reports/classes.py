"""The test set class by class: its scores read from a run's result, and what is confused with what."""

from __future__ import annotations

from typing import NamedTuple

from equimorph.reports.fields import Fields
from equimorph.training.metrics import Scores


class Confusion(NamedTuple):
    """So many of the samples of one class were taken for another; classes are told by their position."""

    true: int
    predicted: int
    num_samples: int


def read_scores(fields: Fields) -> Scores:
    """The scores that a result holds.

    Raises:
        RunFolderError: A field is missing or does not fit the others.
    """
    classes = fields.texts("classes")
    found = Scores(
        accuracy=fields.real("accuracy"),
        balanced_accuracy=fields.real("balanced_accuracy"),
        classes=classes,
        support=fields.wholes("support"),
        recall=fields.reals_or_none("recall"),
        precision=fields.reals_or_none("precision"),
        auroc=fields.reals_or_none("auroc"),
        confusion=fields.table("confusion"),
    )
    if not classes:
        raise fields.mistake('"classes" is empty; it needs at least one')
    lists = {"support": found.support, "recall": found.recall, "precision": found.precision, "auroc": found.auroc}
    for name, values in {**lists, "confusion": found.confusion}.items():
        if len(values) != len(classes):
            raise fields.mistake(f'"{name}" has {len(values)} entries for {len(classes)} classes')
    for row, support, name in zip(found.confusion, found.support, classes, strict=True):
        if len(row) != len(classes):
            raise fields.mistake(f'"confusion" has {len(row)} counts for "{name}" and {len(classes)} classes')
        if min(row) < 0 or sum(row) != support:
            raise fields.mistake(f'the counts of "{name}" in "confusion" do not add up to its {support} in "support"')
    return found


def share_rows(scores: Scores) -> tuple[tuple[float | None, ...], ...]:
    """Of each true class, the share that was taken for each class; None for a class without samples.

    Example:
        >>> share_rows(Scores(0.75, 0.75, ("a", "b"), (4, 0), (0.75, None), (1.0, 0.0), (None, None), ((3, 1), (0, 0))))
        ((0.75, 0.25), (None, None))
    """
    return tuple(
        tuple(count / support if support else None for count in row)
        for row, support in zip(scores.confusion, scores.support, strict=True)
    )


def worst_confusion(scores: Scores) -> Confusion | None:
    """The mistake that was made most often; of equally frequent ones that with the larger share of its class.

    None where there is no mistake.
    """
    mistakes = [
        Confusion(true, predicted, count)
        for true, row in enumerate(scores.confusion)
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    return max(mistakes, key=lambda found: (found.num_samples, -scores.support[found.true]), default=None)
