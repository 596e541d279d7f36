"""Shares of the energy, against orthogonal projectors that are made from dense matrices."""

import pytest
import reference
import torch

import equimorph as em
from equimorph.spaces import KernelShape, TiedMixedSpace, TiedSpace, energy_shares, tied

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SIX = ("D4", "C4", "D2@0", "C2", "D1@90", "C1")
TEN = tuple(H.name for H in sorted(D4.subgroups(), key=lambda H: (-H.order, H.indices)))
CASES = [
    *((D4, names, target, source, extents) for names in (SIX, TEN, ("D4", "C1"), ("C4", "D2@45"), ("D1@0", "D1@45"))
      for target, source, extents in (("regular", "trivial", (3, 3)), ("trivial", "regular", ()))),
    (D4, SIX, "regular", "regular", (2, 2)),
    (D4, SIX, "trivial", "trivial", (5, 5)),
    (Z2, ("Z2", "C1"), "regular", "regular", (3,)),
    (OH, ("Oh", "O", "C4v@z", "C3@xyz", "C1"), "regular", "trivial", (2, 2, 2)),
    (OH, ("Td", "C4v@z", "C2@x"), "trivial", "regular", ()),
]  # fmt: skip


def free_space(group, target, source, extents, *, fields=(2, 3), dtype=None):
    return TiedSpace(KernelShape(group, *fields, extents, target, source), group.trivial, dtype=dtype)


def subgroups(group, names):
    return [group.subgroup(name) for name in names]


def dense(space):
    return space.dense_weight().detach().double()


def expected_shares(space, members):
    energies = reference.energies_added(dense(space), members, target=space.shape.target, source=space.shape.source)
    return {H.name: energy / sum(energies) for H, energy in zip(members, energies, strict=True)}


@pytest.mark.parametrize(("group", "names", "target", "source", "extents"), CASES, ids=str)
def test_shares_are_what_each_subgroup_adds_to_the_sum_of_the_fixed_spaces(
    group, names, target, source, extents, dtype
):
    members = subgroups(group, names)
    for start in (group.trivial, *members):
        space = tied.projected(free_space(group, target, source, extents, dtype=dtype), start)
        shares = energy_shares(space, members)
        assert shares == pytest.approx(expected_shares(space, members), abs=1e-6 if dtype == torch.float32 else 1e-12)
        assert list(shares) == list(names) and sum(shares.values()) == pytest.approx(1, abs=1e-12)
        assert all(0 <= share <= 1 for share in shares.values())


@pytest.mark.parametrize("names", [SIX, TEN], ids=len)
def test_a_kernel_that_commutes_with_a_member_gives_nothing_to_the_members_after_it(names, dtype):
    members = subgroups(D4, names)
    for last, H in enumerate(members):
        space = TiedSpace(KernelShape(D4, 2, 3, (3, 3)), H, dtype=dtype)
        shares = list(energy_shares(space, members).values())
        assert sum(shares[: last + 1]) == pytest.approx(1, abs=1e-6) and max(shares[last + 1 :], default=0) < 1e-6
        assert H != D4.whole or shares[0] == pytest.approx(1, abs=1e-6)


def test_a_part_that_only_one_member_has_is_its_own_alone():
    """P_H V less what larger members keep of it: one-hot at C4, D2 and C2, the normal subgroups of the list."""
    members = subgroups(D4, SIX)
    types = {"target": "regular", "source": "trivial"}
    for number, name in ((1, "C4"), (2, "D2@0"), (3, "C2")):
        space = free_space(D4, "regular", "trivial", (3, 3), dtype=torch.float64)
        part = reference.project_kernel(dense(space), D4.subgroup(name), **types)
        for larger in members[:number]:
            part = part - reference.project_kernel(part, larger, **types)
        space.weight.data = part.unflatten(0, (2, 8)).permute(1, 3, 4, 0, 2).reshape(72, 6)
        assert torch.equal(dense(space), part)
        assert energy_shares(space, members) == pytest.approx({other: float(other == name) for other in SIX}, abs=1e-12)


@pytest.mark.parametrize("group", [D4, OH], ids=str)
def test_the_norm_of_a_projection_only_grows_as_the_group_shrinks(group):
    """Why shares are not these norms: a choice by them would always fall on the smallest member."""
    H_list = group.subgroups() if group is D4 else [group.subgroup(name) for name in ("C1", "C3@xyz", "T", "O", "Oh")]
    types = {"target": "regular", "source": "trivial"}
    for start in H_list:
        W = dense(TiedSpace(KernelShape(group, 1, 2, (2,) * group.dim, **types), start, dtype=torch.float64))
        norms = {H: float(reference.project_kernel(W, H, **types).norm()) for H in H_list}
        assert all(norms[K] >= norms[H] - 1e-12 for H in H_list for K in H_list if K <= H)
        assert norms[group.trivial] == pytest.approx(float(W.norm()), rel=1e-14)


def test_shares_of_a_kernel_of_zeros_fall_on_the_largest_member():
    space = free_space(D4, "regular", "regular", (1, 1))
    torch.nn.init.zeros_(space.weight)
    assert energy_shares(space, subgroups(D4, SIX)) == {name: float(name == "D4") for name in SIX}


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_shares_do_not_depend_on_the_scale_of_the_kernel(scale):
    space = free_space(D4, "regular", "trivial", (3, 3))
    before = energy_shares(space, subgroups(D4, SIX))
    space.weight.data *= scale
    assert energy_shares(space, subgroups(D4, SIX)) == pytest.approx(before, rel=1e-5)


def test_weights_of_a_tied_mixture_are_no_shares_and_its_shares_are_those_of_its_kernel():
    members = subgroups(D4, SIX)
    space = TiedMixedSpace(KernelShape(D4, 2, 3, (3, 3)), members, dtype=torch.float64)
    space.logits.data.normal_()
    assert space.shares() == pytest.approx(expected_shares(space, members), abs=1e-12)
    # P_G(W) = P_G(V), whatever z is.
    whole = {"target": "regular", "source": "regular"}
    kept = reference.project_kernel(dense(space), D4.whole, **whole)
    space.logits.data.normal_()
    assert reference.relative_error(reference.project_kernel(dense(space), D4.whole, **whole), kept) < 1e-12
