import pytest
import torch

from equimorph.data import ImageData, Split
from equimorph.errors import DataError, ShapeError


def random_split(*shape, count=6, scale=1.0, shift=0.0):
    x = torch.randn(count, *(shape or (2, 4, 4))) * scale + shift
    return Split(x, torch.arange(count) % 3)


def random_data(*shape, **options):
    splits = [random_split(*shape), random_split(*shape, scale=3.0), random_split(*shape, shift=2.0)]
    return ImageData.from_splits("noise", *splits, classes=("a", "b", "c"), **options)


def test_mean_and_deviation_are_those_of_the_training_split_alone():
    data = random_data()
    assert data.mean == pytest.approx(data.train.x.double().mean((0, 2, 3)).tolist())
    assert data.std == pytest.approx(data.train.x.double().std((0, 2, 3), correction=0).tolist())
    with_other = ImageData.from_splits("other", data.train, data.test, data.validation, classes=data.classes)
    assert (with_other.mean, with_other.std) == (data.mean, data.std)


@pytest.mark.parametrize("shape", [(2, 9), (3, 4, 4), (1, 3, 3, 3)], ids=str)
def test_standardized_training_samples_have_mean_zero_and_deviation_one_in_each_channel(shape, dtype):
    data = random_data(*shape)
    x = data.standardize(data.train.x, dtype)
    channels = x.double().transpose(0, 1).flatten(1)
    assert x.dtype == dtype
    torch.testing.assert_close(channels.mean(1), torch.zeros(shape[0]).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(channels.std(1, correction=0), torch.ones(shape[0]).double(), rtol=0, atol=1e-6)
    for other in (data.validation, data.test):
        assert (data.standardize(other.x, dtype).std() - 1).abs() + data.standardize(other.x, dtype).mean().abs() > 0.1


def test_a_channel_that_never_changes_is_only_shifted():
    x = torch.randn(6, 2, 4, 4)
    x[:, 1] = 7
    split = Split(x, torch.zeros(6, dtype=torch.int64))
    data = ImageData.from_splits("half constant", split, split, split, classes=("a",))
    assert data.std[1] == 1 and (data.standardize(x)[:, 1] == 0).all()


def test_bytes_are_standardized_as_the_numbers_they_stand_for():
    bytes_ = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8)
    splits = [[Split(x, torch.zeros(6, dtype=torch.int64))] * 3 for x in (bytes_, bytes_.double())]
    one, two = (ImageData.from_splits("bytes", *three, classes=("a",)) for three in splits)
    assert torch.equal(one.standardize(bytes_), two.standardize(bytes_.double()))


def test_data_tell_their_sizes():
    data = random_data(2, 5, 5, 5)
    assert (data.in_channels, data.image_size, data.num_classes, data.dim) == (2, 5, 3, 3)
    assert data.description() == {"name": "noise", "classes": ["a", "b", "c"], "train": 6, "validation": 6, "test": 6}
    sides = list(data.train.x.shape[2:])
    known = {"channels": 2, "image_size": min(sides), "sides": sides, "mean": data.mean, "std": data.std}
    assert data.preprocessing() == known


@pytest.mark.parametrize(
    ("x", "y", "error", "said"),
    [
        (torch.zeros(3, 1, 4, 4), torch.zeros(2), ShapeError, "3 samples and 2 labels"),
        (torch.zeros(3, 4), torch.zeros(3), ShapeError, r"shape \(channels, \*spatial\), got \(4,\)"),
        (torch.zeros(0, 1, 4, 4), torch.zeros(0), DataError, "no samples"),
    ],
    ids=["lengths", "shape", "empty"],
)
def test_splits_that_are_none_are_refused(x, y, error, said):
    with pytest.raises(error, match=said):
        Split(x, y.long())
