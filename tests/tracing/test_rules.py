"""What functions do to features: their axes, channels and types afterwards, and what is not followed."""

import pytest
import torch
import torch.nn.functional as F
from own_forward import Forward
from torch import nn

import equimorph as em
from equimorph.tracing import follow_network

SHAPE = (2, 8, 4, 6)


def followed(forward, shape=SHAPE):
    """The feature that a function makes of the image itself, (batch, 8 channels, *spatial); None where it is lost."""
    flow = follow_network(Forward(lambda self, x: forward(x)), torch.randn(shape))
    return flow.features.get(flow.recording.outputs[0])


def behind_convs(forward, *, kinds=("regular", "trivial"), widths=(8, 8)):
    """The flow of `forward(one, other)`, two features of these types."""
    convs = [
        em.layers.Conv2d(3, width // (4 if kind == "regular" else 1), 1, group="C4", source="trivial", target=kind)
        for kind, width in zip(kinds, widths, strict=True)
    ]
    network = Forward(lambda self, x: forward(self.one(x), self.other(x)), one=convs[0], other=convs[1])
    return follow_network(network, torch.randn(2, 3, 6, 6))


def parts_of(flow, output=0):
    feature = flow.features[flow.recording.outputs[output]]
    return [(segment.term.kind, segment.channels) for segment in feature.segments]


B, C, Y, X = ("b",), ("c",), (0,), (1,)


@pytest.mark.parametrize(
    ("forward", "axes"),
    [
        (lambda x: x.flatten(2), [B, C, (0, 1)]),
        (lambda x: x.flatten(1), [B, ("c", 0, 1)]),
        (lambda x: x.flatten(0, 1), [("b", "c"), Y, X]),
        (lambda x: x.reshape(2, 8, -1), [B, C, (0, 1)]),
        (lambda x: x.view(2, -1), [B, ("c", 0, 1)]),
        (lambda x: x.flatten(2).reshape(2, 8, 4, 6), [B, C, Y, X]),
        (lambda x: x.flatten(2).unflatten(2, (4, 6)), [B, C, Y, X]),
        (lambda x: x.flatten(0, 1).view(2, 8, 4, 6), [B, C, Y, X]),
        (lambda x: nn.Flatten()(x), [B, ("c", 0, 1)]),
        (lambda x: x.permute(0, 2, 3, 1), [B, Y, X, C]),
        (lambda x: x.permute((0, 2, 3, 1)), [B, Y, X, C]),
        (lambda x: torch.permute(x, dims=(0, 3, 2, 1)), [B, X, Y, C]),
        (lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), [B, C, Y, X]),
        (lambda x: x.transpose(1, -1), [B, X, Y, C]),
        (lambda x: torch.transpose(x, dim0=2, dim1=3), [B, C, X, Y]),
        (lambda x: x.swapaxes(1, 2), [B, Y, C, X]),
        (lambda x: x.movedim(1, -1), [B, Y, X, C]),
        (lambda x: torch.movedim(x, (1, 2), (3, 1)), [B, Y, X, C]),
        (lambda x: x.mT, [B, C, X, Y]),
        (lambda x: x.flatten(2).transpose(1, 2), [B, (0, 1), C]),
        (lambda x: x.permute(0, 2, 3, 1).flatten(1, 2), [B, (0, 1), C]),
        (lambda x: x.permute(0, 2, 3, 1).reshape(-1, 8), [("b", 0, 1), C]),
        (lambda x: x.flatten(2)[:, :, None], [B, C, (), (0, 1)]),
    ],
)
def test_axes_are_followed_through_reshapes_and_permutations(forward, axes):
    feature = followed(forward)
    assert list(feature.axes) == axes
    assert [(segment.term.kind, segment.channels) for segment in feature.segments] == [("trivial", 8)]


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x.view(2, 4, 6, 8),
        lambda x: x.view(2, 12, 16),
        lambda x: x.reshape(4, 4, 4, 6),
        lambda x: x.flatten(2).reshape(2, 8, 2, 12),
        lambda x: x.permute(0, 2, 3, 1).reshape(2, 8, 4, 6),
    ],
    ids=["mixed", "merged", "samples", "positions", "not turned back"],
)
def test_a_reshape_that_takes_axes_apart_is_not_followed(forward):
    assert followed(forward) is None


