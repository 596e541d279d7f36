"""An equivariant kernel and a free one on top, each under a Gaussian prior."""

import math

import pytest
import reference
import torch
from torch.optim import SGD, Adam, AdamW

import equimorph as em
from equimorph.errors import ConfigurationError, MorphismError
from equimorph.layers import Conv1d, Conv2d, Linear
from equimorph.spaces import KernelShape, MixedSpace, ResidualSpace, TiedSpace
from equimorph.testing import TOLERANCES

Z2, D4 = em.group("Z2"), em.group("D4")
TYPES = [("regular", "trivial"), ("regular", "regular"), ("trivial", "regular"), ("trivial", "trivial")]
every_type = pytest.mark.parametrize(("target", "source"), TYPES, ids=lambda value: value)
PENALTIES = {"equivariant_penalty": 0.03, "residual_penalty": 0.7}


@torch.no_grad()
def random_space(target="regular", source="regular", extents=(3, 3), *, fields=(2, 3), group=D4, bias=True, **options):
    options = {"dtype": torch.float64} | options
    space = ResidualSpace(KernelShape(group, *fields, extents, target, source), bias=bias, **PENALTIES, **options)
    for parameter in space.parameters():
        parameter.normal_()
    return space


def dense_parts(space, parameters=None):
    """E_G(w), V, E_G(b) and c as dense tensors, made the slow way."""
    table = dict(space.named_parameters()) if parameters is None else parameters
    shape, G = space.shape, space.shape.group
    types = {"target": shape.target, "source": shape.source}
    sizes = {"kernel_size": shape.kernel_size, "out_fields": shape.out_fields}
    kernels = [
        reference.expand_table(table[name], H, **types, **sizes)
        for name, H in (("equivariant.weight", G.whole), ("weight", G.trivial))
    ]
    biases = [
        reference.expand_bias(table[name], H, shape.target)
        for name, H in (("equivariant.bias", G.whole), ("bias", G.trivial))
        if name in table
    ]
    return kernels, biases


@every_type
@torch.no_grad()
def test_kernel_and_bias_are_the_sums_of_their_parts(target, source, dtype):
    for group, extents in ((D4, (3, 3)), (D4, ()), (Z2, (5,))):
        space = random_space(target, source, extents, group=group, dtype=dtype)
        kernels, biases = dense_parts(space)
        assert reference.relative_error(space.dense_weight(), sum(kernels)) < TOLERANCES[dtype]
        assert reference.relative_error(space.dense_bias(), sum(biases)) < TOLERANCES[dtype]


@torch.no_grad()
def test_a_layer_is_the_sum_of_an_equivariant_and_a_free_layer(dtype):
    for make in (
        lambda H: Conv2d(2, 3, 3, group=D4, subgroup=H, dtype=dtype),
        lambda H: Conv1d(2, 3, 3, group=Z2, subgroup=H, dtype=dtype),
        lambda H: Linear(2, 3, group=D4, subgroup=H, dtype=dtype),
    ):
        free = make("C1")
        whole = make(free.space.shape.group.whole)
        layer = em.add_residual(whole)
        x = torch.randn(2, layer.space.shape.in_channels, *(5,) * len(layer.space.shape.kernel_size), dtype=dtype)
        assert torch.equal(layer(x), whole(x))
        layer.space.weight.copy_(free.space.weight)
        layer.space.bias.copy_(free.space.bias)
        assert reference.relative_error(layer(x), whole(x) + free(x)) < TOLERANCES[dtype]


@every_type
def test_gradients_are_those_of_finite_differences(target, source):
    space = random_space(target, source, (2, 2), fields=(1, 1))
    names, tensors = zip(*space.named_parameters(), strict=True)

    def call(*given):
        return torch.func.functional_call(space, dict(zip(names, given, strict=True)))

    assert len(names) == 4 and torch.autograd.gradcheck(call, tensors)


