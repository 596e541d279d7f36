"""The contract of a strategy, and what all of them do alike: record, choose the best, test it once."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from equimorph.data import ImageData
from equimorph.data.augmentation import conflict
from equimorph.errors import AugmentationWarning, ConfigurationError, SiteError
from equimorph.groups import Group, Subgroup
from equimorph.inspection import check_chain, sites
from equimorph.morphisms.mix import member_groups
from equimorph.search.candidate import Candidate, Member
from equimorph.search.observer import Observer
from equimorph.search.run_folder import RunFolder
from equimorph.search.selection import pareto_front
from equimorph.search.session import Session
from equimorph.training import Loss, Metric, Trainer, TrainingSettings
from equimorph.training.metrics import scores


@dataclass(frozen=True)
class Result:
    """What a search found.

    Attributes:
        best: The network of least validation error, with its weights.
        candidate: Its record.
        front: The Pareto front of the final candidates, smallest validation error first.
        test_error: Of the best network, by the metric; the test set was used for this alone.
        history: All lines of the history.
        out: The run folder, or None.
    """

    best: nn.Module
    candidate: Candidate
    front: tuple[Candidate, ...]
    test_error: float
    history: tuple[dict[str, Any], ...]
    out: Path | None


class Strategy(ABC):
    """A way to arrive at a trained network. What a strategy provides is `name`, `plan` and `search`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name by which the command knows it."""

    @abstractmethod
    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check the settings against the network and the length of the lineage, before anything is written.

        Returns:
            What the first line of the history says about the strategy.
        Raises:
            ConfigurationError: They do not fit.
        """

    def searched(self, network: nn.Module) -> Sequence[Subgroup]:
        """The subgroups between which it decides by what the data say; none, unless it searches."""
        return ()

    @abstractmethod
    def search(self, session: Session) -> list[Member]:
        """Train candidates; return those at the end of their lineage, among which the best is chosen."""

    def run(
        self,
        network: nn.Module,
        data: ImageData,
        *,
        training: TrainingSettings | None = None,
        loss: Loss | None = None,
        metric: Metric | None = None,
        out: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        observer: Observer | None = None,
    ) -> Result:
        """Search.

        Args:
            network: A network with sites; it is left as it was.
            data: The data set.
            training: How to train; the defaults when left out.
            loss: From outputs and targets to the mean loss; when left out, cross-entropy for classes (of samples or
                pixels), the squared error for all else.
            metric: From all outputs and targets of a split to the error by which candidates are chosen; when left out,
                the share of samples or pixels whose class is wrong, and the loss itself where there are no classes.
            out: The run folder to make; nothing is written when left out.
            config: What to write into its config.yaml; the settings of strategy and training when left out.
            observer: Is told about progress.
        Returns:
            The best network, the front, the test error.
        Raises:
            SiteError: The network has no sites.
            ConfigurationError: Settings that do not fit, or constraints that grow with depth.
            RunFolderError: `out` exists.
            DivergedError: The first network, or a whole generation, diverged.
        """
        began = time.perf_counter()
        trainer = Trainer(data, training or TrainingSettings(), loss=loss, metric=metric)
        session = self._begin(network, trainer, out, config, observer or Observer())
        return _finish(session, self.search(session), began)

    def _warn_of_conflict(self, network: nn.Module, trainer: Trainer) -> None:
        searched = self.searched(network)
        message = conflict(trainer.augmentation, searched) if len(searched) > 1 else None
        if message is not None:
            warnings.warn(message, AugmentationWarning, stacklevel=4)

    def _begin(
        self,
        network: nn.Module,
        trainer: Trainer,
        out: str | Path | None,
        config: Mapping[str, Any] | None,
        observer: Observer,
    ) -> Session:
        """Check everything, and only then make the folder and write the first line of the history."""
        constraints = sites(network)
        if not constraints:
            raise SiteError(f"search: {type(network).__name__} has no sites, that is no layers with a weight space.")
        check_chain(constraints)
        plan = self.plan(network, trainer)
        self._warn_of_conflict(network, trainer)
        folder = None
        if out is not None:
            strategy = {"name": self.name, **{key: value for key, value in vars(self).items() if key[0] != "_"}}
            settings = {"strategy": strategy, "training": asdict(trainer.settings)}
            folder = RunFolder.create(out, config=settings if config is None else config, device=trainer.fabric.device)
            folder.write_splits(trainer.data)
        session = Session(network, trainer, folder, observer)
        session.write(
            {
                "event": "start",
                "strategy": self.name,
                "group": ambient_group(network).name,
                "sites": list(constraints),
                "epochs": trainer.total_steps / trainer.steps_per_epoch,
                "data": trainer.data.description(),
                **_what_is_trained_on(trainer),
                **plan,
            }
        )
        return session


