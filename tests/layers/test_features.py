import numpy as np
import pytest
import reference
import torch

import equimorph as em
from equimorph.errors import ShapeError
from equimorph.layers import transform

Z2, D4, C4, OH = em.group("Z2"), em.group("D4"), em.group("C4"), em.group("Oh")
SIDES = {1: (5,), 2: (3, 4), 3: (2, 3, 4)}
every_group = pytest.mark.parametrize("group", [Z2, C4, D4, OH], ids=str)
every_representation = pytest.mark.parametrize("representation", ["trivial", "regular"])


def random_feature(group, representation, sides=None):
    channels = 2 * reference.channels_of(group, representation)
    return torch.randn(2, channels, *(SIDES[group.dim] if sides is None else sides))


@every_representation
@every_group
def test_elements_move_pixels_and_channels_one_by_one_as_defined(group, representation):
    for sides in (None, ()):
        feature = random_feature(group, representation, sides)
        for h in range(group.order):
            assert torch.equal(
                transform(feature, h, group, representation), reference.act(feature, h, group, representation)
            )


@every_representation
@pytest.mark.parametrize("group", [Z2, D4, em.group("T", dim=3)], ids=str)
def test_acting_twice_is_acting_with_the_product(group, representation):
    feature = random_feature(group, representation)
    for a in range(group.order):
        for b in range(group.order):
            twice = transform(transform(feature, b, group, representation), a, group, representation)
            assert torch.equal(twice, transform(feature, group.table[a, b], group, representation))


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("D1@90", lambda image: image[:, ::-1]),  # left-right flip
        ("D1@0", lambda image: image[::-1]),  # up-down flip
        ("D1@135", lambda image: image.T),
        ("D1@45", lambda image: image[::-1, ::-1].T),
        ("C2", lambda image: image[::-1, ::-1]),
    ],
)
def test_elements_do_to_an_array_what_their_name_says(name, seen):
    image = np.arange(12).reshape(3, 4)
    (element,) = set(D4.subgroup(name).indices) - {0}
    moved = transform(torch.from_numpy(image)[None, None], element, D4, "trivial")[0, 0].numpy()
    assert np.array_equal(moved, seen(image))


def test_generator_of_c4_turns_an_image_as_rot90_does():
    image = torch.randn(1, 1, 3, 4)
    generators = [g for g in range(4) if C4.subgroup_generated_by([g]).order == 4]
    turned = [transform(image, g, C4, "trivial") for g in generators]
    for quarter_turns in (1, -1):
        assert any(torch.equal(torch.rot90(image, quarter_turns, (2, 3)), found) for found in turned)
    anticlockwise = C4.elements.tolist().index([[0, -1], [1, 0]])
    assert torch.equal(transform(image, anticlockwise, C4, "trivial"), torch.rot90(image, 1, (2, 3)))
    assert torch.equal(transform(image, C4.inverses[anticlockwise], C4, "trivial"), torch.rot90(image, -1, (2, 3)))


def test_trivial_vectors_stay_as_they_are():
    vector = torch.randn(2, 3)
    assert all(torch.equal(transform(vector, h, D4, "trivial"), vector) for h in range(8))


@pytest.mark.parametrize(
    ("shape", "representation", "needed"),
    [
        ((1, 8, 5), "regular", "D4 acts on 2 spatial axes, got 1"),
        ((1, 8, 5, 5, 5), "trivial", "D4 acts on 2 spatial axes, got 3"),
        ((1, 12, 5, 5), "regular", "12 channels are no whole number of D4's fields"),
    ],
)
def test_features_that_do_not_fit_the_group_are_refused(shape, representation, needed):
    with pytest.raises(ShapeError, match=needed):
        transform(torch.zeros(shape), 1, D4, representation)
