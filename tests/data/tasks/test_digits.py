import hashlib

import pytest
import sklearn.datasets
import torch
import torch.nn.functional as F

import equimorph as em
from equimorph.data.rotation import random_angles, rotate

# Of the bytes of all images and labels. Rounding to bytes makes them the same on every machine; a change moves numbers.
CHECKSUM = "4561f05fa7e14399db24c195243f61082080457b0ba3a9c087ede5aefbdac6d7"


@pytest.fixture(scope="module")
def digits():
    return em.data.load("digits")


def splits_of(data):
    return data.train, data.validation, data.test


def checksum(data):
    tensors = [tensor for split in splits_of(data) for tensor in (split.x, split.y)]
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def test_digits_have_their_sizes(digits):
    assert [len(split) for split in splits_of(digits)] == [1000, 297, 500]
    assert (digits.in_channels, digits.image_size, digits.dim, digits.num_classes) == (1, 12, 2, 10)
    assert digits.classes == tuple("0123456789")
    assert {split.x.dtype for split in splits_of(digits)} == {torch.uint8}


def test_digits_are_always_the_same(digits):
    assert checksum(digits) == checksum(em.data.load("digits")) == CHECKSUM


def test_loading_digits_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    em.data.load("digits")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_class_has_its_share_of_every_split(digits):
    labels = torch.cat([split.y for split in splits_of(digits)])
    shares = labels.bincount(minlength=10) / len(labels)
    for split in splits_of(digits):
        assert (split.y.bincount(minlength=10) - len(split) * shares).abs().max() <= 1


def test_splits_are_disjoint_and_hold_each_digit_once_turned_by_its_own_angle(digits):
    raw = sklearn.datasets.load_digits()
    upright = torch.from_numpy(raw.images * (255 / 16)).round().to(torch.uint8)[:, None]
    turned = rotate(F.pad(upright, [2, 2, 2, 2]), random_angles(1797, seed=0))
    numbers = {image.numpy().tobytes(): number for number, image in enumerate(turned)}
    assert len(numbers) == 1797  # no image occurs twice, so each tells its number
    found = []
    for split in splits_of(digits):
        indices = [numbers[image.numpy().tobytes()] for image in split.x]
        assert torch.equal(split.y, torch.from_numpy(raw.target)[indices])
        found += indices
    assert sorted(found) == list(range(1797))


def test_no_turn_pushes_ink_out_of_the_frame():
    block = torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    for degrees in range(0, 360, 5):
        turned = rotate(F.pad(block, [10] * 4), torch.tensor([float(degrees)]))
        turned[:, :, 8:20, 8:20] = 0  # the frame of 12 x 12
        assert not turned.any()


def test_digits_are_standardized_from_the_training_split_alone(digits):
    x = digits.standardize(digits.train.x, torch.float64)
    assert float(x.mean()) == pytest.approx(0, abs=1e-12)
    assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-12)
    for split in (digits.validation, digits.test):
        other = digits.standardize(split.x, torch.float64)
        assert abs(float(other.mean())) > 1e-4 and abs(float(other.std(correction=0)) - 1) > 1e-4
