"""Selection keeps the Pareto front and fills up by validation error."""

import random

import pytest
import torch

from equimorph.search.candidate import Candidate, Member
from equimorph.search.selection import draw, fittest, pareto_front, select


def member(number, error, parameters, constraints=None):
    candidate = Candidate(
        number=number,
        parent=None,
        generation=1,
        move="",
        constraints=constraints or (str(number),),
        parameters=parameters,
        first_epoch=0.0,
        last_epoch=1.0,
        samples=1,
        status="trained",
        validation_loss=0.0,
        validation_error=error,
    )
    return Member(candidate, state=None)


def numbers(members):
    return [m.candidate.number for m in members]


def test_the_front_is_what_no_other_member_beats():
    choose = random.Random(0)
    for _ in range(50):
        members = [member(i, choose.randint(0, 5) / 10, choose.randint(1, 5)) for i in range(8)]
        front = pareto_front(members)
        for one in members:
            beaten = any(
                (o.error, o.parameters) != (one.error, one.parameters)
                and o.error <= one.error
                and o.parameters <= one.parameters
                for o in members
            )
            alike = [o for o in front if (o.error, o.parameters) == (one.error, one.parameters)]
            assert len(alike) == (0 if beaten else 1)
        assert [m.error for m in front] == sorted(m.error for m in front)


def test_a_small_front_is_filled_up_by_error():
    members = [member(0, 0.1, 10), member(1, 0.3, 30), member(2, 0.2, 40), member(3, 0.4, 20)]
    assert numbers(pareto_front(members)) == [0]
    assert numbers(select(members, 3)) == [0, 2, 1]
    assert numbers(select(members, 1)) == [0]
    assert numbers(select(members, 9)) == [0, 2, 1, 3]


def test_a_front_larger_than_the_population_goes_on_as_a_whole():
    members = [member(i, 0.1 * (i + 1), 10 - i) for i in range(4)]
    assert numbers(select(members, 2)) == [0, 1, 2, 3]


def test_of_one_architecture_the_best_stays():
    members = [member(0, 0.2, 5, ("D4",)), member(1, 0.1, 5, ("D4",)), member(2, 0.3, 4, ("C4",))]
    assert numbers(select(members, 3)) == [1, 2]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ties_are_broken_alike_in_any_order(order):
    pair = [member(0, 0.1, 5), member(1, 0.1, 5)]
    assert numbers(pareto_front([pair[i] for i in order])) == [0]


def test_the_fittest_are_those_of_least_error_one_of_each_architecture_whatever_their_size():
    members = [member(0, 0.3, 10, ("a",)), member(1, 0.1, 90, ("b",)), member(2, 0.2, 50, ("b",)), member(3, 0.2, 99)]
    assert numbers(fittest(members, 2)) == [1, 3]
    assert numbers(fittest(members, 9)) == [1, 3, 0]


def test_of_equal_errors_the_smaller_network_is_the_fitter():
    assert numbers(fittest([member(0, 0.1, 20), member(1, 0.1, 10)], 1)) == [1]


def test_drawn_parents_are_of_different_architectures_and_every_one_is_drawn_sometimes():
    members = [member(i, i / 10, 10, (str(i % 3),)) for i in range(6)]
    generator = torch.Generator().manual_seed(0)
    drawn = [numbers(draw(members, 2, generator)) for _ in range(50)]
    assert all(len(set(one)) == 2 and set(one) <= {0, 1, 2} for one in drawn)
    assert {number for one in drawn for number in one} == {0, 1, 2}
