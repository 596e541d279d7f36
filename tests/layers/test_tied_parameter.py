"""Values per channel tied over cosets, and the modules of torch and of a user that find them where their own were."""

import copy
import pickle

import pytest
import reference
import torch
from torch import nn

import equimorph as em
from equimorph.errors import GroupError, MorphismError, ShapeError
from equimorph.layers import TiedParameter, sites_of
from equimorph.layers._base import parameter_orbits
from equimorph.layers.parameter import bind, bound_parameters, unbind
from equimorph.testing import TOLERANCES, assert_equivariant

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("C3@xyz", "C4v@z", "Oh"))]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")


def tied_parameter(values, H, **options):
    return TiedParameter(values, group=H.group, subgroup=H, **options)


def mean_over_cosets(values, H):
    """For each channel (c, g) the mean over the right coset Hg, one at a time."""
    fields = values.unflatten(0, (-1, H.group.order))
    out = torch.empty_like(fields)
    for g in range(H.group.order):
        coset = [reference.index_images(H.group, h)[g] for h in H.indices]
        out[:, g] = fields[:, coset].mean(1)
    return out.flatten()


@every_subgroup
@torch.no_grad()
def test_values_are_the_means_over_right_cosets(H, dtype):
    values = torch.randn(3 * H.group.order, dtype=dtype)
    tied = tied_parameter(values, H)
    assert tied.table.shape == (H.group.order // H.order, 3) and tied().dtype == dtype
    assert (tied() - mean_over_cosets(values, H)).abs().max() < TOLERANCES[dtype]


class Scaled(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.tied = tied

    def forward(self, x):
        return self.tied() * x


@every_subgroup
def test_what_they_scale_commutes_with_the_subgroup_and_with_nothing_beyond(H, dtype):
    shape = (-1, *(1,) * H.group.dim)
    module = Scaled(tied_parameter(torch.randn(2 * H.group.order, dtype=dtype), H, shape=shape))
    x = torch.randn(2, 2 * H.group.order, *(3,) * H.group.dim, dtype=dtype)
    assert_equivariant(module, x, constraint=H)
    errors = em.testing.equivariance_errors(module, x, constraint=H.group.whole)
    assert {h for h, error in errors.items() if error < 0.01} == set(H.indices)


@every_subgroup
def test_relaxed_they_are_the_same_to_the_bit_and_projected_the_means(H, dtype):
    tied = tied_parameter(torch.randn(2 * H.group.order, dtype=dtype), H, shape=(1, -1, 1))
    relaxed = em.relax(tied, H.group.trivial)
    assert torch.equal(relaxed(), tied()) and relaxed().shape == (1, 2 * H.group.order, 1)
    assert relaxed.constraint.order == 1 and tied.constraint == H
    whole = em.constrain(relaxed, H.group.whole)
    assert (whole.dense() - mean_over_cosets(tied.dense(), H.group.whole)).abs().max() < TOLERANCES[dtype]
    with pytest.raises(MorphismError, match="not contained in"):
        em.relax(em.constrain(tied, H.group.trivial), H.group.whole)


def test_each_value_gets_the_sum_of_its_channels_gradients():
    tied = tied_parameter(torch.ones(16), D4.subgroup("C4"))
    weights = torch.randn(16)
    (tied() * weights).sum().backward()
    expected = 4 * mean_over_cosets(weights, D4.subgroup("C4"))
    assert torch.allclose(tied.expansion(tied.table.grad).T.flatten(), expected, atol=1e-6)
    assert parameter_orbits(tied)["table"].mean_size == 4


def test_reset_they_are_what_they_began_with_also_after_a_relaxation():
    first = torch.randn(16)
    tied = tied_parameter(first, D4.whole)
    with torch.no_grad():
        tied.table.normal_()
    for moved in (tied, em.relax(tied, "C4"), em.relax(em.relax(tied, "C4"), "C1"), em.constrain(tied, "D4")):
        moved.reset_parameters()
        assert torch.allclose(moved(), mean_over_cosets(first, D4.whole), atol=1e-6)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_buffer_stays_a_buffer_and_what_is_frozen_stays_frozen(trainable):
    tied = tied_parameter(torch.randn(8), D4.whole, trainable=trainable)
    for moved in (tied, em.relax(tied, "C4"), em.constrain(tied, "C4"), copy.deepcopy(tied)):
        assert [name for name, _ in moved.named_parameters()] == (["table"] if trainable else [])
        assert list(moved.state_dict()) == ["table"] and bool(parameter_orbits(moved)) == trainable
    tied.requires_grad_(False)
    assert not em.relax(tied, "C4").table.requires_grad and not em.constrain(tied, "C4").table.requires_grad
    assert not em.relax(tied.eval(), "C4").training


def test_they_follow_the_module_s_dtype():
    tied = tied_parameter(torch.randn(8), D4.whole).double()
    assert tied().dtype == tied.initial.dtype == em.relax(tied, "C1")().dtype == torch.float64


def test_they_tell_what_they_are_and_refuse_what_does_not_fit():
    assert repr(tied_parameter(torch.ones(16), D4.subgroup("C4"))).startswith(
        "TiedParameter(\n  2 fields, constraint=C4"
    )
    with pytest.raises(ShapeError, match=r"\(9,\) values are no whole number of fields of 8"):
        tied_parameter(torch.ones(9), D4.whole)
    with pytest.raises(ShapeError, match="no whole number"):
        tied_parameter(torch.ones(8, 1), D4.whole)
    with pytest.raises(GroupError, match='no subgroup "C3"'):
        TiedParameter(torch.ones(8), group="D4", subgroup="C3")


class Own(nn.Module):
    """A user's module: a scale, a buffer, and a part with values of its own."""

    limit = 3

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(8, 1, 1))
        self.register_buffer("shift", torch.randn(8, 1, 1))
        self.free = nn.Parameter(torch.randn(2))
        self.norm = nn.GroupNorm(1, 8)

    @property
    def doubled(self):
        return 2 * self.scale

    def forward(self, x):
        return self.norm(x * self.doubled / 2 + self.shift)


def bound():
    module = Own()
    subgroup = {"group": D4, "subgroup": D4.subgroup("C4")}
    bind(module, "scale", TiedParameter(module.scale.flatten(), shape=(-1, 1, 1), **subgroup))
    bind(module, "shift", TiedParameter(module.shift.flatten(), shape=(-1, 1, 1), trainable=False, **subgroup))
    for name in ("weight", "bias"):
        bind(module.norm, name, TiedParameter(torch.randn(8), **subgroup))
    return module


def test_a_module_finds_bound_values_where_its_own_were():
    module, x = bound(), torch.randn(2, 8, 4, 4)
    assert module.scale.shape == module.shift.shape == (8, 1, 1)
    expected = nn.functional.group_norm(x * module.scale + module.shift, 1, module.norm.weight, module.norm.bias)
    assert torch.allclose(module(x), expected, atol=1e-6)
    assert_equivariant(module, x, constraint=D4.subgroup("C4"))
    assert {name for name, _ in bound_parameters(module)} == {"scale", "shift"}


def test_a_module_with_bound_values_is_still_of_its_class():
    module = bound()
    assert isinstance(module, Own) and isinstance(module.norm, nn.GroupNorm)
    assert type(module).__name__ == type(module).__qualname__ == "Own" and type(module).limit == 3
    assert type(module).__module__ == Own.__module__ and type(module).__doc__ == Own.__doc__
    assert repr(module).startswith("Own(") and "GroupNorm(\n    1, 8" in repr(module)
    assert type(Own()) is Own and "weight" in dict(nn.GroupNorm(1, 8).named_parameters())  # others are as they were


def test_its_state_and_parameters_are_the_tables():
    module = bound()
    names = {"scale_tied.table", "free", "norm.weight_tied.table", "norm.bias_tied.table"}
    assert {name for name, _ in module.named_parameters()} == names
    assert set(module.state_dict()) == {*names, "shift_tied.table"}
    assert set(parameter_orbits(module)) == names - {"free"}
    other = bound()
    other.load_state_dict(module.state_dict())
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(other(x), module(x))


def test_a_copy_is_bound_to_values_of_its_own():
    module, x = bound(), torch.randn(2, 8, 4, 4)
    copied = copy.deepcopy(module)
    assert isinstance(copied, Own) and torch.equal(copied(x), module(x))
    before = module(x)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.equal(module(x), before) and not torch.allclose(copied(x), before)
    assert copied.scale_tied is not module.scale_tied


def test_it_is_saved_whole_and_read_back():
    module, x = bound(), torch.randn(2, 8, 4, 4)
    found = pickle.loads(pickle.dumps(module))
    assert isinstance(found, Own) and type(found).__name__ == "Own" and torch.equal(found(x), module(x))
    assert type(found) is type(copy.deepcopy(module)) is type(module)
    assert {name for name, _ in bound_parameters(found)} == {"scale", "shift"}
    assert torch.equal(em.relax(found.norm.weight_tied, "C1")(), module.norm.weight)


def test_unbound_it_has_the_same_values_as_its_own_again():
    module, x = bound(), torch.randn(2, 8, 4, 4)
    before = module(x)
    module.scale_tied.table.requires_grad_(False)
    unbind(module)
    unbind(module.norm)
    assert type(module) is Own and type(module.norm) is nn.GroupNorm and torch.equal(module(x), before)
    assert {name for name, _ in module.named_parameters()} == {"scale", "free", "norm.weight", "norm.bias"}
    assert [name for name, _ in module.named_buffers()] == ["shift"] and not list(bound_parameters(module))
    assert not module.scale.requires_grad and module.norm.weight.requires_grad and module.scale.is_leaf
    module.scale = nn.Parameter(torch.zeros(8, 1, 1))  # a parameter like any other
    assert not module.doubled.any()


def test_unbinding_what_is_not_bound_changes_nothing():
    norm = nn.GroupNorm(1, 8)
    unbind(norm)
    assert type(norm) is nn.GroupNorm and len(list(norm.parameters())) == 2


def test_in_a_network_they_follow_the_site_before_them():
    network = nn.Sequential(em.layers.Conv2d(1, 1, 3, group=D4, source="trivial"), bound(), nn.ReLU())
    names = [f"1.{name}_tied" for name in ("scale", "shift", "norm.weight", "norm.bias")]
    assert set(sites_of(network)["0"].norms) == set(names)
    x = torch.randn(2, 1, 6, 6)
    constrained = em.constrain(network, "D4")
    assert {constrained.get_submodule(name).constraint.name for name in names} == {"D4"}
    relaxed = em.relax(constrained, "C2")
    assert {relaxed.get_submodule(name).constraint.name for name in names} == {"C2"}
    assert torch.equal(relaxed(x), constrained(x))
    ordinary = em.plain(relaxed, x)
    assert type(ordinary[1]) is Own and type(ordinary[1].norm) is nn.GroupNorm
    assert torch.equal(ordinary(x), relaxed(x))
