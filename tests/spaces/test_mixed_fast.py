"""A mixture's tables lie one behind the other in memory, and nothing but speed depends on that."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.autograd import gradcheck

import equimorph as em
from equimorph.groups import kernel_orbits
from equimorph.layers import Conv2d
from equimorph.spaces.mixed_expansion import MixedExpansion, MixedProjection, put_together
from equimorph.testing import TOLERANCES

D4, OH = em.group("D4"), em.group("Oh")
NAMES = ["C1", "C4", "D1@45", "D4"]
KERNELS = {
    "image to image": (D4, NAMES, "trivial", "trivial", (3, 3)),  # ragged orbits
    "lift": (D4, NAMES, "regular", "trivial", (2, 2)),
    "head": (D4, NAMES, "trivial", "regular", ()),
    "regular": (D4, NAMES, "regular", "regular", (1, 1)),
    "two members": (D4, ["C1", "D4"], "trivial", "trivial", (3, 3)),
    "one member": (D4, ["D2@0"], "regular", "trivial", (1, 1)),
    "volume": (OH, ["C3@xyz", "Oh"], "trivial", "trivial", (3, 3, 3)),
}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def mixture(**options):
    return em.mix(Conv2d(2, 2, 3, group="D4", **options), NAMES)


def network():
    sizes = {"image_size": 8, "in_channels": 1, "num_classes": 3, "fields": (1, 2), "depth": 2, "kernel_size": 3}
    return em.mix(em.models.PaperNetwork(group="D4", head_units=4, **sizes), ["C1", "D1", "D4"])


def lie_together(tables):
    """Whether each table begins where the one before it ends, in one storage, row after row."""
    ends = [table.data_ptr() + table.nbytes for table in tables]
    follow = [table.data_ptr() for table in tables][1:] == ends[:-1]
    one_storage = len({table.untyped_storage().data_ptr() for table in tables}) == 1
    return follow and one_storage and all(table.is_contiguous() for table in tables)


def kernel_and_gradients(layer):
    """The dense kernel, and the gradients of every parameter for a fixed gradient of kernel and bias."""
    weight, bias = layer.dense_weight(), layer.dense_bias()
    steady = torch.Generator().manual_seed(3)
    towards = torch.randn(weight.shape, generator=steady, dtype=torch.float64).to(weight.dtype)
    loss = (weight * towards).sum() + (bias * towards[:, 0, 0, 0]).sum()
    wanted = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    return [weight.detach(), *torch.autograd.grad(loss, wanted)]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=10 * TOLERANCES[one.dtype])


def members_of(kernel):
    group, names, target, source, extents = kernel
    return [kernel_orbits(group.subgroup(name), target, source, extents) for name in names]


def random_tables(members, columns=2):
    return [torch.randn(one.num_orbits, columns, dtype=torch.float64, requires_grad=True) for one in members]


def random_numbers(count, positive=False):
    numbers = torch.rand(count, dtype=torch.float64) + 0.5 if positive else torch.randn(count, dtype=torch.float64)
    return numbers.requires_grad_(not positive)


def test_tables_lie_together_after_construction_and_conversion(dtype):
    layer = mixture(dtype=dtype)
    assert lie_together(list(layer.space.weights))
    for convert in (nn.Module.double, nn.Module.half, nn.Module.float):
        assert lie_together(list(convert(layer).space.weights))
    assert all(lie_together(list(site.layer.space.weights)) for site in em.layers.sites_of(network()).values())


def test_putting_together_keeps_values_and_parameters():
    tables = [nn.Parameter(torch.randn(rows, 3)) for rows in (2, 1, 4)]
    before = [table.detach().clone() for table in tables]
    tables[0].grad = torch.ones(2, 3)
    same = list(map(id, tables))
    put_together(tables)
    assert lie_together(tables) and list(map(id, tables)) == same and tables[0].grad.sum() == 6
    assert all(map(torch.equal, tables, before))
    put_together(tables)
    assert lie_together(tables) and all(map(torch.equal, tables, before))


def test_optimizers_see_the_same_parameters_after_a_conversion():
    layer = mixture()
    parameters = list(layer.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    layer.to(torch.float64)
    assert all(one is other for one, other in zip(layer.parameters(), parameters, strict=True))
    before = layer.dense_weight().detach()
    layer(torch.randn(2, 16, 5, 5, dtype=torch.float64)).square().mean().backward()
    optimizer.step()
    assert not torch.equal(layer.dense_weight(), before) and lie_together(list(layer.space.weights))


def separated(layer):
    """Copies of a layer whose tables are no longer one behind the other, by everything that does that to them."""
    yield "copied", copy.deepcopy(layer)
    assigned = copy.deepcopy(layer)
    assigned.load_state_dict({name: table.clone() for name, table in layer.state_dict().items()}, assign=True)
    yield "assigned", assigned
    replaced = copy.deepcopy(layer)
    put_together(list(replaced.space.weights))
    replaced.space.weights[1] = nn.Parameter(layer.space.weights[1].detach().clone())
    yield "replaced", replaced
    strided = copy.deepcopy(layer)
    put_together(list(strided.space.weights))
    for table in strided.space.weights:
        columns_first = table.data.T.clone()
        table.data = table.data.view(columns_first.shape).copy_(columns_first).T
    yield "strided", strided
    swapped = copy.deepcopy(layer)
    put_together([swapped.space.weights[i] for i in (3, 1, 2, 0)])
    yield "swapped", swapped
    with_gap = copy.deepcopy(layer)
    gap = nn.Parameter(torch.full_like(layer.space.weights[0], 100.0))
    put_together([with_gap.space.weights[0], with_gap.space.weights[1], gap, *with_gap.space.weights[2:]])
    yield "with a gap", with_gap


def test_separated_tables_give_the_same_kernel_and_gradients(dtype):
    layer = mixture(dtype=dtype)
    torch.nn.init.normal_(layer.space.logits)
    expected, x = kernel_and_gradients(layer), torch.randn(1, 16, 5, 5, dtype=dtype)
    for how, other in separated(layer):
        assert not lie_together(list(other.space.weights)), how
        assert torch.equal(other(x), layer(x)), how
        assert_same(kernel_and_gradients(other), expected)
        assert lie_together(list(other.to(x.device).space.weights)), how
        assert_same(kernel_and_gradients(other), expected)


def test_a_step_of_an_optimizer_is_the_same_for_separated_tables():
    layer = mixture(dtype=torch.float64)
    x = torch.randn(2, 16, 5, 5, dtype=torch.float64)
    stepped = []
    for one in (copy.deepcopy(layer), copy.deepcopy(layer).to("cpu")):
        optimizer = torch.optim.Adam(one.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            one(x).square().mean().backward()
            optimizer.step()
        stepped.append(one.dense_weight())
    torch.testing.assert_close(*stepped, rtol=0, atol=1e-12)


def test_networks_of_mixtures_go_through_a_safetensors_file(tmp_path):
    one, other = network().eval(), network().eval()
    save_file(one.state_dict(), tmp_path / "mixture.safetensors")
    state = load_file(tmp_path / "mixture.safetensors")
    assert {name: table.numel() for name, table in state.items()} == {
        name: table.numel() for name, table in one.state_dict().items()
    }
    other.load_state_dict(state)
    assigned = network().eval()
    assigned.load_state_dict(state, assign=True)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(other(x), one(x)) and torch.equal(assigned(x), one(x))


# The gradients of the two sums.


@every_kernel
@pytest.mark.parametrize("with_norms", [False, True], ids=["plain", "norms"])
def test_gradients_of_the_sum_of_expansions_are_those_of_finite_differences(kernel, with_norms):
    members = members_of(kernel)
    tables, expand = random_tables(members), MixedExpansion(members)
    norms = random_numbers(len(members), positive=True) if with_norms else None
    scales = random_numbers(len(members))
    zero = scales.detach().clone().index_fill_(0, torch.tensor(0), 0.0).requires_grad_()
    for factors in (scales, zero):  # a scale of exactly zero still has a gradient
        assert gradcheck(lambda scales, *tables: expand(tables, scales, norms), (factors, *tables), fast_mode=True)


@every_kernel
def test_gradients_of_the_sum_of_projections_are_those_of_finite_differences(kernel):
    group, names, target, source, extents = kernel
    project = MixedProjection([group.subgroup(name) for name in names], target, source, extents)
    rows = torch.randn(len(members_of(kernel)[0].index), 2, dtype=torch.float64, requires_grad=True)
    scales = random_numbers(len(names))
    for factors in (scales, torch.zeros_like(scales).requires_grad_()):
        assert gradcheck(project, (rows, factors), fast_mode=True)


def test_a_scale_of_zero_has_the_members_share_of_the_gradient_and_its_table_none():
    members = members_of(KERNELS["lift"])
    tables, expand = random_tables(members), MixedExpansion(members)
    scales = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(len(members[0].index), 2, dtype=torch.float64)
    found = torch.autograd.grad(expand(tables, scales), (scales, *tables), gradient)
    alone = tables[0].detach()[torch.tensor(members[0].index)]
    torch.testing.assert_close(found[0][0], (alone * gradient).sum())
    assert not found[1].any() and found[2].any()


@pytest.mark.parametrize("with_norms", [False, True], ids=["plain", "norms"])
def test_frozen_scales_and_tables_take_nothing_from_the_others(with_norms):
    members = members_of(KERNELS["image to image"])
    tables, scales = random_tables(members), random_numbers(len(members))
    norms = random_numbers(len(members), positive=True) if with_norms else None
    expand = MixedExpansion(members)
    inputs = [scales, *tables]
    expected = torch.autograd.grad(expand(tables, scales, norms).square().sum(), inputs)
    for frozen in ([0], [1], [1, 3], list(range(1, len(inputs)))):
        for i, tensor in enumerate(inputs):
            tensor.requires_grad_(i not in frozen)
            tensor.grad = None
        expand(tables, scales, norms).square().sum().backward()
        for i, tensor in enumerate(inputs):
            if i in frozen:
                assert tensor.grad is None
            else:
                torch.testing.assert_close(tensor.grad, expected[i], rtol=1e-12, atol=1e-12)


def test_frozen_scales_and_rows_of_projections_have_no_gradient():
    project = MixedProjection([D4.subgroup(name) for name in NAMES], "regular", "trivial", (3, 3))
    rows = torch.randn(72, 2, dtype=torch.float64, requires_grad=True)
    scales = random_numbers(len(NAMES))
    expected = torch.autograd.grad(project(rows, scales).square().sum(), (rows, scales))
    for frozen, other, gradient in ((rows, scales, expected[1]), (scales, rows, expected[0])):
        frozen.grad = other.grad = None
        project(*(one.detach() if one is frozen else one for one in (rows, scales))).square().sum().backward()
        assert frozen.grad is None
        torch.testing.assert_close(other.grad, gradient)
