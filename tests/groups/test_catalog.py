import pytest

import equimorph as em
from equimorph.errors import GroupError


@pytest.mark.parametrize(
    ("name", "dim", "order"),
    [
        ("C1", 2, 1),
        ("C2", 2, 2),
        ("C4", 2, 4),
        ("D1", 2, 2),
        ("D2", 2, 4),
        ("D4", 2, 8),
        ("Z2", 1, 2),
        ("O", 3, 24),
        ("Oh", 3, 48),
        ("C4@z", 3, 4),
        ("C4v@z", 3, 8),
        ("C3@xyz", 3, 3),
    ],
)
def test_name_alone_finds_the_group_in_its_lowest_usual_dimension(name, dim, order):
    assert (em.group(name).dim, em.group(name).order) == (dim, order)


def test_group_of_one_name_is_made_once():
    assert em.group("D4") is em.group("D4") and em.group("D1") is em.group("D1@90")


def test_search_groups_of_d4_are_one_of_each_kind_smallest_first():
    assert [H.name for H in em.search_groups("D4")] == ["C1", "C2", "D1@90", "C4", "D2@0", "D4"]
    assert all(H.group == em.group("D4") for H in em.search_groups("D4"))


@pytest.mark.parametrize(
    ("ambient", "names"),
    [
        (em.group("Z2"), ["C1", "Z2"]),
        (em.group("C4"), ["C1", "C2", "C4"]),
        (em.group("D1@45"), ["C1", "D1@45"]),
        (em.group("O"), ["C1", "C2@z", "C4@z", "D4@z", "O"]),
        (em.group("Oh"), ["C1", "C2@z", "C4@z", "C2v@z", "D4@z", "C4v@z", "D4h@z", "O", "Oh"]),
    ],
    ids=lambda value: str(value) if not isinstance(value, list) else "",
)
def test_search_groups_begin_with_nothing_and_end_with_everything(ambient, names):
    found = em.search_groups(ambient)
    assert sorted(H.name for H in found) == sorted(names)
    assert found[0] == ambient.trivial and found[-1] == ambient.whole
    assert [H.order for H in found] == sorted(H.order for H in found)


def test_unknown_group_is_refused_with_those_there_are():
    with pytest.raises(GroupError, match=r'no group "D5"; there are in 2-D C1, C2, C4, D1, D2, D4; in 1-D'):
        em.group("D5")
    with pytest.raises(GroupError, match=r'no group "Oh"; there are in 2-D C1, C2, C4, D1, D2, D4\.'):
        em.group("Oh", dim=2)


@pytest.mark.parametrize("dim", [0, 4])
def test_dimensions_other_than_one_to_three_are_refused(dim):
    with pytest.raises(GroupError, match=f"dim is 1, 2 or 3, got {dim}"):
        em.group("C1", dim=dim)
