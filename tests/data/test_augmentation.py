"""Augmentation: what its words say, what of the group is reached by chance, and where every pixel goes."""

import itertools
import math

import pytest
import torch

from equimorph.data import Augmentation, move_randomly
from equimorph.data.augmentation import _PADDING, FORMS, conflict
from equimorph.data.resampling import places_of, resampled
from equimorph.errors import ConfigurationError, GroupError, ShapeError
from equimorph.groups import group
from equimorph.layers.features import transform

D4 = group("D4")
GRIDS = {1: group("Z2"), 2: D4, 3: group("Oh")}
every_subgroup = pytest.mark.parametrize("subgroup", D4.subgroups(), ids=str)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(sample, subgroup):
    """The sample moved by each element of the subgroup, shape (|H|, channels, *spatial)."""
    return torch.cat([transform(sample[None], element, subgroup.group, "trivial") for element in subgroup.indices])


def elements_of(x, moved, subgroup):
    """Which element took each sample to where it is: positions in the subgroup; every sample has trivial stabiliser."""
    found = []
    for before, after in zip(x, moved, strict=True):
        equal = [torch.equal(image, after) for image in images_of(before, subgroup)]
        assert sum(equal) == 1
        found.append(equal.index(True))
    return torch.tensor(found)


@every_subgroup
def test_every_sample_is_moved_by_one_element_and_every_element_occurs_as_often(subgroup):
    x = torch.randn(400, 2, 3, 3)
    counts = elements_of(x, move_randomly(x, subgroup, generator()), subgroup).bincount(minlength=subgroup.order)
    # Each count is binomial; four of its standard deviations.
    share = 1 / subgroup.order
    assert (counts - 400 * share).abs().max() <= 4 * (400 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(
    ("name", "shape"), [("Z2", (5,)), ("C2", (4, 6)), ("D2", (4, 6)), ("Oh", (3, 3, 3)), ("C4v", (3, 3, 2))], ids=str
)
def test_signals_volumes_and_oblong_images_are_moved_too(name, shape):
    subgroup = group(name, dim=len(shape)).whole
    x = torch.randn(30 * subgroup.order, 1, *shape)
    elements = elements_of(x, move_randomly(x, subgroup, generator()), subgroup)
    assert elements.unique().tolist() == list(range(subgroup.order))


def test_the_trivial_subgroup_moves_nothing_and_returns_a_new_tensor():
    x = torch.randn(5, 2, 4, 6)
    moved = move_randomly(x, D4.trivial, generator())
    assert torch.equal(moved, x) and moved.data_ptr() != x.data_ptr()


@every_subgroup
def test_what_was_handed_in_stays_as_it_was(subgroup):
    x = torch.randn(20, 1, 4, 4)
    before = x.clone()
    move_randomly(x, subgroup, generator())
    assert torch.equal(x, before)


def test_samples_are_moved_independently_of_each_other():
    x = torch.randn(1600, 1, 3, 3)
    elements = elements_of(x, move_randomly(x, D4.whole, generator()), D4.whole)
    pairs = (elements[:-1] * 8 + elements[1:]).bincount(minlength=64)
    assert (pairs - 1599 / 64).abs().max() < 5 * 5  # each has a standard deviation of 5


@every_subgroup
def test_the_generator_alone_decides(subgroup):
    x = torch.randn(50, 1, 4, 4)
    before = torch.get_rng_state()
    first, again, other = (move_randomly(x, subgroup, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (subgroup.order == 1)
    one = generator()
    assert torch.equal(move_randomly(x, subgroup, one), move_randomly(x, subgroup, one)) == (subgroup.order == 1)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float16, torch.float32, torch.float64], ids=str)
def test_the_dtype_is_kept(kind):
    x = torch.arange(48).view(3, 1, 4, 4).to(kind)
    moved = move_randomly(x, D4.whole, generator())
    assert moved.dtype == kind
    elements_of(x, moved, D4.whole)


def test_images_that_are_no_contiguous_batch_are_moved_alike():
    x = torch.randn(40, 3, 4, 4)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(move_randomly(last, D4.whole, generator()), move_randomly(x, D4.whole, generator()))
    expanded = x[:1].expand(40, -1, -1, -1)
    elements_of(expanded, move_randomly(expanded, D4.whole, generator()), D4.whole)


def test_an_empty_batch_stays_empty():
    assert move_randomly(torch.zeros(0, 3, 4, 4), D4.whole, generator()).shape == (0, 3, 4, 4)


def test_gradients_are_moved_back():
    x = torch.randn(20, 1, 3, 3, requires_grad=True)
    weight = torch.randn(20, 1, 3, 3)
    (move_randomly(x, D4.whole, generator()) * weight).sum().backward()
    moved = move_randomly(x.detach(), D4.whole, generator())
    assert float((x.grad * x.detach()).sum()) == pytest.approx(float((moved * weight).sum()), abs=1e-4)


@pytest.mark.parametrize("name", ["C4", "D1@45", "D1@135", "D2@45", "D4"])
def test_a_subgroup_that_exchanges_unequal_sides_is_refused(name):
    with pytest.raises(ShapeError, match=rf"move_randomly: {name} exchanges axes, and the sides \(4, 6\)"):
        move_randomly(torch.zeros(2, 1, 4, 6), D4.subgroup(name), generator())


@pytest.mark.parametrize("shape", [(2, 8), (2, 1, 4), (2, 1, 4, 4, 4)], ids=str)
def test_samples_of_another_dimension_are_refused(shape):
    with pytest.raises(ShapeError, match="D4 acts on 2 spatial axes, got samples of shape"):
        move_randomly(torch.zeros(*shape), D4.trivial, generator())


@pytest.mark.parametrize(
    ("text", "dim", "meant"),
    [
        ("", 2, {}),
        (" , ,", 2, {}),
        ("turn", 2, {"turn": "any"}),
        ("turn=any", 3, {"turn": "any"}),
        ("turn=z", 3, {"turn": "z"}),
        ("mirror", 1, {"mirror": True}),
        ("move=D1@45", 2, {"move": "D1@45"}),
        (" shift = 0.1 ,scale=1e-1", 2, {"shift": 0.1, "scale": 0.1}),
        ("intensity=0.25", 1, {"intensity": 0.25}),
        ("turn, mirror, shift=0.5, fill=border", 2, {"turn": "any", "mirror": True, "shift": 0.5, "fill": "border"}),
        ("shift=0", 2, {}),
    ],
)
def test_words_say_what_is_changed(text, dim, meant):
    assert Augmentation.parse(text, dim=dim) == Augmentation(dim, **meant)


@pytest.mark.parametrize("fill", ["reflection", "border", "mean"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_words_of_an_augmentation_say_it_again(dim, fill):
    turns = {1: ["none"], 2: ["none", "any"], 3: ["none", "any", "z"]}[dim]
    moves = {1: [None, "Z2"], 2: [None, "C4", "D1@135"], 3: [None, "C4@z", "Oh"]}[dim]
    numbers = [(0, 0, 0), (0.1, 0, 1), (0.30000000000000004, 1 / 3, 1e-7)]
    for move, turn, mirror, (shift, scale, intensity) in itertools.product(moves, turns, (False, True), numbers):
        it = Augmentation(dim, move, turn, mirror, shift, scale, intensity, fill)
        again = Augmentation.parse(str(it), dim=dim)
        if turn == "none" and not mirror and not shift and not scale:  # nothing comes in from outside
            assert again == Augmentation(dim, move, intensity=intensity)
        else:
            assert again == it


@pytest.mark.parametrize(
    "word",
    [
        *("flip", "Turn", "turn=x", "turn=", "turn=none", "mirror=1", "mirror=", "shift", "shift=", "shift=far"),
        *("scale", "intensity=bright", "move", "move=", "fill", "fill=", "=", "=0.1", "rotate=90", "noise=0.1"),
    ],
)
def test_a_word_that_is_none_is_refused_with_those_there_are(word):
    given = f"mirror, {word}" if not word.startswith("mirror") else word
    with pytest.raises(ConfigurationError) as caught:
        Augmentation.parse(given, dim=2)
    assert str(caught.value) == f'augmentation: "{word}" is none of {FORMS}.'


@pytest.mark.parametrize(
    ("text", "dim", "error", "said"),
    [
        ("turn, turn", 2, ConfigurationError, '"turn" is named twice in "turn, turn"'),
        ("shift=0.1,shift=0.2", 2, ConfigurationError, '"shift" is named twice'),
        ("turn", 1, ConfigurationError, "dimension 1 have no turn any"),
        ("turn=z", 2, ConfigurationError, "dimension 2 have no turn z"),
        ("shift=1.1", 2, ConfigurationError, "shift is 1.1; it must be from 0 to 1"),
        ("scale=-0.1", 2, ConfigurationError, "scale is -0.1; it must be from 0 to 1"),
        ("intensity=nan", 2, ConfigurationError, "intensity is nan; it must be from 0 to 1"),
        ("intensity=inf", 2, ConfigurationError, "intensity is inf"),
        ("shift=0.1, fill=black", 2, ConfigurationError, 'fill is "black"; it is one of reflection, border, mean'),
        ("move=C3", 2, GroupError, 'no subgroup "C3"; there are C1, C2'),
        ("move=C4", 1, GroupError, 'no subgroup "C4"; there are C1, Z2'),
    ],
)
def test_values_out_of_range_are_refused(text, dim, error, said):
    with pytest.raises(error) as caught:
        Augmentation.parse(text, dim=dim)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "ambient", "reached"),
    [
        ("", "D4", "C1"),
        ("shift=0.1, scale=0.1, intensity=0.1", "D4", "C1"),
        ("mirror", "Z2", "Z2"),
        ("move=Z2", "Z2", "Z2"),
        ("turn", "D4", "C4"),
        ("turn", "C2", "C2"),
        ("turn", "D2", "C2"),
        ("mirror", "D4", "D1@90"),
        ("mirror", "C4", "C1"),
        ("turn, mirror", "D4", "D4"),
        ("move=D1@45, mirror", "D4", "D4"),  # two mirrors make a quarter turn
        ("move=D1@0, mirror", "C4", "C2"),  # which each of them is none of
        ("move=D4", "C4", "C4"),
        ("turn", "Oh", "O"),
        ("turn=z", "Oh", "C4@z"),
        ("turn=z", "O", "C4@z"),
        ("mirror", "Oh", "Cs@x"),
        ("turn=z, mirror", "Oh", "C4v@z"),
        ("turn, mirror", "Oh", "Oh"),
        ("turn=z, move=C4@x", "Oh", "O"),
        ("move=Ci", "O", "C1"),
    ],
)
def test_the_elements_are_known_that_samples_are_moved_by_or_may_be(text, ambient, reached):
    ambient = group(ambient)
    assert Augmentation.parse(text, dim=ambient.dim).reached(ambient) == ambient.subgroup(reached)


@pytest.mark.parametrize("H", [H for grid in GRIDS.values() for H in grid.subgroups()], ids=str)
def test_a_group_that_samples_are_moved_by_is_reached_and_nothing_beyond(H):
    assert Augmentation(H.group.dim, move=H.name).reached(H.group) == H


def groups_named(names):
    return [D4.subgroup(name) for name in names.split()]


@pytest.mark.parametrize(
    ("text", "searched", "blurred"),
    [
        ("turn", "C1 C2 C4 D4", "(C1, C2)"),
        ("mirror", "C1 C4 D1 D4", "(C1, C4)"),
        ("move=D4", "C1 D4", "(C1)"),
        ("turn, shift=0.1", "C1 C4", "(C1)"),
    ],
)
def test_a_search_that_augmentation_blinds_is_warned_of_with_what_it_cannot_tell(text, searched, blurred):
    augmentation = Augmentation.parse(text, dim=2)
    said = conflict(augmentation, groups_named(searched))
    reached = augmentation.reached(D4).name
    assert said is not None and said.startswith(f'augmentation: "{text}" moves the images by {reached}, ')
    assert blurred in said and said.endswith(f"search among groups that contain {reached}.") and "\n" not in said


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("", "C1 C4 D4"),
        ("shift=0.2, scale=0.2, intensity=0.2", "C1 C4 D4"),
        ("turn", "C4 D4"),
        ("mirror", "D1 D4"),
        ("turn, mirror", "D4"),
        ("turn", "C1"),
    ],
)
def test_a_search_that_sees_all_it_needs_is_not_warned_of(text, searched):
    assert conflict(Augmentation.parse(text, dim=2), groups_named(searched)) is None


