"""Transposed convolutions are the transposes of convolutions, and commute with every element."""

from itertools import product

import pytest
import reference
import torch
import torch.nn.functional as F

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, MorphismError, ShapeError
from equimorph.layers import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from equimorph.testing import TOLERANCES, assert_equivariant

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
TRANSPOSED = {1: ConvTranspose1d, 2: ConvTranspose2d, 3: ConvTranspose3d}
CONVOLUTIONS = {1: Conv1d, 2: Conv2d, 3: Conv3d}
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("C3@xyz", "C4v@z", "Oh"))]
TYPES = [("trivial", "regular"), ("regular", "regular"), ("regular", "trivial"), ("trivial", "trivial")]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")
every_type = pytest.mark.parametrize(("source", "target"), TYPES, ids=lambda value: value)


def random_layer(H, *, in_fields=1, out_fields=1, kernel_size=2, **options):
    layer = TRANSPOSED[H.group.dim](in_fields, out_fields, kernel_size, group=H.group, subgroup=H, **options)
    if layer.space.bias is not None:
        torch.nn.init.normal_(layer.space.bias)
    return layer


def random_input(layer, side, *, dtype=None):
    return torch.randn(2, layer.in_channels, *(side,) * layer.dim, dtype=dtype)


def spread(x, kernel, *, stride=1, padding=0, dilation=1):
    """out[b, o](stride x + dilation t - padding) += sum over c of f[b, c](x) kernel[o, c](t), one tap at a time."""
    extents = [stride * (n - 1) + dilation * (k - 1) + 1 for n, k in zip(x.shape[2:], kernel.shape[2:], strict=True)]
    out = x.new_zeros(x.shape[0], kernel.shape[0], *extents)
    for tap in product(*map(range, kernel.shape[2:])):
        places = [
            slice(dilation * t, dilation * t + stride * (n - 1) + 1, stride)
            for t, n in zip(tap, x.shape[2:], strict=True)
        ]
        out[(..., *places)] += torch.einsum("bc...,oc->bo...", x, kernel[(..., *tap)])
    return out[(..., *(slice(padding, n - padding) for n in extents))]


@every_type
@every_subgroup
@torch.no_grad()
def test_each_pixel_spreads_the_dense_kernel_around_it(H, source, target, dtype):
    fields = {} if H.group.dim == 3 else {"in_fields": 2, "out_fields": 3}
    layer = random_layer(H, **fields, source=source, target=target, dtype=dtype)
    kernel = layer.dense_weight()
    projected = reference.project_kernel(kernel, H, source=source, target=target)
    assert (kernel - projected).abs().max() < TOLERANCES[dtype]
    x = random_input(layer, 3, dtype=dtype)
    expected = spread(x, kernel) + layer.dense_bias().view(-1, *(1,) * layer.dim)
    assert reference.relative_error(layer(x), expected) < TOLERANCES[dtype]


