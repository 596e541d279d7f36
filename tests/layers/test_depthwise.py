"""Depthwise and grouped convolutions, and the ways to pad, against dense ones made the slow way."""

import pytest
import reference
import torch
import torch.nn.functional as F

import equimorph as em
from equimorph.errors import ConfigurationError, ShapeError
from equimorph.layers import Conv1d, Conv2d, Conv3d
from equimorph.testing import TOLERANCES, assert_equivariant, equivariance_errors

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
CONVOLUTIONS = {1: Conv1d, 2: Conv2d, 3: Conv3d}
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("C3@xyz", "C4v@z", "Oh"))]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")
every_2d = pytest.mark.parametrize("H", D4.subgroups(), ids=str)
TYPES = [("trivial", "regular"), ("regular", "regular"), ("regular", "trivial"), ("trivial", "trivial")]


def random_convolution(H, *, in_fields=1, out_fields=1, kernel_size=3, **options):
    conv = CONVOLUTIONS[H.group.dim](in_fields, out_fields, kernel_size, group=H.group, subgroup=H, **options)
    if conv.space.bias is not None:
        torch.nn.init.normal_(conv.space.bias)
    return conv


def random_input(conv, side, *, dtype=None):
    return torch.randn(2, conv.in_channels, *(side,) * conv.dim, dtype=dtype)


def with_bias(out, conv):
    return out + conv.dense_bias().view(-1, *(1,) * conv.dim)


def on_the_diagonal(kernel):
    """A dense kernel that is zero except from each channel to itself."""
    dense = kernel.new_zeros(len(kernel), len(kernel), *kernel.shape[2:])
    for channel, of_channel in enumerate(kernel[:, 0]):
        dense[channel, channel] = of_channel
    return dense


@every_subgroup
@torch.no_grad()
def test_depthwise_is_the_group_convolution_whose_kernel_is_zero_unless_g_is_u_and_c_is_c(H, dtype):
    fields = 1 if H.group.dim == 3 else 2
    conv = random_convolution(H, in_fields=fields, out_fields=fields, depthwise=True, padding=1, dtype=dtype)
    x = random_input(conv, 4, dtype=dtype)
    dense = on_the_diagonal(conv.dense_weight())
    projected = reference.project_kernel(dense, H, source="regular", target="regular")
    assert (dense - projected).abs().max() < TOLERANCES[dtype]  # it commutes, as a kernel of all channels
    expected = reference.group_convolution(x, dense, H, source="regular", target="regular", padding=1)
    assert reference.relative_error(conv(x), with_bias(expected, conv)) < TOLERANCES[dtype]


@every_subgroup
def test_depthwise_commutes_with_every_element(H, dtype):
    fields = 1 if H.group.dim == 3 else 2
    for kernel_size in (2, 3):
        conv = random_convolution(
            H, in_fields=fields, out_fields=fields, kernel_size=kernel_size, depthwise=True, dtype=dtype
        )
        for side in (4, 5):
            assert_equivariant(conv, random_input(conv, side, dtype=dtype))


@pytest.mark.parametrize("H", [H for H in SUBGROUPS if H.order < H.group.order], ids=lambda H: f"{H}-{H.group}")
def test_depthwise_commutes_with_nothing_beyond_its_constraint(H):
    conv = random_convolution(H, depthwise=True, padding=1, bias=False)
    errors = equivariance_errors(conv, random_input(conv, 5), constraint=H.group.whole)
    assert {h for h, error in errors.items() if error < 0.01} == set(H.indices)


@every_subgroup
def test_a_depthwise_kernel_has_one_free_value_per_orbit_of_positions_and_channels(H):
    conv = random_convolution(H, depthwise=True, bias=False)
    assert conv.space.weight.numel() == 3**H.group.dim * H.group.order // H.order


@every_2d
@torch.no_grad()
def test_depthwise_for_images_sees_each_channel_alone(H, dtype):
    conv = random_convolution(
        H, in_fields=3, out_fields=3, depthwise=True, source="trivial", target="trivial", dtype=dtype
    )
    x, kernel = random_input(conv, 5, dtype=dtype), conv.dense_weight()
    assert kernel.shape == (3, 1, 3, 3)
    out = torch.cat([reference.correlate(x[:, [channel]], kernel[[channel]]) for channel in range(3)], 1)
    assert reference.relative_error(conv(x), with_bias(out, conv)) < TOLERANCES[dtype]
    assert_equivariant(conv, x, source="trivial", target="trivial")