def test_gradients_through_a_whole_convolution_are_those_of_finite_differences():
    layer = Conv1d(1, 2, 3, group=Z2, padding="same").on(random_space(extents=(3,), fields=(2, 1), group=Z2))
    names, tensors = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)

    def call(x, *given):
        return torch.func.functional_call(layer, dict(zip(names, given, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *tensors))


def test_a_fresh_space_is_equivariant_with_the_variance_of_a_layer_of_the_group():
    shape = KernelShape(D4, 32, 32, (3, 3))
    space = ResidualSpace(shape, bias=True, generator=torch.Generator().manual_seed(2))
    twin = TiedSpace(shape, D4.whole, generator=torch.Generator().manual_seed(2))
    assert torch.equal(space.dense_weight(), twin.dense_weight())
    assert not space.weight.any() and not space.bias.any() and not space.dense_bias().any()
    torch.nn.init.normal_(space.weight)
    torch.nn.init.normal_(space.bias)
    space.reset_parameters(torch.Generator().manual_seed(2))
    assert torch.equal(space.dense_weight(), twin.dense_weight()) and not space.dense_bias().any()


@every_type
@torch.no_grad()
def test_taking_a_kernel_divides_it_into_its_projection_and_the_rest(target, source, dtype):
    types = {"target": target, "source": source}
    for H in D4.subgroups():
        other = TiedSpace(KernelShape(D4, 2, 3, (3, 3), **types), H, bias=True, dtype=dtype)
        other.bias.normal_()
        space = random_space(**types, dtype=dtype)
        space.take(other)
        (equivariant, residual), (b, c) = dense_parts(space)
        projected = reference.project_kernel(other.dense_weight(), D4.whole, **types)
        mean_bias = sum(reference.act(other.dense_bias()[None], h, D4, target)[0] for h in D4.whole.indices) / 8
        for found, expected in (
            (equivariant, projected),
            (residual + equivariant, other.dense_weight()),
            (b, mean_bias),
            (b + c, other.dense_bias()),
        ):
            assert reference.relative_error(found, expected) < TOLERANCES[dtype]


def test_shares_are_those_of_the_energy():
    space = random_space()
    W = space.dense_weight().detach()
    kept = reference.project_kernel(W, D4.whole, source="regular", target="regular")
    share = float(kept.square().sum() / W.square().sum())
    assert space.shares() == pytest.approx({"D4": share, "C1": 1 - share}, abs=1e-12)


def test_shares_of_a_network_without_symmetry_add_up_to_one():
    layer = em.add_residual(Conv2d(1, 2, 3, group="C1"))
    assert layer.space.shares() == {"C1": 1.0}


def test_relaxing_goes_to_a_free_layer_of_the_same_function_and_nowhere_else(dtype):
    conv = Conv2d(3, 2, 3, group=D4).to(dtype)
    layer = conv.on(random_space(dtype=dtype))
    x = torch.randn(2, 24, 5, 5, dtype=dtype)
    free = em.relax(layer, "C1")
    assert isinstance(free.space, TiedSpace) and torch.equal(free(x), layer(x))
    for H in D4.subgroups()[1:]:
        with pytest.raises(MorphismError, match=rf"mixture of D4, C1 cannot be relaxed to {H}; .*em\.discretize"):
            em.relax(layer, H)


# Penalties.


def settings_of(network, *, optimizer=SGD, **options):
    """For each parameter by name, the options that its optimizer gets."""
    groups = em.parameter_groups(network, optimizer=optimizer, **options)
    by_parameter = {parameter: group for group in groups for parameter in group["params"]}
    return {name: by_parameter[parameter] for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW])
def test_each_part_gets_its_own_penalty_times_the_size_of_its_orbits(optimizer):
    network = torch.nn.Sequential(Conv2d(3, 2, 3, group=D4), torch.nn.Linear(3, 3))
    settings = settings_of(em.add_residual(network, **PENALTIES), optimizer=optimizer, lr=0.1, weight_decay=0.5)
    size = 1 if optimizer is AdamW else 8  # decoupled decay shrinks every parameter alike
    expected = {"weight": 0.7, "equivariant.weight": 0.03 * size, "bias": 0.0, "equivariant.bias": 0.0}
    assert {name: settings[f"0.space.{name}"]["weight_decay"] for name in expected} == pytest.approx(expected)
    assert settings["1.weight"]["weight_decay"] == settings["1.bias"]["weight_decay"] == 0.5
    rates = {name: settings[f"0.space.{name}"]["lr"] for name in expected}
    assert rates == pytest.approx({name: 0.1 / (8 if optimizer is SGD and "equi" in name else 1) for name in expected})


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_logits_are_never_drawn_to_uniform_by_a_weight_decay(tied):
    for optimizer in (SGD, Adam, AdamW):
        mixed = em.mix(Conv2d(3, 2, 3, group=D4), tied=tied)
        settings = settings_of(mixed, optimizer=optimizer, lr=0.1, weight_decay=1)
        assert settings["space.logits"]["weight_decay"] == 0 and settings["space.logits"]["lr"] == 0.1
        assert all(options["weight_decay"] > 0 for name, options in settings.items() if name != "space.logits")


