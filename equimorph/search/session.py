"""What a strategy works with: it trains candidates, puts them on record, and keeps weights in the run folder."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from equimorph.errors import DivergedError
from equimorph.groups import Subgroup
from equimorph.inspection import mixture_shares, mixture_weights, sites
from equimorph.morphisms import carry_optimizer, constrain, reinitialize, relax
from equimorph.search.candidate import Candidate, Member
from equimorph.search.observer import Observer
from equimorph.search.run_folder import RunFolder
from equimorph.search.selection import pareto_front
from equimorph.training import ArchitectureSteps, Batches, EpochReport, Trainer, TrainingState
from equimorph.training.settings import SeedBranch, derived_generator


@dataclass(frozen=True)
class Task:
    """A candidate to be trained: how it comes out of its parent, and how far it goes.

    Attributes:
        parent: The member that it begins as.
        constraints: The subgroup of each site, contained in the parent's.
        move: The change in words.
        generation: The generation that it belongs to.
        until_step: The step of the lineage at which its training ends.
    """

    parent: Member
    constraints: Mapping[str, Subgroup]
    move: str
    generation: int
    until_step: int


@dataclass(frozen=True)
class MixtureReport:
    """What the mixtures of a network were made of at an epoch.

    Attributes:
        epoch: Position in the lineage.
        shares: For each site, each member's share of the kernel (`em.mixture_shares`).
        weights: For each site, z of each member, a skip path included; empty for mixtures without logits.
    """

    epoch: float
    shares: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Outcome:
    """What training a task gave: a record, its epochs, its mixtures, and the trained state unless it diverged."""

    candidate: Candidate
    reports: tuple[EpochReport, ...]
    mixtures: tuple[MixtureReport, ...]
    state: TrainingState | None
    wall_seconds: float


@dataclass(frozen=True)
class How:
    """What a training differs in from the usual one.

    Attributes:
        batches: What is trained on; the training set when None.
        architecture: How the logits of mixtures are trained beside the weights; not at all when None.
    """

    batches: Batches | None = None
    architecture: ArchitectureSteps | None = None

    def samples_per_step(self, trainer: Trainer) -> int:
        """Training samples that a step processes, those for the logits included."""
        size = (self.batches or trainer.batches).size
        return size + (0 if self.architecture is None else self.architecture.samples_per_step)


class Session:
    """One run of one strategy.

    Args:
        network: The network as the user gave it.
        trainer: Trains and measures.
        folder: The run folder, or None to keep nothing on disk.
        observer: Is told about progress.
    Attributes:
        history: All lines so far.
        samples: Training samples processed so far.
    """

    def __init__(self, network: nn.Module, trainer: Trainer, folder: RunFolder | None, observer: Observer) -> None:
        self.network, self.trainer, self.folder, self.observer = network, trainer, folder, observer
        self.history: list[dict[str, Any]] = []
        self.samples = 0
        self._next_number = 0

    def fresh(self, constraints: Subgroup | Mapping[str, Subgroup]) -> nn.Module:
        """A network of the same shape with these constraints and values drawn anew, the same for the same run seed.

        Args:
            constraints: One subgroup for all sites, or one for each.
        """
        whole = next(iter(sites(self.network).values())).group.whole
        constrained = relax(constrain(self.network, whole), constraints)  # any sequence lies below the whole group
        return reinitialize(constrained, derived_generator(self.trainer.settings.seed, SeedBranch.FRESH_VALUES))

    def train_first(self, network: nn.Module, until_step: int, *, move: str, how: How | None = None) -> Member:
        """Train a network from the beginning of its lineage, `train_on` with a fresh optimizer."""
        return self.train_on(self.trainer.start(network), until_step, move=move, how=how)

    def train_only(self, network: nn.Module, *, how: How | None = None) -> list[Member]:
        """Train the one network of a strategy that tries nothing else, for the whole lineage."""
        self.observer.planned(self.trainer.total_steps)
        members = [self.train_first(network, self.trainer.total_steps, move="start", how=how)]
        self.record_selection(0, 0, members, members)
        return members

    def train_starts(self, networks: Mapping[str, nn.Module], until_step: int) -> list[Member]:
        """Train several networks from the beginning of their lineages; return those that did not diverge.

        Args:
            networks: By the words that say how each began.
            until_step: The step of the lineage to end at.
        Raises:
            DivergedError: All of them did.
        """
        trained = (
            train(self.trainer, self._number(), None, self.trainer.start(network), move, 0, until_step, self.observer)
            for move, network in networks.items()
        )
        return self._record_all(trained)

    def train_on(
        self,
        state: TrainingState,
        until_step: int,
        *,
        move: str,
        parent: Member | None = None,
        how: How | None = None,
    ) -> Member:
        """Train the one network that the strategy goes on with.

        Args:
            state: Where to begin.
            until_step: The step of the lineage to end at.
            move: What was done to the parent's architecture, in words.
            parent: What the network came out of; its generation is the one before.
            how: Where the samples come from, and how logits are trained.
        Raises:
            DivergedError: There is nothing to go on with.
        """
        generation = 0 if parent is None else parent.candidate.generation + 1
        candidate = None if parent is None else parent.candidate
        outcome = train(
            self.trainer, self._number(), candidate, state, move, generation, until_step, self.observer, how
        )
        self._record(outcome)
        if outcome.state is None:
            step = outcome.candidate.diverged_at_step or 0
            what = "the first network" if parent is None else f"the network after its move ({move})"
            raise DivergedError(
                step,
                f"search: the loss of {what} is not a finite number at step {step + 1} of the training; "
                f"try a smaller --lr than {self.trainer.settings.learning_rate:g}, or another --optimizer.",
            )
        return Member(outcome.candidate, outcome.state)

    def train_all(self, tasks: Iterable[Task]) -> list[Member]:
        """Train candidates, each independent of the others, and return those that did not diverge.

        Raises:
            DivergedError: All of them did.
        """
        return self._record_all(train_task(self.trainer, self._number(), task, self.observer) for task in tasks)

    def record_selection(self, generation: int, generations: int, parents: list[Member], members: list[Member]) -> None:
        """Put on record which candidates go on, and keep the weights of these alone."""
        front = pareto_front(members)
        numbers = {"parents": [m.candidate.number for m in parents], "front": [m.candidate.number for m in front]}
        self.write({"event": "selection", "generation": generation, **numbers})
        if self.folder is not None:
            self.folder.keep_weights({m.candidate.number: m.state.network for m in (*parents, *front)})
        self.observer.selected(generation, generations, parents, front)

    def write(self, line: dict[str, Any]) -> None:
        """Add a line to the history."""
        self.history.append(line)
        if self.folder is not None:
            self.folder.append_history(line)
        self.observer.recorded(line)

    def _number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    def _record_all(self, outcomes: Iterable[Outcome]) -> list[Member]:
        members, steps = [], []
        for outcome in outcomes:
            self._record(outcome)
            if outcome.state is not None:
                members.append(Member(outcome.candidate, outcome.state))
            else:
                steps.append(outcome.candidate.diverged_at_step or 0)
        if not members:
            raise DivergedError(
                min(steps),
                f"search: every candidate of a generation diverged, the first at step {min(steps) + 1} of the "
                "training; try a smaller learning rate (--lr).",
            )
        return members

    def _record(self, outcome: Outcome) -> None:
        self.samples += outcome.candidate.samples
        for report in outcome.reports:
            self.write(
                {
                    "event": "epoch",
                    "candidate": outcome.candidate.number,
                    "epoch": report.epoch,
                    "learning_rate": report.learning_rate,
                    "train_loss": report.train_loss,
                    "validation_loss": report.validation.loss,
                    "validation_error": report.validation.error,
                }
            )
        for mixture in outcome.mixtures:
            self.write({"event": "mixture", "candidate": outcome.candidate.number, **asdict(mixture)})
        self.write(outcome.candidate.record())
        if self.folder is not None:
            self.folder.append_timing(
                {"event": "candidate", "candidate": outcome.candidate.number, "wall_seconds": outcome.wall_seconds}
            )


def train_task(trainer: Trainer, number: int, task: Task, observer: Observer) -> Outcome:
    """Relax a copy of the parent, carry its optimizer over, and train on. The parent is left as it was."""
    parent = task.parent
    network = relax(parent.state.network, task.constraints)
    optimizer = carry_optimizer(parent.state.optimizer, source=parent.state.network, target=network)
    state = TrainingState(network, optimizer, parent.state.step)
    return train(trainer, number, parent.candidate, state, task.move, task.generation, task.until_step, observer)


def train(
    trainer: Trainer,
    number: int,
    parent: Candidate | None,
    state: TrainingState,
    move: str,
    generation: int,
    until_step: int,
    observer: Observer,
    how: How | None = None,
) -> Outcome:
    """Train a state up to a step of its lineage, and put together what is to be known of it."""
    began = time.perf_counter()
    first_step = state.step
    how = how or How()
    reports: list[EpochReport] = []
    mixtures = _mixture_reports(state.network, first_step / trainer.steps_per_epoch)

    def note(report: EpochReport) -> None:
        reports.append(report)
        mixtures.extend(_mixture_reports(state.network, report.epoch))

    diverged_at_step = None
    try:
        trainer.advance(
            state,
            until_step,
            candidate=number,
            batches=how.batches,
            architecture=how.architecture,
            on_report=note,
            on_steps=observer.stepped,
        )
    except DivergedError as error:
        diverged_at_step = error.step
    trained = diverged_at_step is None
    candidate = Candidate(
        number=number,
        parent=None if parent is None else parent.number,
        generation=generation,
        move=move,
        constraints=tuple(subgroup.name for subgroup in sites(state.network).values()),
        parameters=sum(parameter.numel() for parameter in state.network.parameters()),
        first_epoch=first_step / trainer.steps_per_epoch,
        last_epoch=state.step / trainer.steps_per_epoch,
        samples=(state.step - first_step) * how.samples_per_step(trainer),
        status="trained" if trained else "diverged",
        diverged_at_step=diverged_at_step,
        validation_loss=reports[-1].validation.loss if trained else None,
        validation_error=reports[-1].validation.error if trained else None,
    )
    return Outcome(candidate, tuple(reports), tuple(mixtures), state if trained else None, time.perf_counter() - began)


def _mixture_reports(network: nn.Module, epoch: float) -> list[MixtureReport]:
    """One report when there are mixtures in the network."""
    shares = mixture_shares(network)
    return [MixtureReport(epoch, shares, mixture_weights(network))] if shares else []