OBLONG = {1: (7,), 2: (5, 8), 3: (3, 4, 6)}
EQUAL = {1: (6,), 2: (7, 7), 3: (4, 4, 4)}
# Measured: 5e-7 and 9e-16.
INTERPOLATED = {torch.float32: 1e-5, torch.float64: 1e-13}


@pytest.mark.parametrize("padding", sorted(_PADDING.values()))
@pytest.mark.parametrize("shapes", [EQUAL, OBLONG], ids=["equal", "oblong"])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_interpolation_at_an_element_of_the_grid_is_that_element(dim, shapes, padding, dtype):
    grid = GRIDS[dim]
    x = torch.randn(2, 3, *shapes[dim], dtype=dtype)
    for element, matrix in enumerate(grid.elements):
        moved = transform(x, element, grid, "trivial")
        if moved.shape != x.shape:
            continue  # it exchanges unequal sides
        matrices = torch.tensor(matrix).double().expand(2, -1, -1)
        found = resampled(x, places_of(matrices, torch.zeros(2, dim, dtype=torch.float64), x.shape[2:]), padding)
        torch.testing.assert_close(found, moved, rtol=0, atol=INTERPOLATED[dtype])


def test_a_drawn_quarter_turn_is_the_turn_of_the_array():
    x = torch.randn(1, 2, 6, 6)

    class Quarter(Augmentation):
        def _draw_maps(self, count, sides, generator):
            matrices = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
            return matrices, torch.zeros(count, 2, dtype=torch.float64)

    torch.testing.assert_close(
        Quarter(2, turn="any").changed(x, generator()), x.rot90(1, (2, 3)), rtol=0, atol=INTERPOLATED[torch.float32]
    )


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(
    ("fill", "came_in"),
    [("reflection", [2.0, 1.0]), ("border", [1.0, 1.0]), ("mean", [0.0, 0.0])],
)
def test_what_comes_in_from_outside_is_as_told(dim, fill, came_in):
    row = torch.arange(1.0, 6.0)
    x = row.expand(1, 1, *[3] * (dim - 1), 5)
    shifts = torch.tensor([[0.0] * (dim - 1) + [2.0]], dtype=torch.float64)
    y = resampled(x, places_of(torch.eye(dim, dtype=torch.float64)[None], shifts, x.shape[2:]), _PADDING[fill])
    expected = torch.tensor([*came_in, 1, 2, 3]).expand_as(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)