@pytest.mark.parametrize(
    ("forward", "axes", "channels"),
    [
        (lambda x: x.mean((2, 3)), [B, C], 8),
        (lambda x: x.mean(dim=(-2, -1), keepdim=True), [B, C, (), ()], 8),
        (lambda x: x.sum(dim=2), [B, C, X], 8),
        (lambda x: x.sum(axis=3), [B, C, Y], 8),
        (lambda x: torch.amax(x, (2, 3)), [B, C], 8),
        (lambda x: x.flatten(2).max(-1).values, [B, C], 8),
        (lambda x: x.permute(0, 2, 3, 1).mean((1, 2)), [B, C], 8),
        (lambda x: x.norm(2, (2, 3)), [B, C], 8),
        (lambda x: x.var((2, 3), keepdim=True), [B, C, (), ()], 8),
        (lambda x: x.logsumexp(3), [B, C, Y], 8),
        (lambda x: x.mean(1, keepdim=True), [B, C, Y, X], 1),
        (lambda x: x.flatten(2).mean(2), [B, C], 8),
    ],
)
def test_reductions_leave_the_other_axes(forward, axes, channels):
    feature = followed(forward)
    assert list(feature.axes) == axes and feature.channels == channels


def test_what_is_reduced_over_the_channels_is_trivial():
    flow = behind_convs(lambda one, other: one.mean(1, keepdim=True))
    assert parts_of(flow) == [("trivial", 1)]


@pytest.mark.parametrize("forward", [lambda x: x.mean(), lambda x: x.mean(0), lambda x: x.sum((0, 2, 3))])
def test_a_reduction_over_the_samples_is_not_followed(forward):
    assert followed(forward) is None


@pytest.mark.parametrize("function", [torch.cat, torch.concat])
def test_concatenated_channels_keep_their_types_in_order(function):
    flow = behind_convs(lambda one, other: function([one, other, one[:, :4]], dim=1), widths=(8, 3))
    assert parts_of(flow) == [("regular", 8), ("trivial", 3), ("regular", 4)]


def test_channels_are_concatenated_wherever_their_axis_is():
    flow = behind_convs(lambda one, other: torch.cat([one.movedim(1, -1), other.movedim(1, -1)], -1), widths=(8, 3))
    assert parts_of(flow) == [("regular", 8), ("trivial", 3)]


def test_concatenated_positions_and_samples_keep_the_channels():
    assert followed(lambda x: torch.cat([x, x], 2)).sizes == {"b": 2, "c": 8, 0: 8, 1: 6}
    assert followed(lambda x: torch.cat([x, x])).sizes == {"b": 4, "c": 8, 0: 4, 1: 6}


def test_concatenation_of_features_of_unlike_axes_is_not_followed():
    assert followed(lambda x: torch.cat([x[..., :4], x[..., :4].transpose(2, 3)], 1)) is None


@pytest.mark.parametrize(
    ("divide", "channels"),
    [
        (lambda x: x.chunk(2, 1), [[3, 1], [4]]),
        (lambda x: x.split(4, 1), [[3, 1], [4]]),
        (lambda x: x.split([2, 5, 1], dim=1), [[2], [1, 4], [1]]),
        (lambda x: torch.tensor_split(x, 2, dim=1), [[3, 1], [4]]),
        (lambda x: (x[:, 2:], x[:, :3], x[:, -5:]), [[1, 5], [3], [5]]),
        (lambda x: (x.narrow(1, 3, 5), x.narrow(dim=1, start=0, length=4)), [[5], [3, 1]]),
    ],
    ids=["chunk", "split", "split by sizes", "tensor_split", "slices", "narrow"],
)
def test_parts_of_the_channels_have_the_segments_that_are_in_them(divide, channels):
    flow = follow_network(
        Forward(lambda self, x: divide(torch.cat([x, self.conv(x)], 1)), conv=nn.Conv2d(3, 5, 1)),
        torch.randn(2, 3, 4, 4),
    )
    parts = [flow.features[value].segments for value in flow.recording.outputs]
    assert [[segment.channels for segment in part] for part in parts] == channels
    kinds = {(segment.term.kind, segment.channels <= 3) for part in parts for segment in part}
    assert ("trivial", True) in kinds and (None, False) in kinds