@pytest.mark.parametrize(
    "window", [{"stride": 2}, {"padding": 1}, {"dilation": 2}, {"stride": 3, "padding": 1, "dilation": 2}], ids=str
)
@pytest.mark.parametrize("H", [Z2.whole, D4.subgroup("C4"), D4.whole], ids=str)
@torch.no_grad()
def test_stride_padding_and_dilation_are_those_of_torch(H, window, dtype):
    for kernel_size in (2, 3):
        layer = random_layer(H, in_fields=2, kernel_size=kernel_size, bias=False, **window, dtype=dtype)
        x = random_input(layer, 4, dtype=dtype)
        expected = spread(x, layer.dense_weight(), **window)
        assert reference.relative_error(layer(x), expected) < TOLERANCES[dtype]


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(2, 2, 0), (4, 2, 1), (3, 1, 1), (3, 3, 0)])
@every_subgroup
@torch.no_grad()
def test_it_is_the_transpose_of_the_convolution_with_the_same_values(H, kernel_size, stride, padding):
    """<conv x, y> = <x, conv^T y>: their dense matrices are each other's transposes."""
    options = {"stride": stride, "padding": padding, "bias": False, "dtype": torch.float64}
    layer = random_layer(H, kernel_size=kernel_size, **options)
    conv = CONVOLUTIONS[H.group.dim](1, 1, kernel_size, group=H.group, subgroup=H, **options)
    y = random_input(layer, 2 if H.group.dim == 3 else 3, dtype=torch.float64)
    up = layer(y)
    # A kernel of (out, in) as one of (in, out) commutes with the same elements.
    turned = layer.dense_weight().transpose(0, 1)
    window = {"stride": stride, "padding": padding}
    x = torch.randn_like(up)
    down = (F.conv1d, F.conv2d, F.conv3d)[H.group.dim - 1](x, turned, **window)
    assert down.shape == y.shape == conv(x).shape
    assert float((up * x).sum()) == pytest.approx(float((y * down).sum()), rel=1e-9, abs=1e-9)
    assert (reference.project_kernel(turned, H, source="regular", target="regular") - turned).abs().max() < 1e-14


@every_type
@every_subgroup
def test_it_commutes_with_every_element_at_even_and_odd_sizes(H, source, target, dtype):
    for kernel_size, stride, padding in ((2, 2, 0), (3, 2, 1)):
        layer = random_layer(
            H, kernel_size=kernel_size, stride=stride, padding=padding, source=source, target=target, dtype=dtype
        )
        for side in (2, 3):
            assert_equivariant(layer, random_input(layer, side, dtype=dtype), source=source, target=target)


@pytest.mark.parametrize("H", [H for H in SUBGROUPS if H.order < H.group.order], ids=lambda H: f"{H}-{H.group}")
def test_it_commutes_with_nothing_beyond_its_constraint(H):
    layer = random_layer(H, stride=2, bias=False)
    errors = em.testing.equivariance_errors(layer, random_input(layer, 3), constraint=H.group.whole)
    assert {h for h, error in errors.items() if error < 0.01} == set(H.indices)


def test_output_padding_enlarges_one_end_and_breaks_the_symmetry():
    layer = random_layer(D4.whole, stride=2, output_padding=1, dtype=torch.float64)
    x = random_input(layer, 3, dtype=torch.float64)
    assert layer(x).shape[2:] == (7, 7)
    with pytest.raises(AssertionError, match="ConvTranspose2d does not commute with element"):
        assert_equivariant(layer, x, tolerance=0.01)


@pytest.mark.parametrize("H", [D4.subgroup("C4"), D4.whole], ids=str)
@torch.no_grad()
def test_each_group_of_fields_is_a_layer_of_its_own(H, dtype):
    layer = random_layer(H, in_fields=4, out_fields=6, groups=2, stride=2, dtype=dtype)
    x = random_input(layer, 3, dtype=dtype)
    for half, (given, found) in enumerate(zip(x.chunk(2, 1), layer(x).chunk(2, 1), strict=True)):
        kernel, bias = (part.chunk(2)[half] for part in (layer.dense_weight(), layer.dense_bias()))
        expected = spread(given, kernel, stride=2) + bias.view(-1, 1, 1)
        assert reference.relative_error(found, expected) < TOLERANCES[dtype]
    assert_equivariant(layer, x)


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
@torch.no_grad()
def test_depthwise_each_channel_spreads_a_kernel_of_its_own(H, dtype):
    layer = random_layer(H, in_fields=2, out_fields=2, depthwise=True, stride=2, dtype=dtype)
    x, kernel, bias = random_input(layer, 3, dtype=dtype), layer.dense_weight(), layer.dense_bias()
    assert kernel.shape == (16, 1, 2, 2)
    out = layer(x)
    for channel in range(16):
        expected = spread(x[:, [channel]], kernel[[channel]], stride=2) + bias[channel]
        assert reference.relative_error(out[:, [channel]], expected) < TOLERANCES[dtype]
    assert_equivariant(layer, x)


