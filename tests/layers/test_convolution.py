import pytest
import reference
import torch

import equimorph as em
from equimorph.errors import ConfigurationError, EquimorphError, GroupError, ShapeError
from equimorph.layers import Conv1d, Conv2d, Conv3d, keeps_grid
from equimorph.testing import TOLERANCES, assert_equivariant, equivariance_errors

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
CONVOLUTIONS = {1: Conv1d, 2: Conv2d, 3: Conv3d}
VOLUME_SAMPLE = [OH.subgroup(name) for name in ("C1", "Cs@x-y", "C3@xyz", "C4v@z", "O", "Oh")]
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *VOLUME_SAMPLE]
TYPES = [("trivial", "regular"), ("regular", "regular"), ("regular", "trivial"), ("trivial", "trivial")]
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")
every_type = pytest.mark.parametrize(("source", "target"), TYPES, ids=lambda value: value)


def random_convolution(H, *, in_fields=1, out_fields=1, kernel_size=3, **options):
    conv = CONVOLUTIONS[H.group.dim](in_fields, out_fields, kernel_size, group=H.group, subgroup=H, **options)
    if conv.space.bias is not None:
        torch.nn.init.normal_(conv.space.bias)
    return conv


def random_input(conv, side, *, batch=2, dtype=None):
    return torch.randn(batch, conv.space.shape.in_channels, *(side,) * conv.dim, dtype=dtype)


@torch.no_grad()
def assert_convolves_as_defined(conv, x, **window):
    types = {"source": conv.space.shape.source, "target": conv.space.shape.target}
    expected = reference.group_convolution(x, conv.dense_weight(), conv.constraint, **types, **window)
    if conv.space.bias is not None:
        expected += conv.dense_bias().view(-1, *(1,) * conv.dim)
    assert reference.relative_error(conv(x), expected) < TOLERANCES[x.dtype]