def _finish(session: Session, members: list[Member], began: float) -> Result:
    """Choose the best by validation error, test it, and write it down."""
    front = pareto_front(members)
    best = front[0]
    outputs, targets = session.trainer.predict(best.state.network, "test")
    test = session.trainer.measure(outputs, targets)
    network = best.state.network.cpu().eval()
    session.write(
        {
            "event": "result",
            "best": best.candidate.number,
            "front": [member.candidate.number for member in front],
            "test_error": test.error,
            "test_loss": test.loss,
            "samples": session.samples,
            **_scored(outputs, targets, session.trainer.data),
        }
    )
    if session.folder is not None:
        session.folder.write_best(network, best.candidate, session.trainer.data)
        session.folder.append_timing({"event": "run", "wall_seconds": time.perf_counter() - began})
    return Result(
        best=network,
        candidate=best.candidate,
        front=tuple(member.candidate for member in front),
        test_error=test.error,
        history=tuple(session.history),
        out=None if session.folder is None else session.folder.path,
    )


def _scored(outputs: Tensor, targets: Tensor, data: ImageData) -> dict[str, Any]:
    """The scores of the test set, where it is one of classes."""
    if data.targets != "classes" or outputs.ndim != 2 or outputs.shape[1] != len(data.classes):
        return {}
    return {"scores": scores(outputs, targets, data.classes).record()}


def _what_is_trained_on(trainer: Trainer) -> dict[str, Any]:
    """What the first line says of how samples are used, as far as it is not the usual way."""
    settings = trainer.settings
    said = {"metric": trainer.metric_name}
    if trainer.data.targets != "classes":
        said["targets"] = trainer.data.targets
    if str(trainer.augmentation):
        said["augmentation"] = str(trainer.augmentation)
    if settings.class_weights != "none":
        said["class_weights"] = settings.class_weights
    return said


def ambient_group(network: nn.Module) -> Group:
    """G, the group of the network's regular features.

    Raises:
        ConfigurationError: The sites have features of different groups.
    """
    groups = {constraint.group for constraint in sites(network).values()}
    if len(groups) != 1:
        names = ", ".join(sorted(group.name for group in groups))
        raise ConfigurationError(f"search: the network's sites have features of different groups: {names}.")
    return groups.pop()


def members_with_whole(network: nn.Module, groups: Sequence[str] | None) -> tuple[Subgroup, ...]:
    """[G] for a network, smallest first: the named subgroups, or the default ones, and G itself in any case."""
    ambient = ambient_group(network)
    named = member_groups(ambient, groups)
    return tuple(H for H in ambient.subgroups() if H in {*named, ambient.whole})


def searched_members(speaker: str, network: nn.Module, groups: Sequence[str] | None) -> tuple[Subgroup, ...]:
    """[G] for a search, `members_with_whole`.

    Raises:
        ConfigurationError: G is the only member, so that there is nothing to choose from.
    """
    members = members_with_whole(network, groups)
    if len(members) == 1:
        raise ConfigurationError(
            f"{speaker}: {members[0].name} is the only subgroup that sites may have, so there is nothing to search; "
            "name smaller ones in groups (--subgroups)."
        )
    return members
