import numpy as np
import pytest
import reference

import equimorph as em
from equimorph.errors import GroupError, ShapeError
from equimorph.groups import kernel_images, kernel_orbits

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
VOLUME_SAMPLE = [OH.subgroup(name) for name in ("C1", "Ci", "Cs@x-y", "C2@yz", "C3@xyz", "C4v@z", "D2d@y", "T", "Oh")]
TYPES = [("trivial", "trivial"), ("regular", "trivial"), ("trivial", "regular"), ("regular", "regular")]
every_type = pytest.mark.parametrize(("target", "source"), TYPES, ids=lambda value: value)


def assert_same_orbits(H, target, source, kernel_size):
    found = kernel_orbits(H, target, source, kernel_size)
    expected = reference.orbits(H, target, source, kernel_size)
    num_entries = found.index.size

    def triples(members):
        g, u, *offset = np.unravel_index(members, found.shape)
        return frozenset(
            zip(
                g.tolist(),
                u.tolist(),
                zip(*(axis.tolist() for axis in offset), strict=True) if offset else [()] * len(g),
                strict=True,
            )
        )

    listed = [members[members < num_entries] for members in found.members]
    assert {triples(members) for members in listed} == expected and found.num_orbits == len(expected)
    assert found.sizes.tolist() == [len(members) for members in listed] and found.sizes.sum() == num_entries
    assert all((found.index[members] == orbit).all() for orbit, members in enumerate(listed))
    assert found.representatives.tolist() == sorted(members.min() for members in listed)
    assert found.mean_size == num_entries / len(expected)


@every_type
@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_orbits_on_images_are_what_union_and_find_joins(H, target, source):
    for kernel_size in ((), (2, 2), (3, 3)):
        assert_same_orbits(H, target, source, kernel_size)


@pytest.mark.parametrize(("target", "source"), TYPES[:3], ids=lambda value: value)
@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_orbits_on_wide_kernels_are_what_union_and_find_joins(H, target, source):
    assert_same_orbits(H, target, source, (5, 5))


def test_orbits_of_group_convolutions_on_wide_kernels_are_what_union_and_find_joins():
    assert_same_orbits(D4.whole, "regular", "regular", (5, 5))


@every_type
@pytest.mark.parametrize("H", Z2.subgroups(), ids=str)
def test_orbits_on_signals_are_what_union_and_find_joins(H, target, source):
    for kernel_size in ((), (4,), (5,)):
        assert_same_orbits(H, target, source, kernel_size)


@pytest.mark.parametrize(
    ("target", "source", "kernel_size"),
    [
        ("regular", "trivial", (3, 3, 3)),
        ("trivial", "trivial", (3, 3, 3)),
        ("trivial", "regular", (2, 2, 2)),
        ("regular", "regular", ()),
    ],
    ids=str,
)
@pytest.mark.parametrize("H", VOLUME_SAMPLE, ids=str)
def test_orbits_on_volumes_are_what_union_and_find_joins(H, target, source, kernel_size):
    assert_same_orbits(H, target, source, kernel_size)


@pytest.mark.parametrize(("name", "count"), [("C1", 25), ("C4", 7), ("D4", 6)])
def test_orbits_of_an_invariant_filter_are_as_many_as_known(name, count):
    assert kernel_orbits(D4.subgroup(name), "trivial", "trivial", (5, 5)).num_orbits == count


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_orbits_are_free_wherever_a_feature_is_regular(H):
    for target, source in TYPES[1:]:
        for kernel_size in ((), (2, 2), (5, 5)):
            assert (kernel_orbits(H, target, source, kernel_size).sizes == H.order).all()


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_orbits_of_a_bias_are_the_right_cosets(H):
    assert np.array_equal(kernel_orbits(H, "regular", "trivial", ()).members, H.right_cosets())
    assert kernel_orbits(H, "trivial", "trivial", ()).num_orbits == 1


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_rectangular_kernels_are_refused_exactly_where_axes_are_exchanged(H):
    if (H.elements[:, 0, 1] != 0).any():
        with pytest.raises(ShapeError, match=r"\(3, 5\): .* exchanges its axes"):
            kernel_orbits(H, "regular", "trivial", (3, 5))
    else:
        assert_same_orbits(H, "regular", "trivial", (3, 5))


def test_rectangular_kernels_are_kept_by_the_two_upright_mirrors():
    assert kernel_orbits(D4.subgroup("D2@0"), "trivial", "trivial", (3, 5)).num_orbits == 2 * 3


def test_kernels_of_another_dimension_are_refused():
    with pytest.raises(ShapeError, match=r"D4 needs 2 kernel extents, got \(3,\)"):
        kernel_orbits(D4.whole, "regular", "regular", (3,))


def test_unknown_types_of_feature_are_refused():
    with pytest.raises(GroupError, match=r"\"regular\" or \"trivial\", got 'vector'"):
        kernel_orbits(D4.whole, "regular", "vector", ())


@every_type
@pytest.mark.parametrize("group", [Z2, D4], ids=str)
def test_images_of_kernel_indices_compose_as_the_group_does(group, target, source):
    for extents in ((), (2,) * group.dim, (3,) * group.dim):
        images = kernel_images(group.whole, target, source, extents)
        for h, one in enumerate(group.elements):
            for k, other in enumerate(group.elements):
                product = (group.elements == one @ other).all((1, 2)).argmax()
                assert np.array_equal(images[h][images[k]], images[product])


def test_images_of_kernel_indices_of_volumes_compose_as_the_group_does():
    for target, source, extents in (("regular", "regular", ()), ("trivial", "trivial", (3, 3, 3))):
        images = kernel_images(OH.whole, target, source, extents)
        for h, one in enumerate(OH.elements):
            for k, other in enumerate(OH.elements):
                product = (OH.elements == one @ other).all((1, 2)).argmax()
                assert np.array_equal(images[h][images[k]], images[product])


@every_type
@pytest.mark.parametrize("H", [*Z2.subgroups(), *D4.subgroups(), *VOLUME_SAMPLE], ids=lambda H: f"{H}-{H.group}")
def test_images_of_kernel_indices_are_where_each_element_takes_them(H, target, source):
    extents = (2,) * H.group.dim
    images = kernel_images(H, target, source, extents)
    assert len(images) == H.order
    for row, h in zip(images, H.indices, strict=True):
        assert row.tolist() == reference.triple_images(H.group, h, target, source, extents).tolist()
