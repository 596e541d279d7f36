import re

import numpy as np
import pytest

import equimorph as em

GRID_GROUPS = [em.group("Z2"), em.group("D4"), em.group("Oh")]
every_grid_group = pytest.mark.parametrize("group", GRID_GROUPS, ids=str)
D4, OH = GRID_GROUPS[1:]


def test_the_ten_subgroups_of_d4_have_their_names():
    names = {"C1", "C2", "C4", "D1@0", "D1@45", "D1@90", "D1@135", "D2@0", "D2@45", "D4"}
    assert {H.name for H in D4.subgroups()} == names


@every_grid_group
def test_every_subgroup_has_its_own_name_which_is_parsed_back(group):
    names = [H.name for H in group.subgroups()]
    assert len(set(names)) == len(names)
    for H in group.subgroups():
        assert group.subgroup(H.name) == H
        found = em.group(H.name, dim=group.dim)
        assert found.name == H.name and np.array_equal(np.sort(found.elements, 0), np.sort(H.elements, 0))


@every_grid_group
def test_a_subgroup_keeps_its_name_as_a_group_of_its_own(group):
    for H in group.subgroups():
        alone = em.group(H.name, dim=group.dim)
        assert alone.whole.name == alone.name == H.name
        assert {K.name for K in alone.subgroups()} == {K.name for K in group.subgroups() if K <= H}


@pytest.mark.parametrize(
    ("short", "dim", "name"),
    [
        ("D1", 2, "D1@90"),
        ("D2", 2, "D2@0"),
        ("C2", 2, "C2"),
        ("C2", 3, "C2@z"),
        ("C4", 3, "C4@z"),
        ("D4", 3, "D4@z"),
        ("C4v", 3, "C4v@z"),
        ("D4h", 3, "D4h@z"),
        ("Cs", 3, "Cs@z"),
        ("O", 3, "O"),
        ("Ci", 3, "Ci"),
        ("C1", 1, "C1"),
    ],
)
def test_short_names_mean_the_upright_axis(short, dim, name):
    assert em.group(short, dim=dim).name == name
    assert GRID_GROUPS[dim - 1].subgroup(short).name == name


@pytest.mark.parametrize(
    ("name", "mirror"),
    [
        ("D1@0", [[-1, 0], [0, 1]]),  # the mirror axis lies flat, so rows change places
        ("D1@90", [[1, 0], [0, -1]]),
        ("D1@135", [[0, 1], [1, 0]]),  # from the top left to the bottom right, as the diagonal of a matrix
        ("D1@45", [[0, -1], [-1, 0]]),
    ],
)
def test_angle_of_a_mirror_is_that_of_its_axis(name, mirror):
    assert D4.subgroup(name).elements.tolist() == [[[1, 0], [0, 1]], mirror]


@pytest.mark.parametrize(("name", "parts"), [("D2@0", ("D1@0", "D1@90")), ("D2@45", ("D1@45", "D1@135"))])
def test_angle_of_two_mirrors_is_the_smaller(name, parts):
    assert all(D4.subgroup(part) <= D4.subgroup(name) for part in parts)


@pytest.mark.parametrize("H", OH.subgroups(), ids=str)
def test_symbol_in_three_dimensions_tells_the_order(H):
    fixed = {"Ci": 2, "Cs": 2, "T": 12, "Td": 24, "Th": 24, "O": 24, "Oh": 48}
    symbol = H.name.split("@")[0]
    if symbol in fixed:
        assert H.order == fixed[symbol]
        return
    family, fold, kind = re.fullmatch(r"([CDS])(\d)([vhd]?)", symbol).groups()
    doublings = (family == "D") + (kind != "")
    assert H.order == int(fold) * 2**doublings
    proper = family in "CD" and not kind
    assert (np.linalg.det(H.elements) > 0).all() == proper


@pytest.mark.parametrize("H", [H for H in OH.subgroups() if "@" in H.name], ids=str)
def test_axis_in_three_dimensions_is_kept_by_every_element(H):
    symbol, label = H.name.split("@")
    principal = label.split("+")[0]
    axis = np.array([(letter in principal) - 2 * (f"-{letter}" in principal) for letter in "xyz"])
    images = H.elements @ axis
    assert all(np.array_equal(abs(image @ axis), axis @ axis) for image in images)  # kept or turned round
    if symbol in ("C2", "C3", "C4", "C2v", "C3v", "C4v"):
        assert (images == axis).all()
    if symbol == "Cs":
        assert images[1].tolist() == (-axis).tolist()  # the axis of a mirror is its normal


@pytest.mark.parametrize("name", ["D2@z+xy", "D2h@z+xy", "D2d@z+xy", "C2v@z+xy"])
def test_second_direction_names_a_two_fold_axis_or_the_normal_of_a_mirror(name):
    sign = -1 if name.startswith("C2v") else 1
    about = [
        matrix
        for matrix in OH.subgroup(name).elements
        if np.linalg.det(matrix).round() == sign and np.array_equal(matrix @ [1, 1, 0], [sign, sign, 0])
    ]
    assert any(np.trace(matrix) == -sign for matrix in about)


def test_rotations_about_z_keep_the_last_axis():
    turn = OH.subgroup("C4@z").elements
    assert (turn[:, 2] == [0, 0, 1]).all() and (turn[:, :, 2] == [0, 0, 1]).all()
    assert [[1, 0, 0], [0, 1, 0], [0, 0, -1]] in OH.subgroup("Cs@z").elements.tolist()
    assert [[-1, 0, 0], [0, 1, 0], [0, 0, 1]] in OH.subgroup("C4v@z").elements.tolist()
    assert (np.linalg.det(OH.subgroup("D4@z").elements) > 0).all()
