"""The numbers of a run, finished or not, computed from its records before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from equimorph.errors import GroupError
from equimorph.groups import Subgroup, group
from equimorph.reports.mixtures import Shares, Trajectory, follow_mixture
from equimorph.reports.records import ERROR_RATE, Candidate, EpochPoint, MixturePoint, Records, Start, read_records
from equimorph.search.selection import undominated
from equimorph.training.metrics import Scores


@dataclass(frozen=True)
class Span:
    """Epochs during which one site of the best lineage had one constraint; `site` counts from 0 at the input."""

    site: int
    constraint: str
    first_epoch: float
    last_epoch: float


@dataclass(frozen=True)
class Numbers:
    """What a page tells about a run. Candidates are in the order of events; errors are what the run's
    metric gave, shares as fractions.

    A run that has no result yet is told as far as it got: its front and its best are those of the last generation
    that has any.

    Args:
        name: The folder's own name.
        records: What its files say.
    """

    name: str
    records: Records

    @property
    def start(self) -> Start:
        """What was asked for."""
        return self.records.start

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every candidate, diverged ones too."""
        return self.records.candidates

    @property
    def is_finished(self) -> bool:
        """Whether the run wrote its result."""
        return self.records.result is not None

    @cached_property
    def by_id(self) -> Mapping[int, Candidate]:
        """Candidates by their number."""
        return {candidate.id: candidate for candidate in self.candidates}

    @cached_property
    def trained(self) -> tuple[Candidate, ...]:
        """The candidates that did not diverge."""
        return tuple(candidate for candidate in self.candidates if not candidate.diverged)

    @property
    def first(self) -> Candidate | None:
        """The network that the run started from."""
        return self.candidates[0] if self.candidates else None

    @cached_property
    def last_generation(self) -> int:
        """The last generation that was selected from; without any selection, the last that has a trained candidate."""
        if self.records.selections:
            return self.records.selections[-1].generation
        return max((candidate.generation for candidate in self.trained), default=0)

    @cached_property
    def front(self) -> tuple[Candidate, ...]:
        """The Pareto front of the final generation, fewest parameters first."""
        if self.records.result is not None:
            members = [self.by_id[candidate] for candidate in self.records.result.front]
        elif self.records.selections:
            members = [self.by_id[candidate] for candidate in self.records.selections[-1].front]
        else:
            members = undominated((c for c in self.trained if c.generation == self.last_generation), rank=_rank)
        return tuple(sorted(members, key=lambda member: (member.parameters, member.id)))

    @cached_property
    def best(self) -> Candidate | None:
        """The run's best candidate; while there is no result, the front's best by validation error."""
        if self.records.result is not None:
            return self.by_id[self.records.result.best]
        return min((member for member in self.front if member.error is not None), key=_rank, default=None)

    @cached_property
    def lineage(self) -> tuple[Candidate, ...]:
        """From the first network to the best one, each the parent of the next."""
        members: list[Candidate] = []
        current = self.best
        while current is not None:
            members.append(current)
            current = None if current.parent is None else self.by_id[current.parent]
        return tuple(reversed(members))

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """The constraint of each site along the best lineage against the epoch, site by site, without empty spans."""
        spans: list[Span] = []
        for site in range(len(self.start.sites)):
            of_site: list[Span] = []
            for member in self.lineage:
                if member.last_epoch <= member.first_epoch:
                    continue
                first = member.first_epoch
                if of_site and of_site[-1].constraint == member.constraints[site]:
                    first = of_site.pop().first_epoch
                of_site.append(Span(site, member.constraints[site], first, member.last_epoch))
            spans += of_site
        return tuple(spans)

    @cached_property
    def changes(self) -> tuple[Candidate, ...]:
        """The first network, and those of the best lineage that have another architecture or began from scratch."""
        return tuple(
            member
            for parent, member in zip((None, *self.lineage), self.lineage, strict=False)
            if parent is None or self._architecture(parent) != self._architecture(member) or self.begins_anew(member)
        )

    @cached_property
    def last_training(self) -> tuple[Candidate, ...]:
        """The end of the best lineage, from the last network that was trained from scratch."""
        begins = [depth for depth, member in enumerate(self.lineage) if self.begins_anew(member)]
        return self.lineage[begins[-1] :] if begins else ()

    def begins_anew(self, candidate: Candidate) -> bool:
        """Whether a candidate was trained from scratch: it has no parent, or begins before its parent ended."""
        return candidate.parent is None or candidate.first_epoch < self.by_id[candidate.parent].last_epoch

    @cached_property
    def curves(self) -> Mapping[int, tuple[EpochPoint, ...]]:
        """The points of each candidate in order of epochs, led by where the parent that it went on from stood."""
        own: dict[int, list[EpochPoint]] = {}
        for point in sorted(self.records.points, key=lambda point: point.epoch):
            own.setdefault(point.candidate, []).append(point)
        curves = {}
        for candidate, points in own.items():
            record = self.by_id.get(candidate)
            parent = None if record is None or self.begins_anew(record) else record.parent
            curves[candidate] = (*(own.get(parent, [])[-1:] if parent is not None else []), *points)
        return curves

    @cached_property
    def survivors(self) -> frozenset[int]:
        """The candidates that were selected: those that went on, and the front and the best at the end."""
        went_on = {candidate for selection in self.records.selections for candidate in selection.parents}
        best = [self.best] if self.best is not None else []
        return frozenset(went_on | {member.id for member in (*self.front, *best)})

    @cached_property
    def num_architectures(self) -> int:
        """How many different architectures were tried."""
        return len({self._architecture(candidate) for candidate in self.candidates})

    @cached_property
    def has_choice(self) -> bool:
        """Whether some generation had several candidates to choose from."""
        return len({candidate.generation for candidate in self.candidates}) < len(self.candidates)

    @cached_property
    def mixtures(self) -> Mapping[int, tuple[MixturePoint, ...]]:
        """For each candidate whose network is a mixture, what that was made of, in order of epochs."""
        found: dict[int, tuple[MixturePoint, ...]] = {}
        for point in sorted(self.records.mixtures, key=lambda point: point.epoch):
            if point.candidate in self.by_id:
                found[point.candidate] = (*found.get(point.candidate, ()), point)
        return found

    @cached_property
    def trajectory(self) -> Trajectory | None:
        """The shares of the mixture along the best lineage; of the first network while there is no best."""
        return follow_mixture(self.lineage or self.candidates[:1], self.mixtures, sites=self.start.sites)

    @cached_property
    def shares(self) -> Shares | None:
        """What the best network is made of at its end, for every site; None when it is no mixture.

        A site that is no mixture has its constraint as the one member.
        """
        if self.best is None or self.best.id not in self.mixtures:
            return None
        own = self.mixtures[self.best.id][-1].shares
        constraints = zip(self.start.sites, self.best.constraints, strict=True)
        return {site: own.get(site, {constraint: 1.0}) for site, constraint in constraints}

    @property
    def samples(self) -> int:
        """Training samples that the whole run processed."""
        if self.records.result is not None:
            return self.records.result.samples
        return sum(candidate.samples for candidate in self.candidates)

    @property
    def cost_in_trainings(self) -> float | None:
        """The run's samples over those of one full training of one network, epochs * training samples."""
        of_one = self.start.epochs * self.start.num_train
        return self.samples / of_one if of_one > 0 else None

    @property
    def wall_seconds(self) -> float | None:
        """Wall time of the run; while it has not ended, the sum over its candidates."""
        if self.records.run_seconds is not None:
            return self.records.run_seconds
        seconds = [seconds for _, seconds in self.records.candidate_seconds]
        return sum(seconds) if seconds else None

    @property
    def test_error(self) -> float | None:
        """Test error e of the best network; None when it was not measured."""
        return self.records.result.test_error if self.records.result is not None else None

    @property
    def test_standard_error(self) -> float | None:
        """The binomial standard error of the test error, sqrt(e (1 - e) / n), for n test samples.

        None where the error is no share of samples: it is that of another metric, or of targets that are no classes.
        """
        if self.test_error is None or not self.start.num_test or not 0 <= self.test_error <= 1:
            return None
        if self.start.metric != ERROR_RATE or self.start.targets != "classes":
            return None
        return math.sqrt(self.test_error * (1 - self.test_error) / self.start.num_test)

    @property
    def scores(self) -> Scores | None:
        """How the best network classified the test set, class by class; None when that was not kept."""
        return self.records.result.scores if self.records.result is not None else None

    @cached_property
    def moved_by(self) -> str | None:
        """The subgroup of G whose random elements moved the training samples; None where something else did."""
        name = self.start.augmentation
        return name if name is not None and _subgroup(self.start.group, name) is not None else None

    @cached_property
    def subgroups(self) -> dict[str, Subgroup | None]:
        """Every constraint that the run names, smallest group first; None for a name that is no subgroup of G.

        C1 and G are always there, so that a group has a colour by its size even in a run that names no other.
        """
        used = [constraint for candidate in self.candidates for constraint in candidate.constraints]
        mixed = [name for point in self.records.mixtures for members in point.shares.values() for name in members]
        names = dict.fromkeys((*self.start.subgroups, *used, *mixed, "C1", self.start.group))
        found = {name: _subgroup(self.start.group, name) for name in names}
        # The sort is stable, so equally large groups stay in the order in which the run names them.
        return dict(sorted(found.items(), key=lambda item: item[1].order if item[1] is not None else math.inf))

    @cached_property
    def kept_by_whole(self) -> str | None:
        """The subgroup that the best network as a whole is equivariant to: the intersection over its sites.

        The constraint of a mixture is the intersection of its members. Constraints do not grow with depth, so it is the
        constraint of the last site, unless somebody wrote the sequence by hand. None when there is no best network, or
        a name has no known group.
        """
        if self.best is None:
            return None
        subgroups = [self.subgroups[name] for name in self.best.constraints]
        kept = subgroups[0]
        for subgroup in subgroups:
            if kept is None or subgroup is None:
                return None
            kept = kept & subgroup
        return kept.name if kept is not None else None

    def _architecture(self, candidate: Candidate) -> tuple[bool, tuple[str, ...]]:
        return candidate.id in self.mixtures, candidate.constraints


def read_numbers(run_folder: str | Path) -> Numbers:
    """Read the numbers of a run from its folder: the history, the timing, the configuration and the environment.

    Raises:
        RunFolderError: It is not a run folder, or one of its files cannot be understood.
    """
    folder = Path(run_folder)
    return Numbers(name=folder.resolve().name, records=read_records(folder))


def _rank(candidate: Candidate) -> tuple[float, int, int]:
    return (candidate.error if candidate.error is not None else math.inf, candidate.parameters, candidate.id)


def _subgroup(ambient: str, name: str) -> Subgroup | None:
    try:
        return group(ambient).subgroup(name)
    except GroupError:
        return None