@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"depthwise": True}], ids=str)
@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_relaxed_it_computes_the_same_to_the_bit(H, options, dtype):
    layer = random_layer(H, in_fields=2, out_fields=2, stride=2, padding=1, output_padding=1, **options, dtype=dtype)
    x = random_input(layer, 3, dtype=dtype)
    relaxed = layer.relaxed(D4.trivial)
    assert torch.equal(relaxed(x), layer(x)) and relaxed.constraint.order == 1 and layer.constraint == H
    for name in ("stride", "padding", "output_padding", "dilation", "groups", "depthwise"):
        assert getattr(relaxed, name) == getattr(layer, name)
    assert relaxed.projected(H).distance(H) < 1e-15


@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"depthwise": True}], ids=str)
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_its_plain_form_is_torch_s_own_layer(dim, options):
    group = {1: Z2, 2: D4, 3: em.group("C4@z", dim=3)}[dim]
    layer = random_layer(group.whole, in_fields=2, out_fields=2, stride=2, padding=1, output_padding=1, **options)
    x = random_input(layer, 3)
    ordinary = em.plain(layer, x)
    assert type(ordinary).__name__ == f"ConvTranspose{dim}d" and torch.equal(ordinary(x), layer(x))
    assert torch.equal(layer.transposed_weight(), ordinary.weight)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"depthwise": True}], ids=str)
def test_a_mixture_has_no_skip_path(options, tied):
    layer = random_layer(D4.whole, in_fields=2, out_fields=2, kernel_size=3, padding=1, **options)
    mixed = em.mix(layer, ["C1", "C4", "D4"], skip=True, tied=tied)
    assert not layer.can_skip and not mixed.space.has_skip
    x = random_input(layer, 4)
    assert (mixed(x) - layer(x)).abs().max() < 1e-5


def test_it_tells_what_it_is():
    text = repr(ConvTranspose2d(2, 4, 2, group="D4", subgroup="C4", stride=2, groups=2))
    assert "2 regular -> 4 regular, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), groups=2" in text
    assert "constraint=C4" in text


@pytest.mark.parametrize(
    ("options", "error", "needed"),
    [
        ({"group": OH}, GroupError, "layer of dimension 2: the group Oh acts in dimension 3"),
        ({"in_fields": 0}, ConfigurationError, "in_fields is 0"),
        ({"stride": 0}, ShapeError, "ConvTranspose2d: stride is one positive number or 2, got 0"),
        ({"padding": -1}, ShapeError, "padding is one positive number or 2, got -1"),
        ({"output_padding": (1, 1, 1)}, ShapeError, r"output_padding is one positive number or 2, got \(1, 1, 1\)"),
        ({"padding": "same"}, ShapeError, "ConvTranspose2d: padding is one positive number or 2, got same"),
        ({"groups": 2, "in_fields": 3}, ConfigurationError, "groups=2 must divide the fields, 3 -> 1"),
        ({"groups": 0}, ConfigurationError, "groups=0 must divide"),
        ({"depthwise": True, "out_fields": 2}, ConfigurationError, "as many fields out as in, of one type"),
        ({"depthwise": True, "source": "trivial"}, ConfigurationError, "of one type"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_with_what_was_needed(options, error, needed):
    with pytest.raises(error, match=needed):
        ConvTranspose2d(**{"in_fields": 1, "out_fields": 1, "kernel_size": 2, "group": "D4", **options})


def test_input_with_another_number_of_channels_is_refused():
    with pytest.raises(ShapeError, match=r"ConvTranspose2d: needs 16 channels, got 3\."):
        ConvTranspose2d(2, 1, 2, group="D4")(torch.zeros(1, 3, 5, 5))
    with pytest.raises(MorphismError, match="not contained in C4"):
        ConvTranspose2d(2, 1, 2, group="D4", subgroup="C4").relaxed(D4.whole)
