"""Norms with statistics of their own for each element: what an ordinary norm does to each copy of a network."""

import pytest
import reference
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError
from equimorph.layers import NormByElement, TiedParameter
from equimorph.layers.parameter import bind
from equimorph.testing import TOLERANCES, assert_equivariant

Z2, D4, C4Z = em.group("Z2"), em.group("D4"), em.group("C4@z", dim=3)
GROUPS = [Z2, D4, C4Z]
FIELDS = 6
every_group = pytest.mark.parametrize("group", GROUPS, ids=str)
every_division = pytest.mark.parametrize("groups", [1, 2, 6])


def norm_of(group, groups, *, affine=True, dtype=None, eps=1e-3):
    kind = {"weight": torch.randn(FIELDS * group.order, dtype=dtype)} if affine else {}
    kind |= {"bias": torch.randn(FIELDS * group.order, dtype=dtype)} if affine else {}
    return NormByElement(FIELDS, group.order, groups=groups, eps=eps, **kind)


def normalized(values, eps):
    """Less their mean, over the root of their variance."""
    mean = values.mean()
    return (values - mean) / ((values - mean).square().mean() + eps).sqrt()


@every_division
@every_group
@torch.no_grad()
def test_maps_are_normalised_by_sample_element_and_group_of_fields(group, groups, dtype):
    norm = norm_of(group, groups, dtype=dtype)
    x = torch.randn(2, FIELDS * group.order, *(3,) * group.dim, dtype=dtype)
    fields, expected = x.unflatten(1, (FIELDS, group.order)), torch.empty_like(x).unflatten(1, (FIELDS, group.order))
    each = FIELDS // groups
    for sample in range(2):
        for g in range(group.order):
            for first in range(0, FIELDS, each):
                part = slice(first, first + each)
                expected[sample, part, g] = normalized(fields[sample, part, g], norm.eps)
    channels = (-1, *(1,) * group.dim)
    expected = expected.flatten(1, 2) * norm.weight.view(channels) + norm.bias.view(channels)
    assert reference.relative_error(norm(x), expected) < TOLERANCES[dtype]


@every_group
@torch.no_grad()
def test_over_the_last_axis_each_position_is_normalised_by_element(group, dtype):
    norm = norm_of(group, None, dtype=dtype)
    x = torch.randn(2, 4, 5, FIELDS * group.order, dtype=dtype)
    fields = x.unflatten(-1, (FIELDS, group.order))
    expected = torch.empty_like(fields)
    for place in torch.cartesian_prod(*map(torch.arange, (2, 4, 5, group.order))).tolist():
        *position, g = place
        expected[(*position, slice(None), g)] = normalized(fields[(*position, slice(None), g)], norm.eps)
    expected = expected.flatten(-2) * norm.weight + norm.bias
    assert reference.relative_error(norm(x), expected) < TOLERANCES[dtype]


@pytest.mark.parametrize("groups", [1, 2, 6, None])
@every_group
@torch.no_grad()
def test_of_a_constant_copy_it_is_the_ordinary_norm(group, groups, dtype):
    """A feature whose elements are all alike is normalised as its fields are."""
    field_norm = nn.GroupNorm(groups, FIELDS) if groups else nn.LayerNorm(FIELDS)
    for parameter in field_norm.to(dtype).parameters():
        parameter.normal_()
    dense = {name: value.repeat_interleave(group.order) for name, value in field_norm.named_parameters()}
    norm = NormByElement(FIELDS, group.order, groups=groups, **dense)
    x = torch.randn(2, FIELDS, *(3,) * group.dim, dtype=dtype)
    x = x if groups else x.movedim(1, -1)
    axis = 1 if groups else -1
    out = norm(x.repeat_interleave(group.order, axis))
    assert reference.relative_error(out, field_norm(x).repeat_interleave(group.order, axis)) < TOLERANCES[dtype]


class ChannelsFirst(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize("groups", [1, 2, 6, None])
@pytest.mark.parametrize("H", [*Z2.subgroups(), *D4.subgroups(), C4Z.whole], ids=lambda H: f"{H}-{H.group}")
def test_it_commutes_with_every_element_that_its_values_are_tied_over(H, groups, dtype):
    norm = norm_of(H.group, groups, dtype=dtype)
    for name in ("weight", "bias"):
        bind(norm, name, TiedParameter(getattr(norm, name), group=H.group, subgroup=H))
    module = norm if groups else ChannelsFirst(norm)
    x = torch.randn(2, FIELDS * H.group.order, *(4,) * H.group.dim, dtype=dtype)
    assert_equivariant(module, x, constraint=H)
    errors = em.testing.equivariance_errors(module, x, constraint=H.group.whole)
    assert {h for h, error in errors.items() if error < 0.01} == set(H.indices)


def test_the_ordinary_norm_over_all_elements_is_another_function():
    x = torch.randn(2, 48, 4, 4)
    norm = norm_of(D4, 2, affine=False)
    assert (norm(x) - F.group_norm(x, 2, eps=1e-3)).abs().max() > 0.01
    assert_equivariant(norm, x, constraint=D4.whole)


@pytest.mark.parametrize("groups", [2, None])
def test_without_affine_values_it_has_no_parameters(groups):
    norm = norm_of(D4, groups, affine=False)
    assert not list(norm.parameters()) and not norm.state_dict()
    assert norm(torch.randn(2, 48, 4, 4) if groups else torch.randn(2, 5, 48)).isfinite().all()


def test_vectors_are_maps_without_positions(dtype):
    x = torch.randn(3, 48, dtype=dtype)
    norm = norm_of(D4, 2, dtype=dtype)
    assert reference.relative_error(norm(x), norm(x[:, :, None])[:, :, 0]) < TOLERANCES[dtype]


@pytest.mark.parametrize("groups", [2, None])
def test_its_gradients_are_those_of_its_formula(groups):
    norm = norm_of(Z2, groups, dtype=torch.float64)
    x = torch.randn(2, 12, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm if groups else ChannelsFirst(norm), (x,))


class Pooled(nn.Sequential):
    """Both norms, one on maps and one on vectors."""

    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)),
        )


def test_a_copied_network_has_it_and_its_plain_form_does_without_the_library():
    model, x = Pooled().double(), torch.randn(2, 1, 7, 7, dtype=torch.float64)
    network = em.equivariantize(model, "D4", x, width="fields", weights="copy").eval()
    assert type(network[1]).__mro__[1] is type(network[7]).__mro__[1] is NormByElement
    mean = sum(model(reference.act(x, h, D4, "trivial")) for h in range(8)) / 8
    assert reference.relative_error(network(x).detach(), mean.detach()) < 1e-12
    for made in (network, em.relax(network, "C4")):
        ordinary = em.plain(made, x)
        assert reference.relative_error(ordinary(x).detach(), mean.detach()) < 1e-12
        classes = {cls for module in ordinary.modules() for cls in type(module).__mro__}
        assert not [cls for cls in classes if cls.__module__.startswith("equimorph.")]


def test_it_tells_what_it_is_and_refuses_groups_that_divide_a_field():
    assert "6 fields by 8 elements, groups=2" in repr(norm_of(D4, 2))
    for groups in (0, -1, 4, 7):
        with pytest.raises(ConfigurationError, match=f"NormByElement: groups={groups} must divide the 6 fields"):
            norm_of(D4, groups)
