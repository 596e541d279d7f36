"""The audit of a network: a planted break is named, and nothing else is."""

import math

import pytest
import torch
import torch.nn.functional as F
from own_forward import Forward, hooks_of
from torch import nn

import equimorph as em
from equimorph.errors import GroupError, ShapeError
from equimorph.inspection.measuring import generators_of, largest

D4 = em.group("D4")
SIDE = 9
EXACT = 1e-9


def image(side=SIDE):
    return torch.randn(2, 3, side, side)


def lift():
    return em.layers.Conv2d(3, 2, 3, group=D4, source="trivial", padding=1)


def conv(stride=1, **options):
    return em.layers.Conv2d(2, 2, 3, group=D4, padding=1, stride=stride, **options)


def head():
    return nn.Sequential(
        nn.ReLU(),
        em.layers.Conv2d(2, 2, 3, group=D4, target="trivial", padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def broken_by(module):
    """A network of exact layers with one in the middle, path "2", that may not be."""
    return nn.Sequential(lift(), nn.ReLU(), module, head())


def function(forward):
    return Forward(lambda self, x: forward(x))


def untied_norm():
    norm = nn.BatchNorm2d(16)
    nn.init.normal_(norm.weight)
    return norm


def with_coordinates(x):
    ramp = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
    return x + ramp


def with_a_row_of_zeros(x):
    x = x.clone()
    x[:, :, 0] = 0
    return x


# The module, the side of the image, the name of the row and what its reason and its remedy are to say.
BREAKS = {
    "stride": (lambda: conv(stride=2), 8, "2", "stride 2 against size 8", "take images of 9 or 7 pixels"),
    "window of a pooling": (
        lambda: nn.MaxPool2d(2),
        9,
        "2",
        "stride 2 against size 9",
        "take images of 10 or 8 pixels",
    ),
    "window of a function": (
        lambda: function(lambda x: F.max_pool2d(x, 3, 2, 1)),
        8,
        "2: max_pool2d",
        "leave 1 over at one end",
        "take images of 9 or 7 pixels",
    ),
    "ceil_mode": (
        lambda: nn.MaxPool2d(2, ceil_mode=True),
        9,
        "2",
        "ceil_mode lets the last window hang over",
        "take images of 10 or 8 pixels",
    ),
    "ceil_mode of a function": (
        lambda: function(lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
        8,
        "2: max_pool2d",
        "ceil_mode lets the last window hang over",
        "take images of 9 or 7 pixels",
    ),
    "output_padding": (
        lambda: nn.ConvTranspose2d(16, 16, 3, stride=2, padding=1, output_padding=1, groups=16),
        9,
        "2",
        "output_padding",
        "kernel 2 or 4",
    ),
    "an unconstrained convolution": (
        lambda: nn.Conv2d(16, 16, 3, padding=1),
        9,
        "2",
        "an unconstrained layer",
        "em.equivariantize",
    ),
    "an untied norm": (untied_norm, 9, "2", "values of its own for each channel", "ties them over the group"),
    "a shift": (lambda: function(lambda x: torch.roll(x, 1, -1)), 9, "2: roll", "one direction", "leave it out"),
    "a mirror": (lambda: function(lambda x: x.flip(-1)), 9, "2: flip", "one direction", "leave it out"),
    "coordinates": (lambda: function(with_coordinates), 9, "2: add", "positional input", "leave the coordinates out"),
    "padding at one end": (
        lambda: function(lambda x: F.pad(x, (1, 0, 1, 0))),
        9,
        "2: pad",
        "not the same at both ends",
        "pad each end alike",
    ),
    "padding of one axis": (
        lambda: function(lambda x: F.pad(x, (1, 0, 0, 0))),
        9,
        "2: pad",
        "not the same at both ends",
        "pad each end alike",
    ),
    "a padding layer": (lambda: nn.ZeroPad2d((0, 1, 0, 1)), 9, "2", "not the same at both ends", "pad each end alike"),
    "uneven interpolation": (
        lambda: function(lambda x: F.interpolate(x, size=13, mode="nearest")),
        9,
        "2: interpolate",
        "resamples positions unevenly",
        "whole factor",
    ),
    "a parameter by channel": (
        lambda: Forward(lambda self, x: x * self.gamma, gamma=nn.Parameter(torch.randn(16, 1, 1))),
        9,
        "2: mul",
        "a parameter or buffer",
        "tie it",
    ),
    "a channel shuffle": (lambda: nn.ChannelShuffle(4), 9, "2", "mixes their order", "interpolation"),
    "a row that is written": (
        lambda: function(with_a_row_of_zeros),
        9,
        "2: __setitem__",
        "does not commute",
        "another way",
    ),
    "something else": (lambda: function(lambda x: x.tril()), 9, "2: tril", "tril does not commute", "another way"),
}


def audit_of(case):
    make, side, *_ = BREAKS[case]
    return em.audit(broken_by(make()), image(side))


@pytest.mark.parametrize("case", BREAKS)
def test_the_first_break_is_the_one_that_was_planted_with_reason_and_remedy(case):
    _, _, name, reason, remedy = BREAKS[case]
    first = audit_of(case).first
    assert first.name == name and first.path == "2"
    assert reason in first.reason and remedy in first.remedy


@pytest.mark.parametrize("case", BREAKS)
def test_layers_around_a_break_are_exact_by_themselves(case):
    found = audit_of(case)
    assert [row.name for row in found.broken] == [BREAKS[case][2]]
    assert all(max(row.own.values()) < EXACT for row in found.rows if row.name != BREAKS[case][2])
    assert max(found.first.own.values()) > 1e-3


@pytest.mark.parametrize("case", BREAKS)
def test_layers_behind_a_break_inherit_its_error(case):
    found = audit_of(case)
    place = found.rows.index(found.first)
    assert all(row.error < EXACT for row in found.rows[:place])
    assert all(row.error > EXACT for row in found.rows[place:])
    assert not found.exact


def test_a_function_in_a_forward_is_told_with_the_path_of_its_module():
    row = audit_of("a shift").first
    assert (row.path, row.name, row.kind) == ("2", "2: roll", "roll")


def test_of_two_breaks_both_are_told_in_order():
    network = broken_by(nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU(), function(lambda x: torch.roll(x, 1, -1))))
    assert [row.name for row in em.audit(network, image()).broken] == ["2.0", "2.2: roll"]


EXACT_PARTS = {
    "nothing": nn.Identity,
    "a convolution": conv,
    "a stride that fits": lambda: conv(stride=2),
    "a pooling that fits": lambda: nn.MaxPool2d(3, 2, 1),
    "a pooling of any size": lambda: em.layers.AvgPool(2),
    "a norm": lambda: em.layers.BatchNorm(2, group=D4),
    "an untrained norm of torch": lambda: nn.BatchNorm2d(16),
    "a norm over all channels": lambda: nn.GroupNorm(2, 16),
    "a gate": lambda: function(lambda x: x * x.mean((2, 3), keepdim=True).sigmoid()),
    "channels last": lambda: function(lambda x: F.normalize(x.movedim(1, -1), dim=-1).movedim(-1, 1)),
    "larger by a factor": lambda: nn.Upsample(scale_factor=2),
    "bilinear": lambda: nn.Upsample(size=14, mode="bilinear", align_corners=False),
    "padding all round": lambda: nn.ReflectionPad2d(2),
    "a stack": lambda: function(lambda x: torch.stack([x, x.relu()], 1).mean(1)),
}


@pytest.mark.parametrize("part", EXACT_PARTS)
def test_an_exact_network_has_no_broken_rows(part):
    found = em.audit(broken_by(EXACT_PARTS[part]()), image())
    assert found.exact and found.first is None and not found.broken and not found.unknown
    assert all(row.error < EXACT and row.reason == row.remedy == "" for row in found.rows)


def test_an_exact_network_of_maps_has_no_broken_rows():
    network = nn.Sequential(lift(), nn.ReLU(), em.layers.Conv2d(2, 2, 3, group=D4, target="trivial"))
    assert em.audit(network, image()).exact


def test_rows_tell_kind_shape_and_constraint_in_the_order_of_the_calls():
    found = em.audit(broken_by(function(torch.tanh)), image())
    assert [(row.name, row.kind, row.constraint) for row in found.rows] == [
        ("0", "Conv2d", "D4"),
        ("1", "ReLU", None),
        ("2: tanh", "tanh", None),
        ("3.0", "ReLU", None),
        ("3.1", "Conv2d", "D4"),
        ("3.2", "AdaptiveAvgPool2d", None),
        ("3.3", "Flatten", None),
    ]
    assert found.rows[0].shape == (2, 16, 9, 9) and found.rows[-1].shape == (2, 2)


def relaxed_in_the_middle(constraint):
    """A network with a site at a subgroup in the middle, whose weights have moved away from the symmetry."""
    relaxed = em.relax(broken_by(conv()), {"2": constraint, "3.1": constraint})
    with torch.no_grad():
        for parameter in relaxed[2].parameters():
            parameter.normal_()
    return relaxed


@pytest.mark.parametrize("constraint", ["C4", "C2", "C1"])
def test_a_relaxed_site_is_told_as_constrained(constraint):
    first = em.audit(relaxed_in_the_middle(constraint), image()).first
    assert (first.name, first.constraint) == ("2", constraint)
    assert first.reason == f"it is constrained to {constraint} alone" and "em.constrain" in first.remedy


@pytest.mark.parametrize("element", range(D4.order))
def test_errors_by_element_are_small_just_for_those_that_a_network_is_constrained_to(element):
    network = relaxed_in_the_middle("C4")
    found = em.audit(network, image())
    inside = element in em.sites(network)["2"]
    assert (found.output_errors[element] < EXACT) == inside
    assert (found.first.own[element] < EXACT) == inside
    assert inside == (round(float(torch.linalg.det(torch.tensor(D4.elements[element]).double()))) == 1)


def test_elements_may_be_chosen():
    network = relaxed_in_the_middle("C4")
    inside = sorted(element for element in range(D4.order) if element in em.sites(network)["2"])
    found = em.audit(network, image(), elements=inside)
    assert found.elements == tuple(inside) and found.exact and found.first is None
    assert set(found.rows[0].errors) == set(inside)


def test_the_identity_has_no_error():
    found = audit_of("an unconstrained convolution")
    assert found.output_errors[0] == 0 and all(row.errors[0] == 0 for row in found.rows)


def test_errors_are_those_of_the_definition():
    network = broken_by(nn.Conv2d(16, 16, 3, padding=1)).double()
    x = image().double()
    found, usual = em.audit(network, x), network(x).detach()
    for element in range(D4.order):
        moved = network(em.layers.transform(x, element, D4, "trivial")).detach()
        expected = float((moved - usual).abs().max() / usual.abs().max())
        assert found.output_errors[element] == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_network_without_sites_needs_a_group():
    with pytest.raises(GroupError, match='no group of its own; pass one, such as group="D4"'):
        em.audit(nn.Conv2d(3, 2, 3), image())
    assert em.audit(nn.Conv2d(3, 2, 3), image(), "C4").first.reason == "an unconstrained layer"


def test_a_group_of_another_network_is_refused():
    with pytest.raises(GroupError, match="those of D4, not of C4"):
        em.audit(broken_by(nn.Identity()), image(), "C4")


def test_an_example_of_another_dimension_is_refused():
    with pytest.raises(GroupError, match="D4 acts in dimension 2"):
        em.audit(broken_by(nn.Identity()), torch.randn(2, 3, 9), D4)


def test_an_example_of_unequal_sides_is_refused():
    with pytest.raises(ShapeError, match="must be equal"):
        em.audit(broken_by(nn.Identity()), torch.randn(2, 3, 9, 10))


@pytest.mark.parametrize("example", [torch.zeros(1, 3, 9, 9), torch.ones(2, 3, 9, 9)], ids=["zeros", "ones"])
def test_a_constant_example_is_replaced_by_noise(example):
    found = em.audit(broken_by(nn.Conv2d(16, 16, 3, padding=1)), example)
    assert found.first.name == "2" and found.error > 1e-3


def test_an_example_of_integers_is_taken():
    assert em.audit(broken_by(nn.Identity()), torch.randint(0, 255, (2, 3, 9, 9))).exact


def test_what_is_no_number_counts_as_infinite():
    assert largest([0.0, math.nan, 1.0]) == math.inf
    assert largest([]) == 0.0


def test_a_network_that_returns_no_numbers_is_not_exact():
    found = em.audit(broken_by(function(lambda x: x * math.nan)), image())
    assert found.error == math.inf and not found.exact
    assert found.first.name == "2: mul" and found.first.error == math.inf


def test_what_is_not_known_is_told():
    found = em.audit(broken_by(nn.PixelShuffle(2)).append(nn.Identity())[:3], image())
    assert found.unknown == ("2",) and "2: how the group acts behind it is not known" in str(found)
    assert [row.name for row in found.rows] == ["0", "1"] and not found.exact


def test_at_the_first_of_the_suitable_sizes_the_break_is_gone():
    network = broken_by(conv(stride=2))
    assert not em.audit(network, image(8)).exact
    assert em.audit(network, image(9)).exact and em.audit(network, image(7)).exact


def test_an_audit_leaves_the_network_alone():
    network = broken_by(nn.BatchNorm2d(16)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    em.audit(network, image())
    assert network.training and not hooks_of(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_whose_code_wants_single_precision_is_audited_in_it():
    def single(x):
        return x @ torch.eye(SIDE)

    found = em.audit(broken_by(function(single)).float(), image())
    assert 1e-9 < found.tolerance <= 1e-3


def test_the_table_has_a_line_for_each_row_and_the_output():
    found = audit_of("a shift")
    lines = str(found).splitlines()
    assert len(lines) == len(found.rows) + 2 and lines[-1].startswith("output")
    assert any(line.startswith("2: roll") and found.first.reason in line for line in lines)


@pytest.mark.parametrize("name", ["D4", "C4", "O", "Oh"])
def test_the_products_of_generators_are_the_whole_group(name):
    group = em.group(name)
    assert group.subgroup_generated_by(generators_of(group)).order == group.order
    assert len(generators_of(group)) <= 4
