"""Smaller images, other splits, fewer samples."""

import itertools
import math

import numpy as np
import pytest
import torch

from equimorph.data import ImageData, Split
from equimorph.errors import ConfigurationError, DataError
from equimorph.groups import group
from equimorph.layers.features import transform

D4 = group("D4")
COUNTS = (40, 17, 3)  # of each class, in all splits together: 30, 12 and 18 samples
SIZES = (30, 12, 18)


def splits_of(data):
    return data.train, data.validation, data.test


def data_of(x, y=None):
    split = Split(x, torch.zeros(len(x), dtype=torch.int64) if y is None else y)
    return ImageData.from_splits("some", split, split, split, classes=("a",))


def random_bytes(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def numbered_data(counts=COUNTS, sizes=SIZES):
    """Each sample is filled with its number; classes of these counts, divided in a random order."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    x = torch.arange(len(labels)).double()[:, None, None, None].expand(-1, 1, 2, 2)
    parts = order.split(sizes)
    splits = [Split(x[part], labels[part]) for part in parts]
    return ImageData.from_splits("numbered", *splits, classes=tuple("abc"[: len(counts)])), labels


def numbers_of(split):
    return split.x[:, 0, 0, 0].long()


def slowly_averaged(image, size):
    """Each small pixel is the mean over the pixels that it overlaps."""
    bins = [
        [range(math.floor(i * side / size), math.ceil((i + 1) * side / size)) for i in range(size)]
        for side in image.shape
    ]
    means = [[np.mean([float(image[r, c]) for r in rows for c in columns]) for columns in bins[1]] for rows in bins[0]]
    return torch.tensor(means, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (6, 7)], ids=str)
def test_each_small_pixel_is_the_mean_of_those_it_overlaps(shape):
    x = random_bytes(2, 2, *shape)
    for size in range(1, min(shape) + 1):
        small = data_of(x.double()).resized(size).train.x
        for sample in range(2):
            for channel in range(2):
                slow = slowly_averaged(x[sample, channel], size)
                torch.testing.assert_close(small[sample, channel], slow, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(7, 7), (8, 8), (12, 12), (9, 6)], ids=str)
@pytest.mark.parametrize("element", range(D4.order))
def test_resizing_bytes_commutes_with_every_element_to_the_bit(shape, element):
    x = random_bytes(3, 2, *shape)
    for size in range(1, min(shape) + 1):
        moved_first = data_of(transform(x, element, D4, "trivial")).resized(size).train.x
        moved_last = transform(data_of(x).resized(size).train.x, element, D4, "trivial")
        assert torch.equal(moved_first, moved_last)


@pytest.mark.parametrize("element", range(D4.order))
def test_a_mean_that_ends_in_one_half_is_rounded_alike_wherever_it_is(element):
    x = torch.randint(0, 2, (200, 1, 9, 9), dtype=torch.uint8)  # bins of 2 x 3 and 3 x 2 zeros and ones among others
    for size in range(1, 10):
        moved_first = data_of(transform(x, element, D4, "trivial")).resized(size).train.x
        assert torch.equal(moved_first, transform(data_of(x).resized(size).train.x, element, D4, "trivial"))


@pytest.mark.parametrize("element", range(D4.order))
def test_resizing_fractions_commutes_with_every_element(element, dtype):
    x = torch.randn(3, 2, 10, 10, dtype=dtype)
    for size in (1, 3, 4, 5, 7, 10):
        moved_first = data_of(transform(x, element, D4, "trivial")).resized(size).train.x
        moved_last = transform(data_of(x).resized(size).train.x, element, D4, "trivial")
        # Sums in double precision, measured 3e-16; then rounded to the dtype.
        torch.testing.assert_close(
            moved_first, moved_last, rtol=0, atol={torch.float32: 3e-7, torch.float64: 1e-15}[dtype]
        )


@pytest.mark.parametrize("shape", [(9,), (8, 8), (6, 6, 6)], ids=str)
def test_all_splits_and_axes_are_resized_and_standardized_anew_and_the_old_data_stay(shape):
    parts = [Split(random_bytes(count, 2, *shape), torch.arange(count) % 2) for count in (5, 3, 4)]
    data = ImageData.from_splits("bytes", *parts, classes=("a", "b"))
    small = data.resized(4)
    for old, new in zip(splits_of(data), splits_of(small), strict=True):
        assert new.x.shape == (len(old), 2, *[4] * len(shape)) and new.x.dtype == torch.uint8
        assert torch.equal(new.y, old.y) and old.x.shape[2:] == shape
    assert (small.name, small.classes, small.image_size) == ("bytes", ("a", "b"), 4)
    axes = [0, *range(2, 2 + len(shape))]
    assert small.std == pytest.approx(small.train.x.double().std(axes, correction=0).tolist())
    assert small.std != data.std


def test_resizing_to_the_present_side_changes_nothing(dtype):
    for x in (random_bytes(3, 1, 5, 5), torch.randn(3, 1, 5, 5, dtype=dtype)):
        assert torch.equal(data_of(x).resized(5).train.x, x)


def test_more_samples_than_are_resized_at_a_time_are_all_resized():
    x = random_bytes(4_100, 1, 2, 2)
    expected = x.double().mean((2, 3), keepdim=True).round().to(torch.uint8)
    assert torch.equal(data_of(x).resized(1).train.x, expected)


@pytest.mark.parametrize("size", [-1, 0, 7, 100])
def test_a_size_that_is_none_or_larger_is_refused_with_the_range(size):
    with pytest.raises(ConfigurationError, match=rf"resized: size {size}, needed 1 to 6, .* only ever made smaller"):
        data_of(random_bytes(2, 1, 9, 6)).resized(size)


@pytest.mark.parametrize("seed", [1, 2, 2**32 - 1])
def test_resplitting_keeps_the_sizes_each_sample_once_and_its_label(seed):
    data, labels = numbered_data()
    again = data.resplit(seed)
    assert tuple(len(split) for split in splits_of(again)) == SIZES
    numbers = [numbers_of(split) for split in splits_of(again)]
    assert torch.cat(numbers).sort().values.tolist() == list(range(60))
    for split, part in zip(splits_of(again), numbers, strict=True):
        assert torch.equal(split.y, labels[part])
    assert (again.name, again.classes) == (data.name, data.classes)
    assert again.mean == pytest.approx([float(again.train.x.mean())])


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_class_has_its_share_of_every_new_split(seed):
    again = numbered_data()[0].resplit(seed)
    for split in splits_of(again):
        shares = torch.tensor(COUNTS) * len(split) / 60
        assert (split.y.bincount(minlength=3) - shares).abs().max() <= 1


def test_seed_0_keeps_the_splits_and_other_seeds_each_make_their_own():
    data, _ = numbered_data()
    assert data.resplit(0) is data
    first, again, other = (numbers_of(data.resplit(seed).test) for seed in (1, 1, 2))
    assert torch.equal(first, again) and set(first.tolist()) != set(other.tolist())
    assert set(first.tolist()) != set(numbers_of(data.test).tolist())


def test_resplitting_leaves_the_global_generators_alone():
    data, _ = numbered_data()
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    data.resplit(1)
    data.subset(10)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ConfigurationError, match=rf"resplit: seed {seed}, needed .* 0 to 4294967295"):
        numbered_data()[0].resplit(seed)


@pytest.mark.parametrize(
    ("counts", "sizes"), [((40, 19, 1), SIZES), ((40, 17, 3), (57, 1, 2))], ids=["a class of one", "a tiny split"]
)
def test_data_that_cannot_be_divided_by_class_are_refused(counts, sizes):
    with pytest.raises(DataError, match=r"resplit: numbered cannot be divided by class .*keep seed 0"):
        numbered_data(counts, sizes)[0].resplit(1)


@pytest.fixture
def unequal():
    """Training samples of three classes: 200, 90 and 10."""
    return numbered_data((220, 110, 30), (300, 30, 30))[0]


def test_a_subset_holds_so_many_training_samples_with_their_labels_and_leaves_the_rest(unequal):
    labels = dict(zip(numbers_of(unequal.train).tolist(), unequal.train.y.tolist(), strict=True))
    for num_train in (3, 4, 50, 299):
        part = unequal.subset(num_train)
        numbers = numbers_of(part.train).tolist()
        assert len(set(numbers)) == num_train
        assert [labels[number] for number in numbers] == part.train.y.tolist()
        assert part.validation is unequal.validation and part.test is unequal.test
        assert (part.name, part.classes) == (unequal.name, unequal.classes)
        assert part.mean == pytest.approx([float(part.train.x.mean())])


def test_every_class_has_its_share_of_every_subset_and_one_sample_at_least(unequal):
    shares = unequal.train.y.bincount() / len(unequal.train)
    for num_train in range(3, 301):
        counts = unequal.subset(num_train).train.y.bincount(minlength=3)
        assert counts.min() >= 1
        assert (counts - num_train * shares).abs().max() <= 2


def test_a_smaller_subset_lies_within_every_larger_one(unequal):
    numbers = [set(numbers_of(unequal.subset(num_train).train).tolist()) for num_train in range(3, 301)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(numbers))


def test_the_subset_of_all_samples_is_the_training_set(unequal):
    assert torch.equal(unequal.subset(300).train.x, unequal.train.x)


def test_a_subset_is_always_the_same_and_no_beginning_of_the_training_set(unequal):
    numbers = numbers_of(unequal.subset(50).train)
    assert torch.equal(numbers, numbers_of(unequal.subset(50).train))
    assert not torch.equal(numbers, numbers_of(unequal.train)[:50])


def test_a_class_without_training_samples_stays_without():
    split = Split(torch.randn(6, 1, 4, 4), torch.tensor([0, 2, 0, 2, 0, 2]))
    data = ImageData.from_splits("gap", split, split, split, classes=("a", "b", "c"))
    assert sorted(data.subset(4).train.y.tolist()) == [0, 0, 2, 2]


@pytest.mark.parametrize("num_train", [-1, 0, 2, 301])
def test_a_subset_of_too_few_or_more_than_there_are_is_refused(num_train, unequal):
    with pytest.raises(ConfigurationError, match=rf"subset: num_train {num_train}, needed 3 .* to 300 "):
        unequal.subset(num_train)