def places(count, shape, dtype=torch.float64):
    """Samples of which channel i holds the i-th position from the centre; odd sides, so that a pixel is the centre."""
    axes = [torch.arange(side, dtype=dtype) - (side - 1) / 2 for side in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(count, -1, *([-1] * len(shape)))


def maps_of(changed):
    """M and t for each sample of `places`, from its values around the centre: y(p) = M^-1 (p - t), exactly linear."""
    sides = changed.shape[2:]
    centre = [side // 2 for side in sides]
    at = changed[:, :, *centre]
    steps = [
        changed[:, :, *(index + (other == axis) for other, index in enumerate(centre))] - at
        for axis in range(len(sides))
    ]
    matrices = torch.linalg.inv(torch.stack(steps, 2))
    return matrices, -(matrices @ at[:, :, None])[..., 0]


def assert_uniform(values, low, high):
    """The largest distance of the distribution functions: beyond 1.95 / sqrt(n) in one of a thousand draws."""
    values = ((values.double() - low) / (high - low)).sort().values
    assert values[0] >= -1e-6 and values[-1] <= 1 + 1e-6
    assert float((values - (torch.arange(len(values)) + 0.5) / len(values)).abs().max()) < 1.95 / len(values) ** 0.5


SHAPES = {1: (9,), 2: (9, 11), 3: (5, 7, 9)}
MANY = 1500


def drawn_maps(text, dim, seed=0, count=MANY):
    x = places(count, SHAPES[dim])
    return maps_of(Augmentation.parse(text, dim=dim).changed(x, generator(seed)))


@pytest.mark.parametrize("text", ["turn", "turn, mirror, scale=0.2"])
def test_images_are_turned_by_any_angle_alike(text):
    matrices, shifts = drawn_maps(text, 2)
    columns = matrices / torch.linalg.det(matrices).abs().sqrt()[:, None, None]
    assert_uniform(torch.atan2(columns[:, 1, 0], columns[:, 0, 0]), -math.pi, math.pi)
    torch.testing.assert_close(columns.mT @ columns, torch.eye(2).double().expand_as(columns), rtol=0, atol=1e-9)
    assert shifts.abs().max() < 1e-9


def test_volumes_are_turned_about_any_axis_alike():
    matrices, _ = drawn_maps("turn", 3)
    eye = torch.eye(3).double()
    torch.testing.assert_close(matrices.mT @ matrices, eye.expand_as(matrices), rtol=0, atol=1e-9)
    assert (torch.linalg.det(matrices) > 0).all()
    # Moments of the uniform rotation: E[R] = 0, E[R_ij R_kl] = [i = k][j = l] / 3, E[(tr R)^2] = E[(tr R)^3] = 1.
    flat = matrices.flatten(1)
    assert flat.mean(0).abs().max() < 5 * (1 / 3 / MANY) ** 0.5
    assert (flat.T @ flat / MANY - torch.eye(9) / 3).abs().max() < 5 * 0.4 / MANY**0.5
    traces = matrices.diagonal(dim1=1, dim2=2).sum(1)
    for power, standard_deviation in ((2, 1.5), (3, 4)):
        assert abs(float((traces**power).mean()) - 1) < 5 * standard_deviation / MANY**0.5


def test_volumes_turned_about_z_stay_upright():
    matrices, _ = drawn_maps("turn=z", 3)
    upright = torch.tensor([0.0, 0, 1]).double().expand(MANY, -1)
    torch.testing.assert_close(matrices[:, 2], upright, rtol=0, atol=1e-9)
    torch.testing.assert_close(matrices[:, :, 2], upright, rtol=0, atol=1e-9)
    assert_uniform(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]), -math.pi, math.pi)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_in_half_of_the_samples_left_and_right_are_exchanged_and_up_stays_up(dim):
    matrices, _ = drawn_maps("mirror", dim)
    flip = torch.eye(dim, dtype=torch.float64)
    left_right = 0 if dim == 3 else -1
    flip[left_right, left_right] = -1
    mirrored = torch.linalg.det(matrices) < 0
    assert abs(int(mirrored.sum()) - MANY / 2) < 4 * (MANY / 4) ** 0.5
    torch.testing.assert_close(matrices[mirrored], flip.expand(int(mirrored.sum()), -1, -1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [0.1, 0.5])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_scales_are_uniform_in_their_logarithm_and_alike_along_all_axes(dim, scale):
    matrices, _ = drawn_maps(f"scale={scale}", dim)
    sizes = matrices[:, 0, 0]
    expected = sizes[:, None, None] * torch.eye(dim, dtype=torch.float64)
    torch.testing.assert_close(matrices, expected, rtol=0, atol=1e-9)
    assert_uniform(sizes.log(), -math.log1p(scale), math.log1p(scale))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_shifts_are_uniform_along_each_axis_as_shares_of_its_side(dim):
    matrices, shifts = drawn_maps("shift=0.2", dim)
    torch.testing.assert_close(matrices, torch.eye(dim).double().expand_as(matrices), rtol=0, atol=1e-9)
    for axis, side in enumerate(SHAPES[dim]):
        assert_uniform(shifts[:, axis], -0.2 * side, 0.2 * side)
    if dim > 1:
        assert abs(float(torch.corrcoef(shifts.T)[0, 1])) < 4 / MANY**0.5


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_gain_and_offset_are_uniform_and_the_same_for_a_whole_sample(dim):
    x = places(MANY, SHAPES[dim])
    y = Augmentation.parse("intensity=0.3", dim=dim).changed(x, generator())
    centre = (slice(None), slice(None), *(side // 2 for side in SHAPES[dim]))  # where x is 0
    offset = y[centre]
    gain = (y - offset.view(MANY, dim, *[1] * dim)).flatten(1)[:, -1] / x.flatten(1)[:, -1] - 1
    shape = (MANY, *[1] * (dim + 1))
    torch.testing.assert_close(y, (1 + gain.view(shape)) * x + offset[:, :1].view(shape), rtol=0, atol=1e-9)
    assert_uniform(gain, -0.3, 0.3)
    assert_uniform(offset[:, 0], -0.3, 0.3)
    assert abs(float(torch.corrcoef(torch.stack([gain, offset[:, 0]]))[0, 1])) < 4 / MANY**0.5


ALL_WORDS = {
    1: "mirror, shift=0.2, scale=0.2, intensity=0.1, fill=mean",
    2: "turn, mirror, shift=0.2, scale=0.2, intensity=0.1",
    3: "turn=z, mirror, shift=0.2, scale=0.2, intensity=0.1, fill=border",
}


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_generator_alone_decides_what_is_changed(dim, dtype):
    x = torch.randn(20, 2, *OBLONG[dim], dtype=dtype)
    kept = x.clone()
    augmentation = Augmentation.parse(ALL_WORDS[dim], dim=dim)
    before = torch.get_rng_state()
    first, again, other = (augmentation.changed(x, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(x, kept)
    assert first.dtype == dtype and first.device == x.device and first.shape == x.shape and first.isfinite().all()


def test_samples_are_changed_each_by_its_own_draw():
    matrices, shifts = drawn_maps(ALL_WORDS[2].replace(", intensity=0.1", ""), 2, count=50)
    drawn = torch.cat([matrices.flatten(1), shifts], 1)
    assert torch.pdist(drawn).min() > 1e-4


@pytest.mark.parametrize("text", ["", "move=D4"])
def test_what_only_moves_changes_nothing_after_standardising(text):
    x = torch.randn(4, 1, 5, 5)
    assert torch.equal(Augmentation.parse(text, dim=2).changed(x, generator()), x)


@pytest.mark.parametrize(("dim", "name"), [(1, "Z2"), (2, "D4"), (3, "Oh")])
def test_bytes_are_moved_exactly(dim, name):
    x = torch.randint(0, 256, (60, 2, *EQUAL[dim]), dtype=torch.uint8)
    moved = Augmentation(dim, move=name).moved(x, generator())
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, move_randomly(x, GRIDS[dim].whole, generator()))
    elements_of(x, moved, GRIDS[dim].whole)
    assert torch.equal(Augmentation(dim, turn="none", mirror=True).moved(x, generator()), x)
