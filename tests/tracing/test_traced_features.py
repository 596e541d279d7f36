"""Features: types that are joined, axes that are read in other shapes, and the group's action on any layout."""

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.layers import transform
from equimorph.tracing import Feature, Segment, Term, can_transform, follow_network, transformed

GROUP = em.group("D4")


def feature_of(segments, shape):
    return Feature.plain([Segment(Term(kind), channels) for kind, channels in segments], shape)


def test_joined_terms_have_one_type():
    one, other, third = Term(), Term(), Term()
    assert one.join(other) and other.join(third) and third.settle("regular")
    assert [term.kind for term in (one, other, third)] == ["regular"] * 3


def test_terms_of_different_types_do_not_join():
    one, other = Term("regular"), Term("trivial")
    assert not one.join(other) and not one.settle("trivial")
    assert (one.kind, other.kind) == ("regular", "trivial")


def test_a_long_chain_of_joined_terms_has_one_root():
    terms = [Term() for _ in range(2000)]
    assert all(one.join(other) for one, other in zip(terms[1:], terms, strict=False))
    terms[1000].settle("trivial")
    assert {id(term.root) for term in terms} == {id(terms[0].root)} and terms[-1].kind == "trivial"


def test_a_feature_of_several_terms_has_no_single_one():
    assert feature_of([("regular", 8), ("trivial", 3)], (2, 11, 4, 4)).term() is None
    assert feature_of([("regular", 8)], (2, 8, 4, 4)).term().kind == "regular"


def test_a_plain_feature_tells_its_axes():
    feature = feature_of([("regular", 8), ("trivial", 3)], (2, 11, 4, 5))
    assert (feature.channels, feature.channel_axis, feature.spatial, feature.is_map) == (11, 1, (0, 1), True)


def test_a_vector_is_no_map_and_neither_is_a_single_pixel():
    assert not feature_of([("regular", 8)], (2, 8)).is_map
    assert not feature_of([("regular", 8)], (2, 8, 1, 1)).is_map


def test_a_flattened_map_tells_its_sides():
    feature = feature_of([("regular", 8)], (2, 8, 4, 5))
    assert feature.flattened is None
    assert feature.reshaped((2, 160)).flattened == (4, 5)
    assert feature.permuted((0, 2, 3, 1)).reshaped((2, 160)).flattened is None


def test_an_axis_of_the_channels_is_not_resized():
    feature = feature_of([("regular", 8)], (2, 8, 4, 4))
    assert feature.resized((2, 8, 2, 3)).sizes == {"b": 2, "c": 8, 0: 2, 1: 3}
    assert feature.resized((2, 4, 4, 4)) is None


def test_a_group_acts_only_on_whole_fields_and_all_its_axes():
    assert can_transform(feature_of([("regular", 16), ("trivial", 3)], (2, 19, 4, 4)), GROUP)
    assert not can_transform(feature_of([("regular", 12)], (2, 12, 4, 4)), GROUP)
    assert not can_transform(feature_of([(None, 8)], (2, 8, 4, 4)), GROUP)
    assert not can_transform(feature_of([("trivial", 8)], (2, 8, 4, 4)).reduced([3], keep=False), GROUP)
    assert can_transform(feature_of([("trivial", 8)], (2, 8, 4, 4)).reduced([2, 3], keep=False), GROUP)


@pytest.mark.parametrize("element", range(GROUP.order))
@pytest.mark.parametrize("arrange", ["as it is", "flattened"])
def test_unequal_sides_are_exchanged_where_the_element_exchanges_axes(element, arrange):
    x = torch.randn(2, 8, 2, 5)
    feature = arranged(feature_of([("regular", 8)], x.shape), arrange, LAYOUTS[arrange](x))
    expected = LAYOUTS[arrange](transform(x, element, GROUP, "regular"))
    assert torch.equal(transformed(LAYOUTS[arrange](x), feature, element, GROUP), expected)


def parts_transformed(tensor, element, kinds):
    """The group's action on (batch, channels, *spatial), part by part."""
    parts = tensor.split([channels for _, channels in kinds], 1)
    moved = [transform(part, element, GROUP, kind) for part, (kind, _) in zip(parts, kinds, strict=True)]
    return torch.cat(moved, 1)


SIDE = 3
LAYOUTS = {
    "as it is": lambda x: x,
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "channels between": lambda x: x.transpose(1, 2),
    "axes exchanged": lambda x: x.transpose(2, 3),
    "flattened": lambda x: x.flatten(1),
    "positions flattened": lambda x: x.flatten(2),
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "folded into the batch": lambda x: x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]),
    "batch and channels folded": lambda x: x.flatten(0, 1),
    "a new axis": lambda x: x[:, :, None],
}


@pytest.mark.parametrize("kinds", [[("regular", 16)], [("trivial", 5)], [("trivial", 3), ("regular", 8)]], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("element", range(GROUP.order))
def test_the_action_on_a_layout_is_the_layout_of_the_action(layout, kinds, element):
    arrange = LAYOUTS[layout]
    x = torch.randn(2, sum(channels for _, channels in kinds), SIDE, SIDE)
    feature = arranged(feature_of(kinds, x.shape), layout, arrange(x))
    assert can_transform(feature, GROUP)
    expected = arrange(parts_transformed(x, element, kinds))
    assert torch.equal(transformed(arrange(x), feature, element, GROUP), expected)


def arranged(feature, layout, tensor):
    """What the feature is in a layout."""
    if layout in ("channels last", "folded into the batch"):
        return feature.permuted((0, 2, 3, 1)).reshaped(tensor.shape)
    if layout == "channels between":
        return feature.permuted((0, 2, 1, 3))
    if layout == "axes exchanged":
        return feature.permuted((0, 1, 3, 2))
    if layout == "tokens":
        return feature.reshaped((2, feature.channels, SIDE**2)).permuted((0, 2, 1))
    return feature.reshaped(tensor.shape)


@pytest.mark.parametrize("element", range(GROUP.order))
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_of_stacked_features_is_moved_by_itself(axis, element):
    x = torch.randn(3, 2, 8, SIDE, SIDE)
    plain = feature_of([("regular", 8)], x.shape[1:])
    axes = (*plain.axes[:axis], ("s",), *plain.axes[axis:])
    feature = Feature(plain.segments, axes, {**plain.sizes, "s": 3})
    expected = torch.stack([transform(one, element, GROUP, "regular") for one in x], axis)
    assert torch.equal(transformed(torch.stack(list(x), axis), feature, element, GROUP), expected)


@pytest.mark.parametrize("element", range(GROUP.order))
def test_a_vector_has_its_channels_permuted_alone(element):
    x = torch.randn(2, 16)
    expected = transform(x, element, GROUP, "regular")
    assert torch.equal(transformed(x, feature_of([("regular", 16)], x.shape), element, GROUP), expected)


@pytest.mark.parametrize("element", range(GROUP.order))
def test_what_a_network_of_exact_layers_returns_is_moved_as_its_feature_says(element):
    network = nn.Sequential(em.layers.Conv2d(1, 2, 3, group=GROUP, source="trivial"), nn.ReLU(), nn.Flatten()).double()
    x = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    flow = follow_network(network, x)
    feature = flow.features[flow.recording.outputs[0]]
    moved = network(transform(x, element, GROUP, "trivial"))
    assert torch.allclose(transformed(network(x), feature, element, GROUP), moved, atol=1e-12)
