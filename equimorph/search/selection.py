"""Which candidates go on: the Pareto front of (validation error, parameters), filled up by validation error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from equimorph.search.candidate import Member


def pareto_front(members: Iterable[Member]) -> list[Member]:
    """The members that no other one beats in error without having more parameters, or the other way round.

    Returns:
        Smallest error first. Of members with equal error and parameters the first stays.
    """
    front: list[Member] = []
    for member in sorted(members, key=_rank):
        if not front or member.parameters < front[-1].parameters:
            front.append(member)
    return front


def select(members: Sequence[Member], population: int) -> list[Member]:
    """The parents of the next generation, smallest error first.

    Of members of the same architecture the best stays. The Pareto front goes on as a whole; when it has fewer members
    than the population, the best of the others fill it up.

    Args:
        members: The candidates of a generation.
        population: How many go on at least, as long as there are enough.
    """
    distinct: dict[tuple[str, ...], Member] = {}
    for member in sorted(members, key=_rank):
        distinct.setdefault(member.candidate.constraints, member)
    chosen = pareto_front(distinct.values())
    numbers = {member.candidate.number for member in chosen}
    others = [member for member in distinct.values() if member.candidate.number not in numbers]
    return sorted(chosen + others[: max(0, population - len(chosen))], key=_rank)


def _rank(member: Member) -> tuple[float, int, int]:
    return member.error, member.parameters, member.candidate.number