@pytest.mark.parametrize(
    ("forward", "sizes"),
    [
        (lambda x: x.chunk(2, 2)[1], (2, 8, 2, 6)),
        (lambda x: x.split(2, dim=3)[0], (2, 8, 4, 2)),
        (lambda x: x.narrow(2, 1, 2), (2, 8, 2, 6)),
        (lambda x: x[..., 1:-1], (2, 8, 4, 4)),
        (lambda x: x[:, :, ::2, ::2], (2, 8, 2, 3)),
        (lambda x: x[:1], (1, 8, 4, 6)),
        (lambda x: x[:, :4, 1:], (2, 4, 3, 6)),
    ],
)
def test_parts_of_positions_are_maps_of_other_sides(forward, sizes):
    feature = followed(forward)
    assert tuple(feature.sizes[label] for label in ("b", "c", 0, 1)) == sizes
    assert list(feature.axes) == [B, C, Y, X]


def test_new_axes_of_an_index_run_over_nothing():
    assert list(followed(lambda x: x.mean((2, 3))[:, :, None, None]).axes) == [B, C, (), ()]
    assert list(followed(lambda x: x[:, None]).axes) == [B, (), C, Y, X]


@pytest.mark.parametrize(
    "forward",
    [lambda x: x[:, 0], lambda x: x[0], lambda x: x[..., 0], lambda x: x[:, ::2], lambda x: x[:, [0, 1]]],
    ids=["a channel", "a sample", "a position", "every other channel", "a list"],
)
def test_what_an_index_picks_out_is_not_followed(forward):
    assert followed(forward) is None


def test_expanded_axes_are_positions_again():
    feature = followed(lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 5, 7))
    assert list(feature.axes) == [B, C, Y, X] and feature.sizes == {"b": 2, "c": 8, 0: 5, 1: 7}


def test_expand_as_gives_the_positions_of_the_other():
    assert list(followed(lambda x: x.mean((2, 3), keepdim=True).expand_as(x)).axes) == [B, C, Y, X]


def test_one_channel_expanded_to_many_fits_features_of_any_type():
    flow = behind_convs(lambda one, other: one * one.mean(1, keepdim=True).expand_as(one))
    assert parts_of(flow) == [("regular", 8)]


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x + x,
        lambda x: x * x.mean((2, 3), keepdim=True),
        lambda x: x.mean((2, 3), keepdim=True) * x,
        lambda x: x + x.mean(1, keepdim=True),
        lambda x: x * x.mean(3, keepdim=True),
        lambda x: x.mean(2, keepdim=True) + x.mean(3, keepdim=True),
        lambda x: torch.where(x > 0, x, -x),
        lambda x: x / 2 + 1,
        lambda x: torch.maximum(x, torch.zeros(())),
        lambda x: x.add_(1).clamp_(0),
        lambda x: F.layer_norm(x.movedim(1, -1), (8,)).movedim(-1, 1),
        lambda x: F.normalize(x, dim=1),
    ],
)
def test_elementwise_functions_keep_axes_and_channels(forward):
    feature = followed(forward)
    assert list(feature.axes) == [B, C, Y, X]
    assert feature.sizes == {"b": 2, "c": 8, 0: 4, 1: 6}
    assert [segment.channels for segment in feature.segments] == [8]


def test_layers_and_functions_without_a_rule_keep_axes_at_other_sides():
    feature = followed(lambda x: F.pad(F.max_pool2d(x, 2), (1, 1, 0, 0)))
    assert feature.sizes == {"b": 2, "c": 8, 0: 2, 1: 5}


def test_what_is_written_into_a_feature_leaves_its_type():
    def write(one, other):
        one = one.clone()
        one[:, :4] = other[:, :4]
        return one

    flow = behind_convs(write)
    assert parts_of(flow) == [("regular", 8)] and not flow.problems


def test_what_is_written_into_a_tensor_of_no_type_has_none():
    def write(x):
        made = torch.zeros(SHAPE)
        made[:, :4] = x[:, 4:]
        return made

    assert followed(write) is None


def test_elementwise_functions_of_turned_axes_are_not_followed():
    assert followed(lambda x: x + x.transpose(2, 3), (2, 8, 4, 4)) is None


def test_addition_gives_both_one_type():
    network = Forward(lambda self, x: self.one(x) + self.other(x), one=nn.Conv2d(3, 8, 1), other=nn.Conv2d(3, 8, 1))
    flow = follow_network(network, torch.randn(2, 3, 4, 4))
    one, other = (use.target.term() for use in flow.weights)
    assert one.root is other.root and one.kind is None