@pytest.mark.parametrize(("source", "target"), TYPES, ids=lambda value: value)
@every_2d
@torch.no_grad()
def test_each_group_of_fields_is_a_convolution_of_its_own(H, source, target, dtype):
    conv = random_convolution(
        H, in_fields=4, out_fields=6, groups=2, source=source, target=target, stride=2, padding=1, dtype=dtype
    )
    x = random_input(conv, 5, dtype=dtype)
    out = conv(x)
    for half, (given, found) in enumerate(zip(x.chunk(2, 1), out.chunk(2, 1), strict=True)):
        alone = random_convolution(
            H, in_fields=2, out_fields=3, source=source, target=target, stride=2, padding=1, dtype=dtype
        )
        # Columns of a table are pairs (o, c): those of the first fields come first.
        alone.space.weight.copy_(conv.space.weight.chunk(2, 1)[half])
        alone.space.bias.copy_(conv.space.bias.chunk(2, 1)[half])
        assert torch.equal(alone.dense_weight(), conv.dense_weight().chunk(2)[half])
        assert reference.relative_error(found, alone(given)) < TOLERANCES[dtype]
    assert_equivariant(conv, x, source=source, target=target)


def test_as_many_groups_as_fields_keep_the_elements_of_a_field_together():
    conv = random_convolution(D4.whole, in_fields=3, out_fields=3, groups=3, padding=1)
    x = random_input(conv, 5)
    changed = x.clone()
    changed[:, 8:16] += 1
    moved = (conv(changed) - conv(x)).abs().amax((0, 2, 3)).unflatten(0, (3, 8))
    assert (moved[1] > 0).all() and not moved[[0, 2]].any()


def padded(x, padding, mode):
    """The pixels around an image, each looked up by its own number."""

    def origin(place, side):
        if mode == "circular":
            return place % side
        if mode == "replicate":
            return min(max(place, 0), side - 1)
        return -place if place < 0 else 2 * (side - 1) - place if place >= side else place

    for axis in range(2, x.ndim):
        side = x.shape[axis]
        x = x.index_select(axis, torch.tensor([origin(place, side) for place in range(-padding, side + padding)]))
    return x


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("options", [{}, {"depthwise": True}, {"groups": 2}], ids=str)
@every_2d
@torch.no_grad()
def test_ways_to_pad_look_up_the_pixels_and_keep_the_symmetry(H, options, mode, dtype):
    conv = random_convolution(H, in_fields=2, out_fields=2, padding=1, padding_mode=mode, **options, dtype=dtype)
    bare = random_convolution(H, in_fields=2, out_fields=2, **options, dtype=dtype)
    bare.load_state_dict(conv.state_dict())
    x = random_input(conv, 4, dtype=dtype)
    assert reference.relative_error(conv(x), bare(padded(x, 1, mode))) < TOLERANCES[dtype]
    assert_equivariant(conv, x)
    ordinary = em.plain(conv, x)
    assert ordinary.padding_mode == mode and reference.relative_error(ordinary(x), conv(x)) < TOLERANCES[dtype]


@pytest.mark.parametrize("group", [Z2, em.group("C4@z", dim=3)], ids=str)
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@torch.no_grad()
def test_signals_and_volumes_are_padded_likewise(group, mode):
    conv = random_convolution(group.whole, padding=2, kernel_size=5, padding_mode=mode)
    bare = random_convolution(group.whole, kernel_size=5)
    bare.load_state_dict(conv.state_dict())
    x = random_input(conv, 4)
    assert reference.relative_error(conv(x), bare(padded(x, 2, mode))) < TOLERANCES[torch.float32]


def test_axes_that_stay_may_be_padded_differently():
    conv = random_convolution(
        D4.subgroup("D2@0"), kernel_size=(3, 5), padding=(1, 2), padding_mode="circular", source="trivial"
    )
    x = torch.randn(2, 1, 6, 7)
    expected = F.conv2d(F.pad(x, [2, 2, 1, 1], mode="circular"), conv.dense_weight(), conv.dense_bias())
    assert torch.equal(conv(x), expected)
    assert_equivariant(conv, x, source="trivial")


