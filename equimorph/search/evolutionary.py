"""EquiNAS_E, the evolutionary search: give symmetry up where that pays, one move and one selection after another."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.groups import Subgroup
from equimorph.inspection import sites
from equimorph.morphisms import relax
from equimorph.search._base import Strategy, ambient_group, members_with_whole, searched_members
from equimorph.search.candidate import Member
from equimorph.search.moves import Chain, MoveSet, relaxations
from equimorph.search.selection import Choice, fittest, select
from equimorph.search.session import Session, Task
from equimorph.training import Trainer
from equimorph.training.settings import SeedBranch, derived_generator

Start = Literal["group", "members"]
Selection = Literal["pareto", "halving"]


class Evolutionary(Strategy):
    """Train, relax, select, and go on from the parents' weights and optimizer state.

        start: one network, every site as given (constrained to G), or one for each member of [G]; train for
            `initial_epochs`, and select
        repeat `generations` times:
            children = for each parent: the parent itself, and its relaxations; no architecture twice
            train each child for an equal share of the epochs that are left
            parents = a selection of them
        return the front of the last generation and its best member by validation error

    Args:
        groups: [G], the subgroups that sites may have, by name or object; `em.search_groups` when left out. G itself
            is always one of them.
        generations: Rounds of relaxing and selecting.
        population: How many candidates go on from one generation to the next; at least, for the Pareto front.
        moves: "tails" for relaxations of one site and of all sites from one on, "paper" for those of one site alone.
        initial_epochs: What the first networks train for before they are relaxed; when left out, a third of the
            lineage for a single one, and 0.6 of it for one at each member, since what sets them apart may show late.
        children: Train at most this many candidates a generation. The parents themselves come first, the others are
            drawn at random. No limit when None.
        start: "members" for one network at each member of [G], from scratch, whose first epochs are those of
            `static:H`, so that none of these is out of reach; "group" for the network as given alone.
        selection: "halving" for the least validation errors, and half as many parents and children from one generation
            to the next, so that most of the training goes to few; "pareto" for the front of (validation error,
            parameters), filled up to the population.
        choose: Which candidates of a generation are the parents of the next, instead of `selection`.
    Raises:
        ConfigurationError: A value outside its range.
    Example:
        >>> import equimorph as em
        >>> data = em.data.load("digits")
        >>> network = em.models.PaperNetwork(
        ...     group="D4", image_size=12, in_channels=1, num_classes=10, fields=1, depth=2, kernel_size=3
        ... )
        >>> settings = em.training.TrainingSettings(epochs=2, batch_size=250)
        >>> search = Evolutionary(groups=["C4", "D4"], generations=1)  # the paper's: start="group", selection="pareto"
        >>> result = search.run(network, data, training=settings)
        >>> len(result.history) > 4, result.candidate.last_epoch
        (True, 2.0)

    Source: Maile, Wilson and Forré (2023), section 4.1, whose search has `start` "group", `selection` "pareto", `moves`
        "paper", `population` 5 and `children` None; the other values are ours. Theirs trains every generation for the
        same time, ours fixes the length of the lineage, to be compared with other methods at equal training.
    """

    def __init__(
        self,
        *,
        groups: Sequence[str | Subgroup] | None = None,
        generations: int = 2,
        population: int = 2,
        moves: MoveSet = "tails",
        initial_epochs: float | None = None,
        children: int | None = 3,
        start: Start = "members",
        selection: Selection = "halving",
        choose: Choice | None = None,
    ) -> None:
        for what, number in (("generations", generations), ("population", population), ("children", children)):
            if number is not None and number < 1:
                raise ConfigurationError(f"evolutionary search: {what} is {number}; it must be at least one.")
        for what, value, choices in (
            ("moves", moves, MoveSet),
            ("start", start, Start),
            ("selection", selection, Selection),
        ):
            if value not in get_args(choices):
                known = ", ".join(sorted(get_args(choices)))
                raise ConfigurationError(f'evolutionary search: {what} is "{value}"; it is one of {known}.')
        if initial_epochs is not None and not initial_epochs > 0:
            raise ConfigurationError(f"evolutionary search: initial_epochs is {initial_epochs}; it must be positive.")
        self.groups = None if groups is None else [str(subgroup) for subgroup in groups]
        self.generations, self.population, self.moves = generations, population, moves
        self.initial_epochs, self.children = initial_epochs, children
        self.start, self.selection = start, selection
        self._choose = choose or {"pareto": select, "halving": fittest}[selection]

    @property
    def name(self) -> str:
        """`evolutionary`."""
        return "evolutionary"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """Check that every constraint of the network is in [G], and that each generation has a step to train."""
        ambient = ambient_group(network)
        members = searched_members("evolutionary search", network, self.groups)
        for site, constraint in sites(network).items():
            if self.start == "group" and constraint not in members:
                names = ", ".join(H.name for H in members)
                raise ConfigurationError(
                    f'evolutionary search: "{site}" starts at {constraint.name}, which is not among the subgroups '
                    f"{names}; add it, or start from a network with all sites at {ambient.name}."
                )
        ends = self._ends(trainer)
        if any(later <= earlier for earlier, later in itertools.pairwise(ends)):
            raise ConfigurationError(
                f"evolutionary search: {trainer.total_steps} training steps in all leave no step for each of "
                f"{self.generations} generations after {ends[0]} for the first network; give more epochs, fewer "
                "generations or fewer initial_epochs."
            )
        return {"subgroups": [H.name for H in members], "generations": self.generations}

    def searched(self, network: nn.Module) -> Sequence[Subgroup]:
        """[G]."""
        return members_with_whole(network, self.groups)

    def search(self, session: Session) -> list[Member]:
        """Run the generations."""
        trainer = session.trainer
        members = members_with_whole(session.network, self.groups)
        ends = self._ends(trainer)
        names = list(sites(session.network))
        generator = derived_generator(trainer.settings.seed, SeedBranch.MOVES)
        parent_generator = derived_generator(trainer.settings.seed, SeedBranch.PARENTS)
        trained = self._train_starts(session, members, ends[0])
        parents = self._choose(trained, self._limit(self.population, 0), parent_generator)
        session.record_selection(0, self.generations, parents, trained)
        steps_done = ends[0] * len(trained)
        for generation, (begin, end) in enumerate(itertools.pairwise(ends), start=1):
            children = list(self._children(parents, members))
            chosen = self._sampled(children, len(parents), generation, generator)
            # As many candidates in each generation to come as in this one is the best guess there is.
            session.observer.planned(steps_done + len(chosen) * (ends[-1] - begin))
            steps_done += len(chosen) * (end - begin)
            trained = session.train_all(
                Task(parent, dict(zip(names, chain, strict=True)), words, generation, end)
                for parent, chain, words in chosen
            )
            parents = self._choose(trained, self._limit(self.population, generation), parent_generator)
            session.record_selection(generation, self.generations, parents, trained)
        session.observer.planned(steps_done)
        return trained

    def _train_starts(self, session: Session, members: Sequence[Subgroup], until_step: int) -> list[Member]:
        if self.start == "group":
            session.observer.planned(until_step)
            start = relax(session.network, sites(session.network))
            return [session.train_first(start, until_step, move="start")]
        session.observer.planned(until_step * len(members))
        networks = {f"start at {H.name}": session.fresh(H) for H in reversed(members)}
        return session.train_starts(networks, until_step)

    def _limit(self, number: int, generation: int) -> int:
        """How many parents or children there are in a generation, of a number at the start."""
        return max(1, number // 2**generation) if self.selection == "halving" else number

    def _ends(self, trainer: Trainer) -> list[int]:
        """The steps of the lineage at which the first network and each generation end."""
        total = trainer.total_steps
        usual = total * {"group": 1 / 3, "members": 0.6}[self.start]
        initial = usual if self.initial_epochs is None else self.initial_epochs * trainer.steps_per_epoch
        first = max(1, round(initial))
        return [first, *(first + round(g * (total - first) / self.generations) for g in range(1, self.generations + 1))]

    def _children(self, parents: list[Member], members: Sequence[Subgroup]) -> Iterator[tuple[Member, Chain, str]]:
        """The parents themselves, then their relaxations; each architecture once, from the best parent that has it."""
        chains = [tuple(sites(parent.state.network).values()) for parent in parents]
        seen: set[Chain] = set()
        continued = [{chain: "continue"} for chain in chains]
        relaxed = [relaxations(chain, members, self.moves) for chain in chains]
        for parent, moves in [*zip(parents, continued, strict=True), *zip(parents, relaxed, strict=True)]:
            for chain, words in moves.items():
                if chain not in seen:
                    seen.add(chain)
                    yield parent, chain, words

    def _sampled(
        self, children: list[tuple[Member, Chain, str]], num_parents: int, generation: int, generator: torch.Generator
    ) -> list[tuple[Member, Chain, str]]:
        limit = len(children) if self.children is None else self._limit(self.children, generation - 1)
        if len(children) <= limit:
            return children
        parents, others = children[:num_parents], children[num_parents:]
        order = torch.randperm(len(others), generator=generator)[: max(0, limit - num_parents)]
        return parents + [others[index] for index in sorted(order.tolist())]