@pytest.mark.parametrize(
    ("forward", "name"),
    [
        (lambda one, other: one + other, "add"),
        (lambda one, other: torch.stack([one, other]), "stack"),
        (lambda one, other: torch.cat([one, other], 2), "cat"),
        (lambda one, other: one[:, :4] * other[:, 4:], "mul"),
    ],
)
def test_features_of_different_types_are_a_problem_that_is_named(forward, name):
    (problem,) = behind_convs(forward).problems
    assert problem.path == name and "different types" in problem.reason and problem.remedy


def test_one_channel_of_a_regular_feature_cannot_be_taken_for_all():
    (problem,) = behind_convs(lambda one, other: one[:, :1] * other).problems
    assert "different types" in problem.reason


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacked_features_have_an_axis_of_their_own(axis):
    feature = followed(lambda x: torch.stack([x, 2 * x, 3 * x], axis))
    assert feature.axes[axis] == ("s",) and feature.sizes["s"] == 3 and feature.channels == 8


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: torch.stack([x, x], 1).sum(1),
        lambda x: torch.stack([x, x]).mean(0),
        lambda x: torch.stack([x, x], 1)[:, 1],
        lambda x: torch.stack([x, x], 1).unbind(1)[0],
        lambda x: torch.stack([x, x], 1).unbind(dim=1)[1],
        lambda x: (torch.stack([x, x], 1) * torch.stack([x, x], 1).softmax(1)).sum(1),
    ],
    ids=["sum", "mean", "index", "unbind", "unbind by keyword", "weighted sum"],
)
def test_stacked_features_are_themselves_again(forward):
    feature = followed(forward)
    assert list(feature.axes) == [B, C, Y, X] and feature.channels == 8


def test_channels_divided_into_equal_parts_are_stacked_features():
    feature = followed(lambda x: x.view(2, 2, 4, 4, 6))
    assert list(feature.axes) == [B, ("s",), C, Y, X] and (feature.sizes["s"], feature.channels) == (2, 4)


def test_channels_whose_parts_are_of_other_widths_are_not_stacked():
    def divided(x):
        return torch.cat([x[:, :3], x[:, :5], x[:, :4], x[:, :4]], 1).view(2, 2, 8, 4, 6)

    assert followed(divided) is None


def test_stacked_features_read_as_channels_are_one_after_the_other():
    feature = followed(lambda x: torch.stack([x, x], 1).flatten(1, 2))
    assert list(feature.axes) == [B, C, Y, X]
    assert [segment.channels for segment in feature.segments] == [8, 8]


def shuffled(x):
    return x.view(2, 2, 4, 4, 6).transpose(1, 2).reshape(2, 8, 4, 6)


def test_a_channel_shuffle_is_no_plain_feature_afterwards():
    feature = followed(shuffled)
    assert feature is None or feature.channel_axis is None


def test_a_convolution_behind_a_channel_shuffle_is_a_problem():
    network = Forward(lambda self, x: self.conv(shuffled(x)), conv=nn.Conv2d(8, 8, 1))
    (problem,) = follow_network(network, torch.randn(SHAPE), go_on=True).problems
    assert problem.path == "conv" and "shuffle" in problem.reason


def attention(x):
    tokens = x.flatten(2).transpose(1, 2)
    return (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens


@pytest.mark.parametrize(
    "forward",
    [
        attention,
        lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
        lambda x: torch.bmm(x.flatten(2), x.flatten(2).mT),
        lambda x: F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3),
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: nn.PixelUnshuffle(2)(x),
        lambda x: x.repeat(1, 2, 1, 1),
        lambda x: x.repeat_interleave(2, 1),
        lambda x: x.index_select(1, torch.arange(4)),
        lambda x: F.unfold(x, 3),
    ],
)
def test_what_mixes_channels_and_positions_is_not_followed(forward):
    assert followed(forward) is None


def test_integers_and_truth_values_are_no_features():
    assert followed(lambda x: x > 0) is None
    assert followed(lambda x: x.argmax(1)) is None


def test_behind_an_unknown_layer_the_trace_is_lost_with_its_reason():
    network = Forward(lambda self, x: self.head(F.pixel_shuffle(x, 2)), head=nn.Conv2d(2, 2, 1))
    (problem,) = follow_network(network, torch.randn(SHAPE), go_on=True).problems
    assert problem.path == "head" and "after pixel_shuffle" in problem.reason