@pytest.mark.parametrize("options", [{"depthwise": True}, {"groups": 2}, {"padding_mode": "reflect"}], ids=str)
@every_2d
def test_relaxed_they_compute_the_same_to_the_bit(H, options, dtype):
    conv = random_convolution(H, in_fields=2, out_fields=2, padding=1, **options, dtype=dtype)
    x = random_input(conv, 4, dtype=dtype)
    relaxed = conv.relaxed(D4.trivial)
    assert torch.equal(relaxed(x), conv(x)) and relaxed.constraint.order == 1 and conv.constraint == H
    assert (relaxed.groups, relaxed.depthwise, relaxed.padding_mode) == (conv.groups, conv.depthwise, conv.padding_mode)
    assert relaxed.projected(H).distance(H) < 1e-15


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("options", "has_skip"),
    [
        ({}, True),
        ({"dilation": 2, "padding": 2}, True),
        ({"padding_mode": "reflect"}, True),
        ({"depthwise": True}, False),
        ({"groups": 2}, False),
        ({"groups": 2, "in_fields": 4}, False),  # each group has as many fields in as there are out
        ({"stride": 2}, False),
        ({"padding": 0}, False),
        ({"source": "trivial"}, False),
    ],
    ids=str,
)
def test_only_a_dense_layer_that_keeps_its_positions_has_a_skip_path(options, has_skip, tied):
    conv = random_convolution(D4.whole, **{"in_fields": 2, "out_fields": 2, "padding": 1, **options})
    mixed = em.mix(conv, ["C1", "C4", "D4"], skip=True, tied=tied)
    assert mixed.space.has_skip == conv.can_skip == has_skip
    found = em.discretize(mixed)
    assert found.constraint == D4.whole and (found.groups, found.depthwise) == (conv.groups, conv.depthwise)
    if not has_skip:
        x = random_input(conv, 4)
        assert reference.relative_error(mixed(x), conv(x)) < 1e-5
        if "stride" not in options:
            assert_equivariant(mixed, x, source=conv.source, constraint=D4.whole)


def test_they_tell_what_they_are():
    assert repr(Conv2d(2, 2, 3, group="D4", depthwise=True)).startswith(
        "Conv2d(\n  2 regular -> 2 regular, kernel_size=(3, 3), stride=(1, 1), padding=(0, 0), depthwise"
    )
    assert "4 trivial -> 6 regular" in repr(Conv2d(4, 6, 3, group="D4", source="trivial", groups=2))
    assert "groups=2" in repr(Conv2d(4, 6, 3, group="D4", groups=2))


@pytest.mark.parametrize(
    ("options", "error", "needed"),
    [
        ({"groups": 2}, ConfigurationError, "Conv2d: groups=2 must divide the fields, 1 -> 1, since a field is not"),
        ({"groups": 2, "in_fields": 2}, ConfigurationError, "groups=2 must divide the fields, 2 -> 1"),
        ({"groups": 0}, ConfigurationError, "groups=0 must divide"),
        ({"groups": -1}, ConfigurationError, "groups=-1 must divide"),
        ({"depthwise": True, "out_fields": 2}, ConfigurationError, "as many fields out as in.* got 1 -> 2"),
        ({"depthwise": True, "target": "trivial"}, ConfigurationError, "of one type, and no groups besides"),
        ({"depthwise": True, "groups": 2}, ConfigurationError, "got 1 -> 1 with groups=2"),
        ({"depthwise": True, "in_fields": 0, "out_fields": 0}, ConfigurationError, "needs at least one field"),
        ({"padding_mode": "mirror"}, ConfigurationError, '"mirror"; it is one of zeros, reflect, replicate, circular'),
        ({"depthwise": True, "kernel_size": (3, 5)}, ShapeError, "D4 exchanges its axes"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_with_what_was_needed(options, error, needed):
    with pytest.raises(error, match=needed):
        Conv2d(**{"in_fields": 1, "out_fields": 1, "kernel_size": 3, "group": "D4", **options})


def test_input_with_another_number_of_channels_is_refused():
    with pytest.raises(ShapeError, match=r"Conv2d: needs 16 channels, got 1\."):
        Conv2d(2, 2, 3, group="D4", depthwise=True)(torch.zeros(1, 1, 5, 5))
    with pytest.raises(ShapeError, match=r"Conv2d: needs 32 channels, got 16\."):
        Conv2d(4, 2, 3, group="D4", groups=2)(torch.zeros(1, 16, 5, 5))
