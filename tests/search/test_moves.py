"""Moves lead from one admissible chain to freer admissible chains, and to all that they should."""

import itertools

import pytest

import equimorph as em
from equimorph.search.moves import one_step_relaxations, relaxations, tail_relaxations

D4 = em.group("D4")
SIX = em.search_groups(D4)


def chains(members, length):
    for chain in itertools.product(members, repeat=length):
        if all(later <= earlier for earlier, later in itertools.pairwise(chain)):
            yield chain


@pytest.mark.parametrize("members", [SIX, D4.subgroups(), tuple(map(D4.subgroup, ("C1", "C4", "D4")))])
def test_moves_are_admissible_and_freer(members):
    for chain in chains(members, 3):
        for moved in relaxations(chain, members, "tails"):
            assert moved != chain
            assert all(K <= H for H, K in zip(chain, moved, strict=True))
            assert all(later <= earlier for earlier, later in itertools.pairwise(moved))
            assert set(moved) <= set(members)


def test_one_step_moves_are_those_of_the_paper():
    for chain in chains(SIX, 3):
        expected = {(*chain[:2], H) for H in SIX if H < chain[2]}
        expected |= {(chain[1], *chain[1:])} if chain[1] < chain[0] else set()
        expected |= {(chain[0], chain[2], chain[2])} if chain[2] < chain[1] else set()
        assert set(one_step_relaxations(chain, SIX)) == expected


def test_tail_moves_cut_every_tail_with_every_member():
    for chain in chains(SIX, 3):
        expected = {(*chain[:i], *(K & H for K in chain[i:])) for i in range(3) for H in SIX} - {chain}
        # D2 & C4 and the like lie in the six again; a cut that leaves the first site of the tail as it is belongs to
        # a shorter tail.
        assert set(tail_relaxations(chain, SIX)) == expected


def test_a_cut_that_leads_out_of_the_members_is_no_move():
    C4, D1 = D4.subgroup("C4"), D4.subgroup("D1")
    members = (D1, C4, D4.whole)
    assert list(tail_relaxations((D4.whole, C4), members)) == [(C4, C4)]


def test_every_chain_is_reached_from_the_start_by_the_moves_of_the_paper():
    reached, frontier = set(), [(D4.whole,) * 3]
    while frontier:
        chain = frontier.pop()
        if chain not in reached:
            reached.add(chain)
            frontier += one_step_relaxations(chain, SIX)
    assert reached == set(chains(SIX, 3))


def test_moves_say_in_words_what_they_do():
    C1, C4 = D4.subgroup("C1"), D4.subgroup("C4")
    moves = relaxations((D4.whole, D4.whole, C4), (C1, C4, D4.whole), "tails")
    assert moves[C4, C4, C4] == "all sites to C4"
    assert moves[D4.whole, C4, C4] == "sites 2 to 3 to C4"
    assert moves[D4.whole, D4.whole, C1] == "site 3 to C1"
    assert len(relaxations((D4.whole,) * 3, (C4, D4.whole), "paper")) == 1
