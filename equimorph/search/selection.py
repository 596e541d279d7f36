"""Which candidates go on: the Pareto front of (validation error, parameters), filled up by validation error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from equimorph.search.candidate import Member

Item = TypeVar("Item")
Choice = Callable[[Sequence[Member], int, torch.Generator], list[Member]]
"""From the candidates of a generation and the size of the population to the parents of the next generation."""


def pareto_front(members: Iterable[Member]) -> list[Member]:
    """The members that no other one beats in error without having more parameters, or the other way round.

    Returns:
        Smallest error first. Of members with equal error and parameters the first stays.
    """
    return undominated(members, rank=_rank)


def undominated(items: Iterable[Item], *, rank: Callable[[Item], tuple[float, int, int]]) -> list[Item]:
    """The items that no other one equals or betters in both error and parameters; of equal ones the first.

    Args:
        items: In any order.
        rank: Error, parameters and number of an item.
    """
    front: list[Item] = []
    for item in sorted(items, key=rank):
        if not front or rank(item)[1] < rank(front[-1])[1]:
            front.append(item)
    return front


def select(members: Sequence[Member], population: int, generator: torch.Generator | None = None) -> list[Member]:
    """The parents of the next generation, smallest error first.

    Of members of the same architecture the best stays. The Pareto front goes on as a whole; when it has fewer members
    than the population, the best of the others fill it up.

    Args:
        members: The candidates of a generation.
        population: How many go on at least, as long as there are enough.
        generator: Not used; `draw` does.
    """
    distinct = _distinct(members)
    chosen = pareto_front(distinct)
    numbers = {member.candidate.number for member in chosen}
    others = [member for member in distinct if member.candidate.number not in numbers]
    return sorted(chosen + others[: max(0, population - len(chosen))], key=_rank)


def fittest(members: Sequence[Member], population: int, generator: torch.Generator | None = None) -> list[Member]:
    """So many parents of least validation error; of members of the same architecture the best takes part."""
    return _distinct(members)[:population]


def draw(members: Sequence[Member], population: int, generator: torch.Generator) -> list[Member]:
    """So many parents at random, smallest error first; of members of the same architecture the best takes part."""
    candidates = _distinct(members)
    order = torch.randperm(len(candidates), generator=generator)[:population]
    return [candidates[index] for index in sorted(order.tolist())]


def _distinct(members: Sequence[Member]) -> list[Member]:
    """The best member of each architecture, smallest error first."""
    distinct: dict[tuple[str, ...], Member] = {}
    for member in sorted(members, key=_rank):
        distinct.setdefault(member.candidate.constraints, member)
    return list(distinct.values())


def _rank(member: Member) -> tuple[float, int, int]:
    return member.error, member.parameters, member.candidate.number
