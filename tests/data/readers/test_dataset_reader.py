"""The user's own datasets, whatever they give, become listings; their errors become problems of samples."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset, Subset, TensorDataset

from equimorph.data.problems import DataProblemsError, SampleError
from equimorph.data.readers.dataset import listing_of
from equimorph.data.sources import Form
from equimorph.errors import DataError


class Own(torch.utils.data.Dataset):
    """Gives what it was given, and raises what is an error; counts how often it is asked."""

    def __init__(self, items, **attributes):
        self.items, self.asked = items, 0
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        self.asked += 1
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def read(source, index):
    header = source.header(index)
    return source.read(index, Form(header.channels, header.sides, header.levels))


@pytest.mark.parametrize(
    ("shape", "dim"),
    [
        ((50,), 1),
        ((3, 50), 1),
        ((50, 3), 1),
        ((8, 9), 2),
        ((3, 8, 9), 2),
        ((12, 8, 9), 2),
        ((6, 7, 8), 3),
        ((2, 6, 7, 8), 3),
    ],
    ids=str,
)
def test_tensors_have_their_channels_first(shape, dim):
    x = torch.rand(4, *shape)
    listing = listing_of(TensorDataset(x, torch.tensor([0, 1, 0, 1])), dim=dim)
    expected = x[2].reshape(1, *shape) if len(shape) == dim else x[2]
    assert np.array_equal(read(listing.source, 2), expected.numpy())
    assert list(listing.labels) == ["0", "1", "0", "1"] and listing.ids[2] == "sample[2]" and listing.name == "own"


@pytest.mark.parametrize(("shape", "axis"), [((50, 3), 1), ((3, 50), 0)])
@pytest.mark.parametrize("given", ["auto", "named"])
def test_the_channel_axis_of_an_array_is_found_or_named(shape, axis, given):
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    channel_axis = "auto" if given == "auto" else ("first", "last")[axis]
    listing = listing_of([(x, "a")], dim=1, channel_axis=channel_axis)
    assert np.array_equal(read(listing.source, 0), np.moveaxis(x, axis, 0))
    tensors = listing_of([(torch.from_numpy(x), "a")], dim=1, channel_axis=channel_axis)
    expected = x if given == "auto" else np.moveaxis(x, axis, 0)
    assert np.array_equal(read(tensors.source, 0), expected)


def test_images_are_decoded_by_the_rules_of_files():
    grey, colours = Image.new("L", (9, 8), 7), Image.new("RGBA", (9, 8), (7, 7, 7, 0))
    source = listing_of([(grey, 0), (colours, 1)], dim=2).source
    assert source.header(0).is_image and source.header(0).channels == 1
    assert source.header(1).handled == ("transparent put on black",)
    assert np.array_equal(source.read(0, Form(3, (8, 9))), np.full((3, 8, 9), 7))
    assert not source.read(1, Form(3, (8, 9))).any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_every_real_dtype_are_read(dtype):
    x = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    sample = read(listing_of([(x.requires_grad_(x.is_floating_point()), 0)], dim=2).source, 0)
    assert sample.dtype == ("uint8" if dtype is torch.uint8 else "float32")
    assert sample.tolist() == [[[0, 1], [1, 0]]]


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        ([10, 9, 10], ["10", "9", "10"], ("9", "10")),
        ([torch.tensor(10), torch.tensor([9]), np.int64(10)], ["10", "9", "10"], ("9", "10")),
        ([torch.tensor([0, 1]), np.array([1, 0]), torch.tensor([0.0, 1.0])], ["1", "0", "1"], ("0", "1")),
        (["dog", np.str_("cat"), b"dog"], ["dog", "cat", "dog"], None),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "make", [lambda x, y: (x, y), lambda x, y: [x, y, "more"], lambda x, y: {"image": x, "label": y}]
)
def test_labels_are_those_that_come_with_the_samples(labels, names, classes, make):
    listing = listing_of(Own([make(torch.zeros(4, 4), label) for label in labels]), dim=2)
    assert list(listing.labels) == names and listing.classes == classes
    assert read(listing.source, 0).shape == (1, 4, 4)


@pytest.mark.parametrize("attribute", ["targets", "labels"])
@pytest.mark.parametrize("targets", [[1, 0, 1], torch.tensor([1, 0, 1]), np.array([1, 0, 1])], ids=type)
def test_labels_that_the_dataset_lists_spare_its_samples(attribute, targets):
    items = [(torch.zeros(4, 4), label) for label in (1, 0, 1)]
    dataset = Own(items, classes=["zebra", "ant"], **{attribute: targets})
    listing = listing_of(dataset, dim=2)
    assert list(listing.labels) == ["ant", "zebra", "ant"] and listing.classes == ("zebra", "ant")
    assert dataset.asked == 0


@pytest.mark.parametrize(
    "attributes",
    [
        {"targets": [1, 1]},
        {"targets": [5, 5, 5], "target_transform": lambda y: y, "classes": ["a"]},
        {"labels": 3},
        {"labels": len},
    ],
)
def test_labels_that_are_transformed_or_too_few_are_not_taken(attributes):
    dataset = Own([(torch.zeros(4, 4), label) for label in (1, 0, 1)], **attributes)
    assert list(listing_of(dataset, dim=2).labels) == ["1", "0", "1"]
    assert dataset.asked == 3


def test_what_is_given_goes_before_what_is_found():
    dataset = Own([torch.zeros(4, 4)] * 3, targets=[0, 0, 0])
    listing = listing_of(
        dataset, dim=2, labels=[2, 0, 1], groups=torch.tensor([5, 5, 6]), ids="abc", name="mine", classes="xyz"
    )
    assert list(listing.labels) == ["z", "x", "y"] and listing.classes == ("x", "y", "z")
    assert list(listing.groups) == ["5", "5", "6"] and list(listing.ids) == ["a", "b", "c"] and listing.name == "mine"
    assert read(listing.source, 2).shape == (1, 4, 4)


def test_a_subset_is_asked_for_its_own_labels():
    dataset = Own([(torch.full((4, 4), i), i % 2) for i in range(6)], targets=[9] * 6)
    listing = listing_of(Subset(dataset, [4, 1]), dim=2)
    assert list(listing.labels) == ["0", "1"] and read(listing.source, 0).max() == 4


def test_datasets_by_part_become_one_listing():
    def part(level, labels):
        return Own([(torch.full((4, 4), level), label) for label in labels])

    datasets = {"train": part(1, [0, 1, 0]), "val": part(2, [1]), "test": part(3, [0, 1])}
    groups = {"train": [1, 1, 2], "val": [3], "test": [4, 4]}
    listing = listing_of(datasets, dim=2, groups=groups)
    assert list(listing.parts) == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert listing.ids[3:] == ["val[0]", "test[0]", "test[1]"] and list(listing.groups) == list("112344")
    assert [int(read(listing.source, i).max()) for i in range(6)] == [1, 1, 1, 2, 3, 3]


def test_errors_of_the_dataset_are_problems_of_its_samples():
    items = [(torch.zeros(4, 4), 0), OSError("disk on fire\nrun"), IndexError(), (torch.zeros(4, 4), 1)]
    listing = listing_of(Own(items), dim=2)
    assert listing.findings.problems == {
        "OSError: disk on fire": ["sample[1]"],
        "IndexError: no message": ["sample[2]"],
    }
    assert listing.ids == ["sample[0]", "sample[3]"] and list(listing.labels) == ["0", "1"]
    known = listing_of(Own(items, targets=[0, 0, 1, 1]), dim=2).source
    with pytest.raises(SampleError, match=r"^OSError: disk on fire$"):
        known.header(1)
    with pytest.raises(SampleError, match=r"^IndexError: no message$"):
        known.read(2, Form(1, (4, 4)))


@pytest.mark.parametrize(
    ("sample", "dim", "reason"),
    [
        ("a", 2, "it is a str, and a tensor, an array or an image is needed"),
        (torch.zeros(4), 2, "its shape is .4,., and a sample of dimension 2"),
        (torch.zeros(4, 4, dtype=torch.complex64), 2, "complex64, and real numbers are needed"),
        (np.zeros((4, 4, 4)), 2, "counts channels cannot be told"),
        (Image.new("L", (4, 4)), 3, "it is an image, and samples of dimension 3 are needed"),
    ],
)
@pytest.mark.parametrize("make", [lambda x: (x, 0), lambda x: {"x": x, "y": 0}])
def test_samples_of_other_kinds_are_problems(sample, dim, reason, make):
    source = listing_of(Own([make(sample)]), dim=dim).source
    with pytest.raises(SampleError, match=reason):
        source.header(0)


def test_samples_without_a_label_are_told():
    listing = listing_of(Own([torch.zeros(4, 4), (torch.zeros(4, 4),), {"image": torch.zeros(4, 4)}]), dim=2)
    assert listing.findings.problems == {
        "it is a Tensor without a label; give pairs (sample, label), or name the labels": ["sample[0]"],
        "it is a tuple without a label; give pairs (sample, label), or name the labels": ["sample[1]"],
        "it has no label": ["sample[2]"],
    }


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(4, 4), 0


GOOD = TensorDataset(torch.zeros(2, 4, 4), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Endless(), {}, "a Endless can only be iterated; a dataset with __len__ and __getitem__ is needed"),
        (iter([]), {}, "can only be iterated"),
        ({"train": GOOD, "test": Endless()}, {}, "can only be iterated"),
        ({"train": GOOD, "other": GOOD}, {}, 'datasets "train", "other"; call them "train", "validation" and "test"'),
        ({"test": GOOD}, {}, 'datasets "test"; call them'),
        ({"train": GOOD, "val": GOOD, "valid": GOOD}, {}, "call them"),
        ({"train": GOOD}, {"labels": [0, 1]}, "labels for several datasets; give a dictionary"),
        (GOOD, {"labels": torch.zeros(2, 2, 2)}, "labels of shape .2, 2, 2."),
        ([], {}, "there are no samples in it"),
        (GOOD, {"classes": ["a", "a"]}, 'two classes are called "a"'),
    ],
)
def test_what_does_not_fit_is_refused(dataset, options, message):
    with pytest.raises(DataError, match=f"^data: own: .*{message}"):
        listing_of(dataset, dim=2, **options)


def test_lengths_that_differ_are_told_together():
    with pytest.raises(DataProblemsError) as raised:
        listing_of(GOOD, dim=2, labels=[0], groups=[1, 2, 3])
    assert raised.value.reasons == {"2 samples with 1 labels": ["sample"], "2 samples with 3 groups": ["sample"]}


def test_a_source_can_be_pickled_with_its_dataset():
    assert read(pickle.loads(pickle.dumps(listing_of(GOOD, dim=2).source)), 1).shape == (1, 4, 4)


def test_anything_with_length_and_items_is_a_dataset():
    rows = SimpleNamespace
    assert not hasattr(rows(), "__getitem__")
    assert listing_of([(np.zeros((4, 4)), "a"), (np.ones((4, 4)), "b")], dim=2).labels == ["a", "b"]