@pytest.mark.parametrize(("target", "source"), TYPES[:3], ids=lambda value: value)
def test_a_step_descends_the_loss_plus_the_priors_of_the_dense_kernels(target, source):
    """w moves by lr / |orbit| times the gradient of  loss + equivariant / 2 |E_G(w)|^2 + residual / 2 |V|^2."""
    lr, space = 0.05, random_space(target, source)
    direction = torch.randn_like(space.dense_weight())
    start = {name: parameter.detach().clone().requires_grad_() for name, parameter in space.named_parameters()}
    (equivariant, residual), (b, c) = dense_parts(space, start)
    loss = ((equivariant + residual) * direction).square().sum() + (b + c).square().sum()
    prior = 0.03 / 2 * equivariant.square().sum() + 0.7 / 2 * residual.square().sum()
    gradients = dict(zip(start, torch.autograd.grad(loss + prior, list(start.values())), strict=True))
    optimizer = SGD(em.parameter_groups(space, lr=lr, weight_decay=9.0))
    ((space.dense_weight() * direction).square().sum() + space.dense_bias().square().sum()).backward()
    optimizer.step()
    orbits = {"equivariant.weight": 8, "equivariant.bias": 8 if target == "regular" else 1}
    for name, parameter in space.named_parameters():
        expected = start[name] - lr / orbits.get(name, 1) * gradients[name]
        assert reference.relative_error(parameter, expected) < 1e-12, name


def test_a_step_of_the_mixture_form_descends_the_penalty_of_its_members_kernels():
    """One step of SGD on  z_1 E_G(w) + z_2 V  under 0.2 / 2 |V|^2 alone; the rest has the usual weight decay."""
    lr, usual = 0.05, 0.01
    space = MixedSpace(KernelShape(D4, 2, 3, (3, 3)), [D4.whole, D4.trivial], penalties={"C1": 0.2}, bias=True).double()
    space.logits.data.normal_()
    direction = torch.randn_like(space.dense_weight())
    start = {name: parameter.detach().clone().requires_grad_() for name, parameter in space.named_parameters()}
    types = {"target": "regular", "source": "regular", "kernel_size": (3, 3), "out_fields": 2}
    tables = zip((start["weights.0"], start["weights.1"]), (D4.whole, D4.trivial), strict=True)
    kernels = [reference.expand_table(table, H, **types) for table, H in tables]
    z = torch.softmax(start["logits"], 0)
    loss = ((z[0] * kernels[0] + z[1] * kernels[1]) * direction).square().sum()
    prior = usual / 2 * kernels[0].square().sum() + 0.2 / 2 * kernels[1].square().sum()
    used = ["logits", "weights.0", "weights.1"]
    gradients = dict(zip(used, torch.autograd.grad(loss + prior, [start[name] for name in used]), strict=True))
    optimizer = SGD(em.parameter_groups(space, lr=lr, weight_decay=usual))
    (space.dense_weight() * direction).square().sum().backward()
    optimizer.step()
    parameters = dict(space.named_parameters())
    for name in used:
        expected = start[name] - lr / (8 if name == "weights.0" else 1) * gradients[name]
        assert reference.relative_error(parameters[name], expected) < 1e-12, name


def test_members_with_a_penalty_get_it_and_the_others_the_usual_weight_decay():
    mixed = em.mix(Conv2d(3, 2, 3, group=D4), ["D4", "C4", "C1"], penalties={"C4": 0.25, "C1": 1e-6})
    settings = settings_of(mixed, lr=1.0, weight_decay=0.01)
    decays = [settings[f"space.weights.{i}"]["weight_decay"] for i in range(3)]
    assert decays == pytest.approx([0.01 * 8, 0.25 * 4, 1e-6])


@pytest.mark.parametrize("what", PENALTIES)
@pytest.mark.parametrize("value", [-1e-6, math.nan])
def test_penalties_below_zero_are_refused(what, value):
    conv = Conv2d(1, 1, 3, group=D4)
    with pytest.raises(ConfigurationError, match=f"{what} is {value}; it must not be negative") as caught:
        em.add_residual(conv, **{what: value})
    assert "\n" not in str(caught.value)
