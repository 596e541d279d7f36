"""The norm that leaves channels where they are is the plain one, which moves those of a coset together."""

import copy
from itertools import product

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import equimorph as em
from equimorph.groups import kernel_orbits
from equimorph.layers import BatchNorm, pooled_norm
from equimorph.layers.pooled_norm import plain_batch_norm, pooled_batch_norm
from equimorph.spaces import dense, is_channels_last
from equimorph.testing import TOLERANCES

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("Cs@x-y", "C3@xyz", "C4v@z", "Oh"))]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")
EPS = 1e-3


def coset_order(H):
    return torch.tensor(kernel_orbits(H, "regular", "trivial", ()).members.reshape(-1))


def random_arguments(H, sides, *, dtype, channels_last=False, fields=2, batch=6):
    """x, weight, bias and the order of the cosets; each channel has a mean and a spread of its own."""
    channels = fields * H.group.order
    spread = (torch.rand(channels) + 0.5).view(-1, *[1] * len(sides))
    x = torch.randn(batch, channels, *sides) * spread + torch.randn(channels).view(spread.shape)
    x = x.to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last if len(sides) == 2 else torch.channels_last_3d)
    parameters = dtype if dtype.itemsize >= 4 else torch.float32
    tables = [torch.randn(len(H.right_cosets()), fields, dtype=parameters) for _ in range(2)]
    return x.requires_grad_(), *(table.requires_grad_() for table in tables), coset_order(H)


def is_ascending(order):
    return bool((order[1:] > order[:-1]).all())


def fast(x, weight, bias, order):
    """Without the question whether it is worth while."""
    return pooled_norm._PooledNorm.apply(x, weight, bias, order, EPS)


def plain(x, weight, bias, order):
    return plain_batch_norm(x, weight, bias, order, EPS)


def shapes_for(H):
    shapes = [(), (3,) * H.group.dim]
    return [*product(shapes, [False]), *([(shapes[1], True)] if H.group.dim > 1 else [])]


def tolerance(dtype):
    return 100 * TOLERANCES[dtype]  # gradients are sums over some hundred positions


@every_subgroup
def test_both_paths_have_the_same_outputs_statistics_and_gradients(H, dtype):
    for sides, channels_last in shapes_for(H):
        *inputs, order = random_arguments(H, sides, dtype=dtype, channels_last=channels_last)
        gradient = torch.randn_like(inputs[0])
        found, expected = fast(*inputs, order), plain(*inputs, order)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype is other.dtype
            torch.testing.assert_close(one, other, rtol=0, atol=tolerance(dtype))
        assert not channels_last or is_channels_last(found[0])
        gradients = [torch.autograd.grad(way[0], inputs, gradient) for way in (found, expected)]
        for one, other in zip(*gradients, strict=True):
            assert one.dtype is dtype
            torch.testing.assert_close(one, other, rtol=0, atol=tolerance(dtype))


