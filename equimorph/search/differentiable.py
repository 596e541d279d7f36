"""EquiNAS_D, the differentiable search: every site a mixture over subgroups, with weights that are learned too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.groups import Subgroup
from equimorph.inspection import mixture_shares
from equimorph.morphisms import discretize, mix, reinitialize
from equimorph.search._base import Strategy, members_with_whole, searched_members
from equimorph.search.candidate import Member
from equimorph.search.session import How, Session
from equimorph.spaces import MixtureStart
from equimorph.training import ArchitectureSteps, Batches, Trainer, architecture_parameters, divided
from equimorph.training.settings import SeedBranch, derived_generator

ArchitectureBatches = Literal["same", "train", "held-out"]
Outcome = Literal["mixture", "discretised", "retrained"]
Judge = Literal["change", "share"]


class Differentiable(Strategy):
    """Train kernels and mixture weights together, by gradient, first order.

        every site: W = sum_i z_i E_{H_i}( w_i nu_i / |w_i| ),  z = softmax(alpha / T)                     (3)
        each step:  w     <- step of the training's optimizer on a batch, z fixed
                    alpha <- Adam step on a batch, w fixed

    Args:
        groups: [G], the members; `em.search_groups` when left out. G itself is always one of them.
        start: "prior" for alpha = 0 for G and -2 for the others, or "uniform" for alpha = 0.
        batches: What alpha is trained on: "held-out" for batches of a part of the training set that w does not see
            while there is a mixture; "train" for other batches of the whole training set; "same" for the batch of w,
            in the same backward pass.
        held_out: The share of the training set in that part.
        tied: Whether the members are projections of one dense kernel.
        skip: Whether the identity is one more member, where a layer allows it.
        architecture_lr: Adam's learning rate for alpha, that is how far a logit moves in a step at most; `travel`
            over the number of steps when left out.
        travel: How far a logit can move in the whole search.
        temperature: T at the beginning.
        final_temperature: T at the end of the search, reached geometrically; as at the beginning when left out.
        result: "discretised" for the best admissible sequence of single subgroups, from the mixture's kernels,
            trained on to the end of the lineage; "mixture" for the mixture itself; "retrained" for the mixture
            trained once more from scratch with z frozen.
        search_epochs: Epochs of the mixture before it is discretised; a third of the lineage when left out.
        judge: What single subgroups are chosen by: "change" for the shares relative to those at the start, "share" for
            the shares as they are.
        shuffle: Whether the gradient's entries are permuted at random among all logits before each step, which leaves
            of the search what does not depend on its direction.
    Raises:
        ConfigurationError: A value outside its range.
    Example:
        >>> import equimorph as em
        >>> data = em.data.load("digits")
        >>> network = em.models.PaperNetwork(
        ...     group="D4", image_size=12, in_channels=1, num_classes=10, fields=1, depth=2, kernel_size=3
        ... )
        >>> settings = em.training.TrainingSettings(epochs=2, batch_size=250)
        >>> result = Differentiable(groups=["C4", "D4"], result="mixture").run(network, data, training=settings)
        >>> list(em.mixture_shares(result.best)["head.linear"])
        ['D4', 'C4']

    Source: Maile, Wilson and Forré (2023), section 4.2. "held-out", the tied members, discretising and the learning
        rate relative to the number of steps are ours.
    """

    def __init__(
        self,
        *,
        groups: Sequence[str | Subgroup] | None = None,
        start: MixtureStart = "prior",
        batches: ArchitectureBatches = "held-out",
        held_out: float = 0.2,
        tied: bool = False,
        skip: bool = False,
        architecture_lr: float | None = None,
        travel: float = 5.0,
        temperature: float = 1.0,
        final_temperature: float | None = None,
        result: Outcome = "discretised",
        search_epochs: float | None = None,
        judge: Judge = "change",
        shuffle: bool = False,
    ) -> None:
        for what, value, choices in (
            ("start", start, MixtureStart),
            ("batches", batches, ArchitectureBatches),
            ("result", result, Outcome),
            ("judge", judge, Judge),
        ):
            if value not in get_args(choices):
                raise ConfigurationError(
                    f'differentiable search: {what} is "{value}"; it is one of {", ".join(get_args(choices))}.'
                )
        for what, number in (
            ("architecture_lr", architecture_lr),
            ("travel", travel),
            ("temperature", temperature),
            ("final_temperature", final_temperature),
            ("search_epochs", search_epochs),
        ):
            if number is not None and not 0 < number < math.inf:
                raise ConfigurationError(f"differentiable search: {what} is {number}; it must be positive and finite.")
        if not 0 < held_out < 1:
            raise ConfigurationError(f"differentiable search: held_out is {held_out}; it must be between 0 and 1.")
        self.groups = None if groups is None else [str(subgroup) for subgroup in groups]
        self.start, self.batches, self.held_out, self.tied, self.skip = start, batches, held_out, tied, skip
        self.architecture_lr, self.travel = architecture_lr, travel
        self.temperature, self.final_temperature = temperature, final_temperature
        self.result, self.search_epochs, self.judge = result, search_epochs, judge
        self.shuffle = shuffle

    @property
    def name(self) -> str:
        """`differentiable`."""
        return "differentiable"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check the members, and that there are steps for what follows the mixture."""
        members = searched_members("differentiable search", network, self.groups)
        if self.result == "discretised" and not self._search_steps(trainer) < trainer.total_steps:
            raise ConfigurationError(
                f"differentiable search: search_epochs leave none of the {trainer.settings.epochs:g} epochs to train "
                'the discretised network; give fewer, or ask for result "mixture".'
            )
        if self.batches == "held-out":
            divided(trainer.train_samples, self.held_out, seed=trainer.settings.seed)
        return {"subgroups": [H.name for H in members], "generations": 0 if self.result == "mixture" else 1}

    def searched(self, network: nn.Module) -> Sequence[Subgroup]:
        """[G]."""
        return members_with_whole(network, self.groups)

    def search(self, session: Session) -> list[Member]:
        """Train the mixture, and what comes out of it."""
        trainer = session.trainer
        seed, total, steps = trainer.settings.seed, trainer.total_steps, self._search_steps(trainer)
        session.observer.planned(steps + {"mixture": 0, "discretised": total - steps, "retrained": total}[self.result])
        members = members_with_whole(session.network, self.groups)
        mixture = mix(session.network, members, start=self.start, tied=self.tied, skip=self.skip)
        mixture = reinitialize(mixture, derived_generator(seed, SeedBranch.FRESH_VALUES))
        generations = 0 if self.result == "mixture" else 1
        before = mixture_shares(mixture) if self.judge == "change" else None
        best = [
            session.train_first(_frozen(mixture), steps, move="mixture", how=self.training_of(mixture, trainer, steps))
        ]
        session.record_selection(0, generations, best, best)
        if self.result == "discretised":
            state = trainer.start(discretize(best[0].state.network, start=before))
            state.step = steps
            best = [session.train_on(state, total, move="discretise", parent=best[0])]
        elif self.result == "retrained":
            generator = derived_generator(seed, SeedBranch.FRESH_VALUES, 1)
            state = trainer.start(_frozen(reinitialize(best[0].state.network, generator)))
            best = [session.train_on(state, total, move="retrain with z frozen", parent=best[0])]
        if self.result != "mixture":
            session.record_selection(1, generations, best, best)
        return best

    def _search_steps(self, trainer: Trainer) -> int:
        if self.result != "discretised":
            return trainer.total_steps
        if self.search_epochs is None:
            return max(1, round(trainer.total_steps / 3))
        return max(1, round(self.search_epochs * trainer.steps_per_epoch))

    def training_of(self, mixture: nn.Module, trainer: Trainer, steps: int) -> How:
        """How a mixture is trained for so many steps: its batches, and the steps on its logits."""
        weight_batches, own_batches = self._batches(trainer)
        last = self.temperature if self.final_temperature is None else self.final_temperature
        architecture = ArchitectureSteps(
            mixture,
            lr=self.travel / steps if self.architecture_lr is None else self.architecture_lr,
            batches=own_batches,
            temperatures=(self.temperature, last),
            total_steps=steps,
            shuffle_seed=trainer.settings.seed if self.shuffle else None,
        )
        return How(batches=weight_batches, architecture=architecture)

    def _batches(self, trainer: Trainer) -> tuple[Batches, Batches | None]:
        """What w is trained on, and what alpha is."""
        if self.batches == "same":
            return trainer.batches, None
        if self.batches == "train":
            return trainer.batches, trainer.batches_of(trainer.train_samples, branch=SeedBranch.ARCHITECTURE_BATCHES)
        rest, held = divided(trainer.train_samples, self.held_out, seed=trainer.settings.seed)
        return trainer.batches_of(rest), trainer.batches_of(held, branch=SeedBranch.ARCHITECTURE_BATCHES)


def _frozen(network: nn.Module) -> nn.Module:
    """The network with logits that the optimizer of the weights passes over, in place."""
    for logits in architecture_parameters(network):
        logits.requires_grad_(False)
    return network
