import copy

import pytest
import reference
import torch

import equimorph as em
from equimorph.groups import kernel_orbits
from equimorph.spaces import Expansion
from equimorph.testing import TOLERANCES

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("C3@xyz", "C4v@z", "Oh"))]
TYPES = [("trivial", "trivial"), ("regular", "trivial"), ("trivial", "regular")]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")


def expansions_of(H, extent=3):
    for target, source in TYPES:
        yield Expansion(kernel_orbits(H, target, source, (extent,) * H.group.dim))


def project(expansion, rows):
    return expansion(expansion.mean_over_orbits(rows))


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_gradients_of_the_expansion_and_its_transpose_are_right_to_second_order(H):
    for target, source, kernel_size in (
        ("trivial", "trivial", (3, 3)),
        ("regular", "trivial", (1, 1)),
        ("trivial", "regular", ()),
    ):
        expansion = Expansion(kernel_orbits(H, target, source, kernel_size))
        orbits = expansion.orbits
        table = torch.randn(orbits.num_orbits, 2, dtype=torch.float64, requires_grad=True)
        rows = torch.randn(len(orbits.index), 2, dtype=torch.float64, requires_grad=True)
        for function, argument in ((expansion, table), (expansion.sum_over_orbits, rows)):
            assert torch.autograd.gradcheck(function, argument)
            assert torch.autograd.gradgradcheck(function, argument)


@every_subgroup
def test_expansion_copies_one_row_of_the_table_to_each_member_of_its_orbit(H, dtype):
    for expansion in expansions_of(H):
        table = torch.randn(expansion.orbits.num_orbits, 2, dtype=dtype)
        rows = expansion(table)
        for orbit, members in enumerate(expansion.orbits.members):
            for member in members[: expansion.orbits.sizes[orbit]]:
                assert torch.equal(rows[member], table[orbit])


@every_subgroup
def test_summing_over_orbits_is_the_transpose_of_the_expansion(H, dtype):
    for expansion in expansions_of(H):
        table = torch.randn(expansion.orbits.num_orbits, 3, dtype=dtype)
        rows = torch.randn(len(expansion.orbits.index), 3, dtype=dtype)
        expanded, summed = (expansion(table) * rows).sum(), (table * expansion.sum_over_orbits(rows)).sum()
        torch.testing.assert_close(expanded, summed, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * len(rows))


@every_subgroup
def test_representatives_read_the_expanded_table_back_bit_for_bit(H, dtype):
    for expansion in expansions_of(H):
        table = torch.randn(expansion.orbits.num_orbits, 3, dtype=dtype)
        assert torch.equal(expansion.representatives(expansion(table)), table)


@every_subgroup
def test_projection_of_a_projected_kernel_is_itself(H, dtype):
    for expansion in expansions_of(H):
        rows = torch.randn(len(expansion.orbits.index), 3, dtype=dtype)
        once = project(expansion, rows)
        torch.testing.assert_close(project(expansion, once), once, rtol=TOLERANCES[dtype], atol=0)


def test_projections_onto_two_subgroups_of_one_chain_give_the_larger_groups(dtype):
    for K in D4.subgroups():
        for H in D4.subgroups():
            if H <= K:
                for inner, outer in zip(expansions_of(H), expansions_of(K), strict=True):
                    rows = torch.randn(len(inner.orbits.index), 2, dtype=dtype)
                    nearest = project(outer, rows)
                    close = {"rtol": TOLERANCES[dtype], "atol": TOLERANCES[dtype]}
                    torch.testing.assert_close(project(inner, nearest), nearest, **close)
                    torch.testing.assert_close(project(outer, project(inner, rows)), nearest, **close)


@every_subgroup
def test_projection_is_the_average_over_the_moved_kernels(H, dtype):
    extents = (3,) * H.group.dim
    for (target, source), expansion in zip(TYPES, expansions_of(H), strict=True):
        num_out, num_in = expansion.orbits.shape[:2]
        rows = torch.randn(len(expansion.orbits.index), 1, dtype=dtype)
        expected = reference.project_kernel(rows.view(num_out, num_in, *extents), H, source=source, target=target)
        found = project(expansion, rows).view(expected.shape)
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCES[dtype])


def test_index_tables_are_no_state_and_survive_a_copy():
    expansion = Expansion(kernel_orbits(D4.subgroup("C4"), "trivial", "trivial", (5, 5)))
    assert not expansion.state_dict() and not list(expansion.parameters())
    table = torch.randn(7, 2)
    assert torch.equal(copy.deepcopy(expansion)(table), expansion(table))
    assert expansion.to(torch.float64).index.dtype == torch.int64


def test_gradients_per_sample_agree_with_a_loop(dtype):
    expansion = Expansion(kernel_orbits(D4.whole, "trivial", "trivial", (5, 5)))
    table, samples = torch.randn(6, 2, dtype=dtype), torch.randn(4, 25, 2, dtype=dtype)

    def loss(table, sample):
        return (expansion(table) * sample).square().sum()

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(table, samples)
    for gradient, sample in zip(gradients, samples, strict=True):
        torch.testing.assert_close(gradient, torch.func.grad(loss)(table, sample))