@every_subgroup
def test_low_precision_takes_statistics_in_that_of_the_parameters(H):
    """As under automatic mixed precision; compared with float64, of which bfloat16 has two digits."""
    for sides, channels_last in shapes_for(H):
        *inputs, order = random_arguments(H, sides, dtype=torch.bfloat16, channels_last=channels_last)
        exact = [one.detach().double().requires_grad_() for one in inputs]
        gradient = torch.randn_like(inputs[0])
        found, expected = fast(*inputs, order), plain(*exact, order)
        assert [one.dtype for one in found] == [torch.bfloat16, torch.float32, torch.float32]
        torch.testing.assert_close(found[0].double(), expected[0], rtol=0.02, atol=0.02)
        for one, other in zip(found[1:], expected[1:], strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
        gradients = torch.autograd.grad(found[0], inputs, gradient)
        slow = torch.autograd.grad(expected[0], exact, gradient.double())
        assert [one.dtype for one in gradients] == [torch.bfloat16, torch.float32, torch.float32]
        for one, other in zip(gradients, slow, strict=True):
            assert float((one.double() - other).norm() / other.norm()) < 0.02  # measured: 0.004


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_gradients_are_those_of_finite_differences_up_to_the_second(H):
    for sides, channels_last in (((2,), False), ((2, 2), True)):
        *inputs, order = random_arguments(H, sides, dtype=torch.float64, channels_last=channels_last, fields=1, batch=2)

        def normalised(x, weight, bias, order=order):
            return fast(x, weight, bias, order)[0]

        assert gradcheck(normalised, inputs, fast_mode=True)
        assert gradgradcheck(normalised, inputs, fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_second_derivatives_are_those_of_the_plain_path(H):
    *inputs, order = random_arguments(H, (2, 2), dtype=torch.float64)
    gradient = torch.randn_like(inputs[0])
    found = []
    for way in (fast, plain):
        first = torch.autograd.grad(way(*inputs, order)[0], inputs, gradient, create_graph=True)
        found.append(torch.autograd.grad(sum(one.square().sum() for one in first), inputs[:2]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("wanted", list(product([False, True], repeat=3))[1:], ids=str)
@pytest.mark.parametrize("create_graph", [False, True], ids=["first", "second"])
def test_only_what_is_wanted_gets_a_gradient(wanted, create_graph, dtype):
    *inputs, order = random_arguments(D4.subgroup("D1"), (3, 3), dtype=dtype, channels_last=True)
    expected = torch.autograd.grad(plain(*inputs, order)[0].square().sum(), inputs)
    for one, needed in zip(inputs, wanted, strict=True):
        one.requires_grad_(needed)
    asked = [one for one, needed in zip(inputs, wanted, strict=True) if needed]
    loss = fast(*inputs, order)[0].square().sum()
    found = iter(torch.autograd.grad(loss, asked, create_graph=create_graph))
    for gradient, needed in zip(expected, wanted, strict=True):
        if needed:
            torch.testing.assert_close(next(found), gradient, rtol=0, atol=tolerance(dtype) * 10)


def test_statistics_have_no_gradient():
    *inputs, order = random_arguments(D4.subgroup("D1"), (3, 3), dtype=torch.float64)
    for way in (fast, lambda *arguments: pooled_batch_norm(*arguments, EPS, side_by_side=False)):
        y, mean, var = way(*inputs, order)
        assert y.requires_grad and not mean.requires_grad and not var.requires_grad


def test_an_input_is_never_changed():
    *inputs, order = random_arguments(D4.subgroup("D1"), (3, 3), dtype=torch.float64, channels_last=True)
    gradient = torch.randn_like(inputs[0])
    before = [one.detach().clone() for one in (*inputs, gradient)]
    torch.autograd.grad(fast(*inputs, order)[0], inputs, gradient)
    assert all(map(torch.equal, (*inputs, gradient), before))


@every_subgroup
def test_layers_keep_the_same_statistics_on_both_paths(H, dtype, monkeypatch):
    norm = BatchNorm(2, group=H.group, subgroup=H, momentum=0.3, eps=EPS, dtype=dtype)
    other = copy.deepcopy(norm)
    for sides, channels_last in shapes_for(H):
        x, *_ = random_arguments(H, sides, dtype=dtype, channels_last=channels_last)
        y = norm(x)
        with monkeypatch.context() as patch:
            patch.setattr(dense, "_FAST_DEVICES", ())
            torch.testing.assert_close(other(x), y, rtol=0, atol=tolerance(dtype))
        for name, table in norm.state_dict().items():
            torch.testing.assert_close(table, other.state_dict()[name], rtol=0, atol=tolerance(dtype))


def test_the_fast_path_is_taken_where_cosets_are_apart_or_channels_last(monkeypatch):
    taken = []
    apply = pooled_norm._PooledNorm.apply
    monkeypatch.setattr(pooled_norm._PooledNorm, "apply", lambda *args: taken.append(True) or apply(*args))
    ways = {}
    for H, channels_last in product(D4.subgroups(), (False, True)):
        x, *_ = random_arguments(H, (3, 3), dtype=torch.float32, channels_last=channels_last)
        taken.clear()
        BatchNorm(2, group="D4", subgroup=H)(x)
        ways[H.name, channels_last] = bool(taken)
        assert bool(taken) == (H.order > 1 and (channels_last or not is_ascending(coset_order(H))))
    assert ways["D1@90", False] and ways["D4", True] and not ways["D4", False] and not ways["C1", True]
