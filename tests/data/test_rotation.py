import math

import pytest
import torch

from equimorph.data.rotation import random_angles, rotate


def random_images(*, count=4, channels=2, side=7):
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8)


def turned_by(images, degrees):
    return rotate(images, torch.full((len(images),), float(degrees)))


def slowly_turned(image, degrees):
    """Each pixel of a square image reads the point that lands on it, one pixel at a time."""
    side, angle = len(image), math.radians(degrees)
    centre = (side - 1) / 2
    out = torch.zeros(side, side, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            right, up = column - centre, centre - row
            source_right = right * math.cos(angle) + up * math.sin(angle)  # the turn back, clockwise
            source_up = up * math.cos(angle) - right * math.sin(angle)
            y, x = centre - source_up, centre + source_right
            for i in (math.floor(y), math.floor(y) + 1):
                for j in (math.floor(x), math.floor(x) + 1):
                    if 0 <= i < side and 0 <= j < side:
                        out[row, column] += (1 - abs(y - i)) * (1 - abs(x - j)) * float(image[i, j])
    return out.round().to(torch.uint8)


@pytest.mark.parametrize("side", [1, 2, 7, 12, 28])
@pytest.mark.parametrize("turns", range(-4, 9))
def test_quarter_turns_only_move_pixels(turns, side):
    images = random_images(side=side)
    assert torch.equal(turned_by(images, 90 * turns), torch.rot90(images, turns, (2, 3)))


def test_no_turn_changes_nothing_and_two_half_turns_neither():
    images = random_images()
    assert torch.equal(turned_by(images, 0), images)
    assert torch.equal(turned_by(turned_by(images, 180), 180), images)


@pytest.mark.parametrize("degrees", [-33.0, 1.0, 47.0, 122.5, 200.0, 359.0])  # not 45: a tie to round
@pytest.mark.parametrize("side", [5, 6])
def test_any_turn_reads_each_pixel_bilinearly_with_zeros_outside(side, degrees):
    images = random_images(count=1, channels=1, side=side)
    assert torch.equal(turned_by(images, degrees)[0, 0], slowly_turned(images[0, 0], degrees))


def test_a_dot_on_the_right_goes_up_and_round_anticlockwise():
    image = torch.zeros(1, 1, 31, 31, dtype=torch.uint8)
    image[0, 0, 15, 25] = 255  # ten pixels to the right of the centre
    places = torch.arange(31, dtype=torch.float64) - 15
    for degrees in range(0, 360, 15):
        turned = turned_by(image, degrees)[0, 0].double()
        up, right = (-places @ turned).sum() / turned.sum(), (turned @ places).sum() / turned.sum()
        assert float(right) == pytest.approx(10 * math.cos(math.radians(degrees)), abs=0.1)
        assert float(up) == pytest.approx(10 * math.sin(math.radians(degrees)), abs=0.1)


def test_each_image_is_turned_by_its_own_angle_however_many_there_are():
    count = 4_100  # more than are turned at a time
    images, degrees = random_images(count=count, channels=1, side=3), random_angles(count, seed=1)
    turned = rotate(images, degrees)
    for index in (0, 1, 4_095, 4_096, count - 1):
        assert torch.equal(turned[index], rotate(images[index : index + 1], degrees[index : index + 1])[0])


def test_turning_leaves_the_images_as_they_were():
    images = random_images()
    before = images.clone()
    turned_by(images, 30)
    assert torch.equal(images, before)


def test_angles_are_uniform_over_the_full_turn():
    angles = random_angles(10_000, seed=0)
    assert angles.dtype == torch.float64 and angles.min() >= 0 and angles.max() < 360
    counts = torch.histc(angles, bins=12, min=0, max=360)
    # Each count has standard deviation 28.
    assert (counts - 10_000 / 12).abs().max() < 4 * 28


def test_angles_are_the_seeds_alone_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    assert torch.equal(random_angles(100, seed=3), random_angles(100, seed=3))
    assert not torch.equal(random_angles(100, seed=3), random_angles(100, seed=4))
    assert torch.equal(torch.get_rng_state(), before)
