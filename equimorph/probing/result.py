"""What a probe found."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from equimorph.groups import Subgroup
from equimorph.probing.paired import Comparison


@dataclass(frozen=True)
class ProbedSubgroup:
    """A subgroup H of G beside the best one.

    Attributes:
        subgroup: H.
        loss: The mean squared residual of left-out samples under invariance to H.
        error: The share of left-out samples whose class is wrong; None where targets are no classes.
        against_best: The difference of losses to the best subgroup's, on the same samples.
        strength: The ridge strength of least loss.
        left: Whether it may be as good as the best, as far as can be told.
        by_class: The same difference over the samples of each class; empty where targets are no classes.
    """

    subgroup: Subgroup
    loss: float
    error: float | None
    against_best: Comparison
    strength: float
    left: bool
    by_class: Mapping[str, Comparison]

    @property
    def name(self) -> str:
        """Of H."""
        return self.subgroup.name

    @property
    def z(self) -> float:
        """By how many standard errors it is worse than the best."""
        return self.against_best.z


@dataclass(frozen=True)
class ProbedElement:
    """An element g of G.

    Attributes:
        element: Its index in G.
        kept: Whether g is in the best subgroup.
        changes: The classes whose labels the group that g generates with the best one breaks, by more than the limit.
        told_apart: How often the fit tells a moved image from the image itself, from 0.5 (it cannot) to 1.
        visible: Whether that is more often than by chance.
    """

    element: int
    kept: bool
    changes: tuple[str, ...]
    told_apart: float
    visible: bool


@dataclass(frozen=True)
class Probe:
    """Which invariance the labels of a data set have.

    Attributes:
        data: The name of the data set.
        subgroups: All that were compared, smallest first.
        elements: All of G but the identity.
        num_samples, num_train: Samples used, of how many.
        side: Pixels to which samples were reduced; None where they were not.
        limit: The z from which a subgroup is ruled out.
        guess: The loss of guessing, by the mean of the targets alone.
        reads: Whether the features tell anything about the targets; nothing can be said of any group where they do not.
        seconds: That it took.
    """

    data: str
    subgroups: tuple[ProbedSubgroup, ...]
    elements: tuple[ProbedElement, ...]
    num_samples: int
    num_train: int
    side: int | None
    limit: float
    guess: float
    reads: bool
    seconds: float

    @property
    def best(self) -> Subgroup | None:
        """The subgroup of least loss; None where the features read nothing."""
        return min(self.subgroups, key=lambda one: one.loss).subgroup if self.reads else None

    @property
    def left(self) -> tuple[Subgroup, ...]:
        """The subgroups that are not ruled out, smallest first; none where the features read nothing."""
        return tuple(one.subgroup for one in self.subgroups if one.left) if self.reads else ()

    def __getitem__(self, name: str) -> ProbedSubgroup:
        wanted = self.subgroups[0].subgroup.group.subgroup(name)
        return next(one for one in self.subgroups if one.subgroup == wanted)

    @property
    def verdict(self) -> str:
        """In a sentence or two."""
        if self.best is None:
            return "These features tell nothing about the targets, so nothing can be said about any symmetry."
        others = [one for one in self.subgroups if one.left and one.subgroup != self.best]
        said = f"{self.best.name} fits best"
        ruled_out = [one for one in self.subgroups if not one.left]
        if others:
            said += f"; {_listed([one.name for one in others])} cannot be told from it"
        if ruled_out:
            nearest = min(ruled_out, key=lambda one: one.z)
            said += f"; all others are ruled out, {nearest.name} by {nearest.z:.1f} standard errors"
        return said + "."

    def rows(self) -> list[tuple[str, ...]]:
        """The table: subgroup, loss, error, z, verdict, the classes that it breaks most."""
        found: list[tuple[str, ...]] = []
        for one in self.subgroups:
            worst = sorted(one.by_class, key=lambda name: -one.by_class[name].z)
            broken = [name for name in worst if one.by_class[name].z >= self.limit and not one.left][:3]
            state = "cannot tell" if not self.reads else "left" if one.left else "ruled out"
            state = "best" if one.subgroup == self.best else state
            error = "" if one.error is None else f"{100 * one.error:.1f} %"
            found.append((one.name, f"{one.loss:.4f}", error, f"{one.z:.1f}", state, ", ".join(broken)))
        return found

    def __str__(self) -> str:
        head = ("subgroup", "loss", "error", "z", "verdict", "breaks")
        rows = [head, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        of = "" if self.num_samples == self.num_train else f" of {self.num_train:,}"
        reduced = "" if self.side is None else f", reduced to {self.side} pixels"
        told = f"{self.data}: {self.num_samples:,}{of} samples{reduced}, {self.seconds:.0f} s"
        return "\n".join([self.verdict, told, *lines])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{cell}</th>" for cell in ("subgroup", "loss", "error", "z", "verdict", "breaks"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<p>{html.escape(self.verdict)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
