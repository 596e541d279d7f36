"""Train at G, let every site go free for a while, see which directions grow, and keep the symmetry that these have."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Literal, get_args

from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.groups import Subgroup
from equimorph.inspection import growth_evidence, sites
from equimorph.morphisms import carry_optimizer, constrain, relax
from equimorph.search._base import Strategy, members_with_whole, searched_members
from equimorph.search.candidate import Member
from equimorph.search.session import Session
from equimorph.training import Trainer, TrainingState

Outcome = Literal["continued", "retrained"]


class Growth(Strategy):
    """Three stretches of training: constrained to G, free, and constrained to what the free one kept.

        train at G;  relax every site to the intersection of [G], and train: the probe
        H   = the member that the growth beyond G keeps most clearly (`growth_evidence`), where that is clear; where it
              is faint, or there is none, G unless its projection of the probe has a larger validation loss than that
              on H, or on the intersection
        H_i = G for the first sites, as many as that costs no validation loss; H for the others
        train this chain from scratch; or project the probe on it, and train on

    Noise grows in all directions alike, and what the data ask for in those alone that the symmetry of the data allows.
    It costs one and a half trainings, or one when the probe is trained on, and a few looks at the validation set.

    Args:
        groups: [G]; `em.search_groups` when left out. G itself is always one of them.
        initial_epochs: Epochs at G; a sixth of the lineage when left out.
        probe_epochs: Epochs of the probe; a third of the lineage when left out.
        clear: The evidence that decides alone, in nats per dimension.
        faint: The least evidence that counts at all.
        result: "retrained" for the chain from scratch, for the whole lineage; "continued" for the probe, projected and
            trained on to the end of the lineage.
    Raises:
        ConfigurationError: A value outside its range.
    Example:
        >>> Growth(groups=["C1", "C4"]).name
        'growth'

    Source: ours.
    """

    def __init__(
        self,
        *,
        groups: Sequence[str | Subgroup] | None = None,
        initial_epochs: float | None = None,
        probe_epochs: float | None = None,
        clear: float = 0.05,
        faint: float = 0.01,
        result: Outcome = "retrained",
    ) -> None:
        if result not in get_args(Outcome):
            raise ConfigurationError(f'growth: result is "{result}"; it is one of {", ".join(get_args(Outcome))}.')
        for what, number in (
            ("initial_epochs", initial_epochs),
            ("probe_epochs", probe_epochs),
            ("clear", clear),
            ("faint", faint),
        ):
            if number is not None and not number > 0:
                raise ConfigurationError(f"growth: {what} is {number}; it must be positive.")
        self.groups = None if groups is None else [str(subgroup) for subgroup in groups]
        self.initial_epochs, self.probe_epochs = initial_epochs, probe_epochs
        self.clear, self.faint, self.result = clear, faint, result

    @property
    def name(self) -> str:
        """`growth`."""
        return "growth"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check the members, and that each stretch has a step."""
        members = searched_members("growth", network, self.groups)
        first, second = self._ends(trainer)
        if not 0 < first < second < trainer.total_steps:
            raise ConfigurationError(
                f"growth: of {trainer.total_steps} training steps {first} are at {members[-1].name} and the probe ends "
                f"at {second}; each of the three stretches needs a step, so give more epochs or shorter stretches."
            )
        return {"subgroups": [H.name for H in members], "generations": 2}

    def searched(self, network: nn.Module) -> Sequence[Subgroup]:
        """[G]."""
        return members_with_whole(network, self.groups)

    def search(self, session: Session) -> list[Member]:
        """Train the three stretches."""
        trainer = session.trainer
        first, second = self._ends(trainer)
        session.observer.planned(trainer.total_steps + (second if self.result == "retrained" else 0))
        members = members_with_whole(session.network, self.groups)
        start = session.train_first(constrain(session.network, members[-1]), first, move="start")
        session.record_selection(0, 2, [start], [start])
        free = relax(start.state.network, reduce(operator.and_, members))
        optimizer = carry_optimizer(start.state.optimizer, source=start.state.network, target=free)
        probe = session.train_on(TrainingState(free, optimizer, first), second, move="relax all sites", parent=start)
        session.record_selection(1, 2, [probe], [probe])
        evidence = growth_evidence(probe.state.network, members)
        named = {H.name: value for H, value in evidence.items()}
        session.write({"event": "growth", "candidate": probe.candidate.number, "evidence": named})
        chain = self._chain(probe.state.network, members, evidence, trainer)
        if self.result == "retrained":
            state, move = trainer.start(session.fresh(chain)), "retrain with what grew"
        else:
            state, move = trainer.start(constrain(probe.state.network, chain)), "project on what grew"
            state.step = second
        found = session.train_on(state, trainer.total_steps, move=move, parent=probe)
        session.record_selection(2, 2, [found], [found])
        return [found]

    def _ends(self, trainer: Trainer) -> tuple[int, int]:
        """The steps at which the first stretch and the probe end."""
        total, per_epoch = trainer.total_steps, trainer.steps_per_epoch
        first = max(1, round(total / 6)) if self.initial_epochs is None else round(self.initial_epochs * per_epoch)
        probe = max(1, round(total / 3)) if self.probe_epochs is None else round(self.probe_epochs * per_epoch)
        return first, first + probe

    def _chain(
        self, probe: nn.Module, members: Sequence[Subgroup], evidence: Mapping[Subgroup, float], trainer: Trainer
    ) -> dict[str, Subgroup]:
        whole, bottom = members[-1], reduce(operator.and_, members)
        names = list(sites(probe))
        kept = max(evidence, key=lambda H: (evidence[H], H.order), default=bottom)
        if evidence.get(kept, 0.0) < self.faint:
            kept = bottom
        is_clear = evidence.get(kept, 0.0) >= self.clear
        if not is_clear and not _is_worse(constrain(probe, whole), constrain(probe, kept), trainer):
            return dict.fromkeys(names, whole)
        chain = dict.fromkeys(names, kept)
        reference = constrain(probe, chain)
        for name in names[:-1]:
            larger = {**chain, name: whole}
            if _is_worse(constrain(probe, larger), reference, trainer):
                break
            chain = larger
        return chain


def _is_worse(network: nn.Module, other: nn.Module, trainer: Trainer) -> bool:
    """Whether a network's validation loss is above another's, by more than two standard errors of the difference."""
    difference = trainer.losses_in_parts(network, "validation") - trainer.losses_in_parts(other, "validation")
    return bool(difference.mean() > 2 * difference.std() / len(difference) ** 0.5)