@every_type
@every_subgroup
def test_convolution_sums_over_pixels_and_elements_as_defined(H, source, target, dtype):
    fields = {"in_fields": 1, "out_fields": 1} if H.group.dim == 3 else {"in_fields": 2, "out_fields": 3}
    kernel_size = 2 if H.group.dim == 3 else 3
    conv = random_convolution(H, **fields, kernel_size=kernel_size, source=source, target=target, dtype=dtype)
    assert_convolves_as_defined(conv, random_input(conv, 5 - kernel_size // 2, dtype=dtype))


@pytest.mark.parametrize(
    "window",
    [
        {"stride": 2},
        {"padding": 2},
        {"dilation": 2},
        {"stride": 3, "padding": 1},
        {"stride": 2, "padding": 2, "dilation": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("H", [Z2.whole, D4.subgroup("C4"), D4.whole], ids=str)
def test_stride_padding_and_dilation_are_those_of_torch(H, window, dtype):
    for kernel_size in (2, 3):
        conv = random_convolution(H, in_fields=2, kernel_size=kernel_size, **window, dtype=dtype)
        assert_convolves_as_defined(conv, random_input(conv, 7, dtype=dtype), **window)


@pytest.mark.parametrize("H", [*Z2.subgroups(), *D4.subgroups()], ids=lambda H: f"{H}-{H.group}")
def test_lifting_correlates_with_moved_copies_of_one_filter_per_coset(H, dtype):
    conv = random_convolution(H, in_fields=2, source="trivial", bias=False, dtype=dtype)
    x = random_input(conv, 5, dtype=dtype)
    out = conv(x)
    for r in reference.coset_representatives(H):
        psi = conv.dense_weight()[r]
        for h in H.indices:
            moved = reference.act(psi[None], h, H.group, "trivial")  # psi(h^-1 x)
            g = reference.index_images(H.group, h)[r]
            assert reference.relative_error(out[:, [g]], reference.correlate(x, moved)) < TOLERANCES[dtype]


@every_type
@every_subgroup
def test_convolution_commutes_with_every_element_at_even_and_odd_sizes(H, source, target, dtype):
    even = 4 if H.group.dim == 3 else 6
    conv = random_convolution(H, source=source, target=target, padding="same", dtype=dtype)
    for side in (even, even + 1):
        assert_equivariant(conv, random_input(conv, side, dtype=dtype), source=source, target=target)


@every_subgroup
def test_even_kernels_and_dilated_kernels_commute_with_every_element(H, dtype):
    for kernel_size, dilation in ((2, 1), (2, 2), (3, 2)):
        conv = random_convolution(H, source="trivial", kernel_size=kernel_size, dilation=dilation, dtype=dtype)
        for side in (5, 6):
            assert_equivariant(conv, random_input(conv, side, dtype=dtype), source="trivial")


@pytest.mark.parametrize("H", [H for H in SUBGROUPS if H.order < H.group.order], ids=lambda H: f"{H}-{H.group}")
def test_convolution_commutes_with_nothing_beyond_its_constraint(H):
    conv = random_convolution(H, source="trivial", padding="same", bias=False)
    x = random_input(conv, 5, batch=1)
    errors = equivariance_errors(conv, x, source="trivial", constraint=H.group.whole)
    assert {h for h, error in errors.items() if error < 0.01} == set(H.indices)


def reversed_axes(H):
    """Axes that some element of H turns round; only these ask for a symmetric grid."""
    return {axis for matrix in H.elements for axis in range(H.group.dim) if matrix[axis].sum() < 0}


@pytest.mark.parametrize("window", [(3, 2, 1, 1), (3, 2, 0, 1), (2, 2, 0, 1), (3, 3, 1, 1), (2, 2, 1, 3)], ids=str)
@pytest.mark.parametrize("H", [Z2.whole, *D4.subgroups()[1:]], ids=str)
def test_strided_convolution_commutes_exactly_where_its_window_keeps_the_grid(H, window):
    kernel_size, stride, padding, dilation = window
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    conv = random_convolution(H, kernel_size=kernel_size, source="trivial", **options, dtype=torch.float64)
    seen = set()
    for side in range(5, 5 + 2 * stride):
        x = random_input(conv, side, dtype=torch.float64)
        kept = keeps_grid(side, kernel_size, **options)
        if kept or not reversed_axes(H):
            assert_equivariant(conv, x, source="trivial")
        else:
            with pytest.raises(AssertionError, match="does not commute with element"):
                assert_equivariant(conv, x, source="trivial", tolerance=0.01)
        seen.add(kept)
    assert seen == {True, False}


@pytest.mark.parametrize("name", ["C3@xyz", "Ci", "C4@z", "Oh"])
def test_strided_convolution_of_volumes_commutes_exactly_where_its_window_keeps_the_grid(name):
    H = OH.subgroup(name)
    conv = random_convolution(H, source="trivial", stride=2, padding=1, dtype=torch.float64)
    assert_equivariant(conv, random_input(conv, 5, dtype=torch.float64), source="trivial")
    x = random_input(conv, 4, dtype=torch.float64)
    if reversed_axes(H):
        with pytest.raises(AssertionError, match="Conv3d does not commute"):
            assert_equivariant(conv, x, source="trivial", tolerance=0.01)
    else:
        assert_equivariant(conv, x, source="trivial")


@pytest.mark.parametrize(("name", "asks_for"), [("D1@0", {0}), ("D1@90", {1}), ("D2@0", {0, 1}), ("D1@135", set())])
def test_each_axis_of_an_image_asks_for_its_own_size(name, asks_for):
    H = D4.subgroup(name)
    assert reversed_axes(H) == asks_for
    conv = random_convolution(H, source="trivial", stride=2, padding=1, dtype=torch.float64)
    for sides in ((7, 7), (8, 7), (7, 8), (8, 8)):
        if name == "D1@135" and sides[0] != sides[1]:
            continue  # a transposed rectangle is another shape
        x = torch.randn(2, 1, *sides, dtype=torch.float64)
        kept = all(keeps_grid(sides[axis], 3, stride=2, padding=1) for axis in asks_for)
        errors = equivariance_errors(conv, x, source="trivial")
        assert (max(errors.values()) < TOLERANCES[torch.float64]) == kept


@pytest.mark.parametrize("source", ["trivial", "regular"])
@pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")
def test_relaxed_layer_computes_the_same_to_the_bit(H, source, dtype):
    conv = random_convolution(H, source=source, padding=1, stride=2, dilation=1, dtype=dtype)
    x = random_input(conv, 4, dtype=dtype)
    relaxed = conv.relaxed(H.group.trivial)
    assert torch.equal(relaxed(x), conv(x)) and relaxed.constraint.order == 1 and conv.constraint == H
    assert (relaxed.stride, relaxed.padding, relaxed.dilation) == (conv.stride, conv.padding, conv.dilation)
    assert relaxed.space is not conv.space and conv.space.subgroup == H


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_projected_layer_commutes_and_is_at_no_distance(H, dtype):
    conv = random_convolution(D4.trivial, in_fields=2, padding=1, dtype=dtype)
    projected = conv.projected(H)
    assert_equivariant(projected, random_input(projected, 5, dtype=dtype))
    assert projected.constraint == H and projected.distance(H) < 1e-15
    assert (conv.distance(H) > 0.1) == (H.order > 1)


def test_kernels_may_be_rectangular_where_no_axes_are_exchanged(dtype):
    conv = random_convolution(D4.subgroup("D2@0"), kernel_size=(3, 5), padding=(1, 2), source="trivial", dtype=dtype)
    assert_equivariant(conv, torch.randn(2, 1, 6, 9, dtype=dtype), source="trivial")
    with pytest.raises(ShapeError, match="D4 exchanges its axes, so they must be equal"):
        random_convolution(D4.whole, kernel_size=(3, 5))


def test_same_padding_keeps_the_size():
    for kernel_size, dilation in ((1, 1), (3, 1), (5, 1), (3, 2), ((3, 5), (1, 3))):
        conv = random_convolution(D4.subgroup("D2"), kernel_size=kernel_size, dilation=dilation, padding="same")
        assert conv(torch.zeros(1, 8, 9, 12)).shape == (1, 8, 9, 12)


def test_groups_are_taken_by_name_or_as_objects():
    by_name = Conv2d(1, 1, 3, group="D4", subgroup="C4")
    as_objects = Conv2d(1, 1, 3, group=D4, subgroup=D4.subgroup("C4"))
    assert by_name.constraint == as_objects.constraint and Conv2d(1, 1, 3, group="D4").constraint == D4.whole
    assert Conv3d(1, 1, 1, group="C4").constraint.name == "C4@z" and Conv1d(1, 1, 1, group="C1").constraint.order == 1


def test_layer_tells_its_fields_window_and_constraint():
    text = repr(Conv2d(2, 3, 5, group="D4", subgroup="C4", source="trivial", stride=2, padding="same"))
    assert "2 trivial -> 3 regular, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2)" in text
    assert "constraint=C4" in text


@pytest.mark.parametrize(
    ("convolution", "options", "error", "needed"),
    [
        (Conv2d, {"group": "Oh"}, GroupError, 'no group "Oh"; there are in 2-D C1, C2, C4, D1, D2, D4'),
        (Conv2d, {"group": OH}, GroupError, "layer of dimension 2: the group Oh acts in dimension 3"),
        (Conv3d, {"group": D4}, GroupError, "layer of dimension 3: the group D4 acts in dimension 2"),
        (Conv1d, {"group": "D4"}, GroupError, 'no group "D4"; there are in 1-D C1, Z2'),
        (Conv2d, {"group": "D4", "subgroup": "C3"}, GroupError, 'group D4: no subgroup "C3"; there are C1, C2'),
        (Conv2d, {"group": "C4", "subgroup": D4.subgroup("C2")}, GroupError, "C2 is a subgroup of D4, not of C4"),
        (Conv2d, {"group": "D4", "source": "vector"}, GroupError, "got 'vector'"),
        (
            Conv2d,
            {"group": "D4", "in_fields": 0},
            ConfigurationError,
            "in_fields is 0; a layer needs at least one field",
        ),
        (Conv2d, {"group": "D4", "out_fields": -1}, ConfigurationError, "out_fields is -1"),
        (
            Conv2d,
            {"group": "D4", "kernel_size": 0},
            ShapeError,
            "Conv2d: kernel_size is one positive number or 2, got 0",
        ),
        (Conv2d, {"group": "D4", "kernel_size": (3, 3, 3)}, ShapeError, r"number or 2, got \(3, 3, 3\)"),
        (Conv2d, {"group": "D4", "stride": 0}, ShapeError, "stride is one positive number or 2, got 0"),
        (Conv2d, {"group": "D4", "padding": -1}, ShapeError, "padding is one positive number or 2, got -1"),
        (Conv2d, {"group": "D4", "padding": "valid"}, ShapeError, "got 'valid'"),
        (
            Conv2d,
            {"group": "D4", "kernel_size": 4, "padding": "same"},
            ShapeError,
            r'"same" with odd kernels; .*\(4, 4\)',
        ),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_with_what_was_needed(convolution, options, error, needed):
    with pytest.raises(error, match=needed) as caught:
        convolution(**{"in_fields": 1, "out_fields": 1, "kernel_size": 3, **options})
    assert isinstance(caught.value, EquimorphError) and isinstance(caught.value, ValueError)


def test_input_with_another_number_of_channels_is_refused():
    with pytest.raises(ShapeError, match=r"Conv2d: needs 16 channels, got 3\."):
        Conv2d(2, 1, 3, group="D4")(torch.zeros(1, 3, 5, 5))
    with pytest.raises(ShapeError, match=r"Conv2d: needs 3 channels, got 24\."):
        Conv2d(3, 1, 3, group="D4", source="trivial")(torch.zeros(1, 24, 5, 5))
