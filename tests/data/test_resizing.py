"""Samples of other sides."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from equimorph.data.resizing import area_averaged, fitted
from equimorph.groups import group
from equimorph.layers.features import transform

D4, OH = group("D4"), group("Oh")
RNG = np.random.default_rng(0)
FITS = ["crop", "pad", "stretch"]


def moved_by(of, element, x):
    return transform(x, element, of, "trivial")


def moved(array, sides, element, of):
    """A sample moved by an element, and sides with it; a pixel that counts axes tells where these go."""
    x = torch.from_numpy(np.ascontiguousarray(array))[None]
    turned = moved_by(of, element, x)[0].numpy()
    lengths = np.empty(tuple(range(2, 2 + len(sides))), np.uint8)[None]
    after = moved_by(of, element, torch.from_numpy(lengths)[None])[0].numpy().shape[1:]
    return turned, tuple(sides[length - 2] for length in after)


def cases(dim):
    old = {2: [(7, 7), (5, 4), (8, 5), (3, 9)], 3: [(4, 4, 4), (5, 4, 3), (2, 6, 3)]}[dim]
    new = {2: [(3, 3), (4, 4), (9, 9), (6, 3)], 3: [(3, 3, 3), (5, 5, 5), (2, 4, 3)]}[dim]
    return list(itertools.product(old, new, FITS))


@pytest.mark.parametrize(("old", "new", "fit"), cases(2), ids=str)
def test_fitting_commutes_with_every_element_of_d4(old, new, fit):
    array = RNG.integers(0, 256, (2, *old), dtype=np.uint8)
    for element in range(D4.order):
        turned, sides = moved(array, new, element, D4)
        expected, _ = moved(fitted(array, new, fit), new, element, D4)
        assert (fitted(turned, sides, fit) == expected).all()


@pytest.mark.parametrize(("old", "new", "fit"), cases(3), ids=str)
def test_fitting_commutes_with_every_element_of_oh(old, new, fit):
    array = RNG.integers(0, 4, (1, *old), dtype=np.uint8)  # few levels, so that many means end in one half
    for element in range(OH.order):
        turned, sides = moved(array, new, element, OH)
        expected, _ = moved(fitted(array, new, fit), new, element, OH)
        assert (fitted(turned, sides, fit) == expected).all()


@pytest.mark.parametrize(("of", "shape"), [(D4, (9, 9)), (OH, (5, 5, 5))], ids=["D4", "Oh"])
def test_averaging_commutes_with_every_element(of, shape):
    x = torch.from_numpy(RNG.integers(0, 4, (3, 2, *shape), dtype=np.uint8))
    for size in range(1, shape[0] + 1):
        sides = (size,) * len(shape)
        for element in range(of.order):
            expected = moved_by(of, element, area_averaged(x, sides))
            assert torch.equal(area_averaged(moved_by(of, element, x), sides), expected)


def test_fitting_commutes_for_floating_points_up_to_rounding():
    array = RNG.standard_normal((2, 8, 5)).astype(np.float32)
    for element, fit in itertools.product(range(D4.order), FITS):
        turned, sides = moved(array, (11, 3), element, D4)
        expected, _ = moved(fitted(array, (11, 3), fit), (11, 3), element, D4)
        assert np.allclose(fitted(turned, sides, fit), expected, rtol=0, atol=1e-6)  # 0 when it was written


def slowly(line, new):
    """One axis, by the formulas."""
    old = len(line)
    if new <= old:
        spans = [line[math.floor(i * old / new) : math.ceil((i + 1) * old / new)] for i in range(new)]
        return [float(np.mean(span)) for span in spans]
    places = np.clip([((2 * i + 1) * old - new) / (2 * new) for i in range(new)], 0, old - 1)
    return np.interp(places, range(old), line).tolist()


@pytest.mark.parametrize(("old", "new"), list(itertools.product(range(1, 8), range(1, 10))))
def test_each_axis_follows_its_formula(old, new):
    line = RNG.standard_normal(old)
    assert np.allclose(fitted(line[None], (new,), "crop")[0], slowly(line, new))


@pytest.mark.parametrize(("old", "new"), [((6, 9), (4, 4)), ((4, 5), (9, 11)), ((3, 4, 5), (6, 5, 7))], ids=str)
def test_torch_makes_the_same(old, new):
    array = RNG.standard_normal((2, *old))
    x = torch.from_numpy(array)[None]
    if all(a <= b for a, b in zip(old, new, strict=True)):
        mode = "bilinear" if len(old) == 2 else "trilinear"
        expected = F.interpolate(x, size=new, mode=mode, align_corners=False)
    else:
        expected = F.interpolate(x, size=new, mode="area")
    assert np.allclose(fitted(array, new, "stretch"), expected[0].numpy())


def test_averages_of_samples_and_of_one_sample_are_the_same():
    array = RNG.integers(0, 256, (3, 17, 17), dtype=np.uint8)
    for size in range(1, 18):
        expected = area_averaged(torch.from_numpy(array)[None], (size, size))[0].numpy()
        assert (fitted(array, (size, size), "stretch") == expected).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.bool_, np.float32, np.float64])
@pytest.mark.parametrize("fit", FITS)
def test_dtype_stays_and_the_shape_is_the_one_asked_for(dtype, fit):
    array = RNG.integers(0, 2, (3, 5, 8)).astype(dtype)
    for sides in [(5, 8), (2, 2), (9, 9), (3, 11), (1, 1)]:
        result = fitted(array, sides, fit)
        assert result.shape == (3, *sides) and result.dtype == dtype


def test_a_sample_of_these_sides_stays():
    array = RNG.integers(0, 256, (3, 5, 8), dtype=np.uint8)
    for fit in FITS:
        assert (fitted(array, (5, 8), fit) == array).all()


def test_a_crop_is_the_middle_and_a_pad_repeats_the_border():
    array = np.arange(12, dtype=np.uint8).reshape(1, 2, 6)
    assert fitted(array, (2, 2), "crop").tolist() == [[[2, 3], [8, 9]]]
    expected = [[[row] * 6 for row in (0, 0, 0, 6, 6, 6)]]
    across = np.broadcast_to(np.array([[0], [6]], np.uint8), (1, 2, 6))
    assert fitted(across, (6, 6), "pad").tolist() == expected


def test_a_crop_cuts_nothing_of_the_shorter_side_and_a_pad_keeps_all():
    array = np.zeros((1, 4, 9))
    array[0, 0], array[0, -1] = 1, 1
    assert fitted(array, (4, 4), "crop")[0, :, 1].tolist() == [1, 0, 0, 1]
    corners = np.zeros((1, 3, 8))
    corners[0, 0, 0] = corners[0, 2, 7] = 24
    assert fitted(corners, (8, 8), "pad").max() > 0
    assert fitted(corners, (4, 4), "stretch").shape == (1, 4, 4)


@pytest.mark.parametrize("fit", FITS)
def test_a_sample_of_one_value_keeps_it(fit):
    for old, new in itertools.product([(1, 9), (7, 3), (64, 48)], [(5, 5), (32, 32), (1, 7)]):
        assert (fitted(np.full((1, *old), 200, np.uint8), new, fit) == 200).all()


def test_values_never_leave_their_range():
    array = RNG.integers(0, 2, (1, 6, 6), dtype=np.uint8) * 255
    for size in range(1, 14):
        assert fitted(array, (size, size), "stretch").max() <= 255
