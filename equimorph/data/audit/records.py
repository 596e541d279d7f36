"""What an audit of labels found: numbers alone, one record for each subgroup and each pair of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from equimorph.groups import Group

Verdict = Literal["trivial", "ruled out", "possible", "unseen"]


@dataclass(frozen=True)
class ContradictingPair:
    """Two samples of different labels, of which one, moved, nearly is the other.

    Attributes:
        first, second: Rows of the training split.
        element: The index in G of the h that takes `second` to `first`, nearly.
        first_label, second_label: Names of their classes.
        distance: Of the described samples, `describe` in `coincidence`.
    """

    first: int
    second: int
    element: int
    first_label: str
    second_label: str
    distance: float


@dataclass(frozen=True)
class SubgroupEvidence:
    """What speaks against labels that are invariant under H.

    Attributes:
        name, order: Of H.
        bound: No H-invariant classifier errs less, up to the bias of a plug-in estimate, from 0 to 1.
        standard_error: Of `bound`.
        coverage: The share of samples that have another one in their near-orbit; of the rest, nothing is known.
        seen: Samples whose nearest other one through a move of H (not the identity) is within the radius.
        contradicting: Those of them whose neighbour has another label.
        expected: How many would, if moves did not matter: as many as among neighbours as near without a move.
        score: (contradicting - expected) in standard errors.
        verdict: "trivial": H is C1. "ruled out": beyond chance, of H or a subgroup. "unseen": the moves that were seen
            do not generate H. "possible": seen, and not contradicted.
        ruled_out_by: The least subgroups of H that are contradicted beyond chance; H itself may be one.
    """

    name: str
    order: int
    bound: float
    standard_error: float
    coverage: float
    seen: int
    contradicting: int
    expected: float
    score: float
    verdict: Verdict
    ruled_out_by: tuple[str, ...]


@dataclass(frozen=True)
class LabelAudit:
    """What symmetry the labels of a training split can have.

    Attributes:
        data: The name of the data set.
        group: G.
        num_samples: How many samples were compared with each other.
        num_train: Out of how many.
        tolerance: The share of wrong labels among near samples that set `radius`.
        radius: Samples no farther from each other are called near; 0 where none are.
        neighbour_error: The share of samples whose nearest other one has another label, without any move.
        evidence: For C1 and each audited subgroup, smallest first.
        pairs: The most convincing contradicting pairs, a few for each element, nearest first.
        suggested: [G], names for `--subgroups`: C1, G, and those offered that are not ruled out.
    """

    data: str
    group: Group
    num_samples: int
    num_train: int
    tolerance: float
    radius: float
    neighbour_error: float
    evidence: tuple[SubgroupEvidence, ...]
    pairs: tuple[ContradictingPair, ...]
    suggested: tuple[str, ...]

    @property
    def base(self) -> SubgroupEvidence:
        """The evidence of C1: how wrong any classifier is, where samples coincide without a move."""
        return self.evidence[0]

    def of(self, name: str) -> SubgroupEvidence:
        """The evidence about the subgroup of that full name."""
        return next(member for member in self.evidence if member.name == name)

    def excess(self, name: str) -> float:
        """The bound of a subgroup over that of C1: what its moves add."""
        return max(0.0, self.of(name).bound - self.base.bound)

    def named(self, verdict: Verdict) -> tuple[str, ...]:
        """The subgroups of which this was found, smallest first."""
        return tuple(member.name for member in self.evidence if member.verdict == verdict)
