import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from made import packed, splits_of

import equimorph as em
from equimorph.data.rotation import random_angles, rotate
from equimorph.errors import DataError

SOURCE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
both = pytest.mark.parametrize("name", ["mnist", "rotmnist"])


def mnist_arrays():
    """Arrays of the right shapes, zero but for three pixels that hold the number of the image, and for its label."""
    arrays, first = {}, 0
    for split, size in (("train", 60_000), ("test", 10_000)):
        numbers = np.arange(first, first + size)
        images = zeros(size, 28, 28)
        images[:, 14, 14:17] = numbers[:, None] // [1, 256, 65_536] % 256
        arrays |= {f"x_{split}": images, f"y_{split}": (numbers % 10).astype(np.uint8)}
        first += size
    return arrays


def zeros(*shape):
    return np.zeros(shape, np.uint8)


def numbers_of(x):
    """The numbers that images of `numbered_folder` hold."""
    return x[:, 0, 14, 14].long() + 256 * x[:, 0, 14, 15].long() + 65_536 * x[:, 0, 14, 16].long()


def as_npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("EQUIMORPH_DATA", raising=False)


@pytest.fixture(scope="module")
def numbered_folder(tmp_path_factory):
    """A folder with an mnist.npz in which every image tells its number."""
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "mnist.npz", **mnist_arrays())
    return folder


@pytest.fixture
def without_turning(monkeypatch):
    """RotMNIST's images as they were before they were turned, with the angles that they would be turned by."""
    angles = []
    monkeypatch.setattr("equimorph.data.tasks.mnist.rotate", lambda x, degrees: angles.append(degrees) or x)
    return angles


@pytest.fixture(scope="module")
def mnist(numbered_folder):
    return em.data.load("mnist", numbered_folder)


def test_mnist_splits_the_official_training_set_and_keeps_the_official_test_set(mnist):
    assert [len(split) for split in splits_of(mnist)] == [54_000, 6_000, 10_000]
    train, validation, test = (numbers_of(split.x) for split in splits_of(mnist))
    assert torch.cat([train, validation]).sort().values.tolist() == list(range(60_000))
    assert torch.equal(test, torch.arange(60_000, 70_000))
    assert not torch.equal(train.sort().values, train)


def test_rotmnist_draws_disjoint_digits_from_all_of_mnist(numbered_folder, without_turning):
    data = em.data.load("rotmnist", numbered_folder)
    assert [len(split) for split in splits_of(data)] == [10_800, 1_200, 50_000]
    numbers = torch.cat([numbers_of(split.x) for split in splits_of(data)])
    assert len(numbers.unique()) == 62_000 and numbers.min() >= 0 and numbers.max() < 70_000
    for split in splits_of(data):  # each split takes from both parts, the test part being one in seven
        share = (numbers_of(split.x) >= 60_000).double().mean()
        assert 1 / 8 < share < 1 / 6
    assert torch.equal(torch.cat(without_turning), random_angles(62_000, seed=0))


def test_labels_stay_with_their_images(mnist, numbered_folder, without_turning):
    for data in (mnist, em.data.load("rotmnist", numbered_folder)):
        for split in splits_of(data):
            assert torch.equal(split.y, numbers_of(split.x) % 10)
            assert split.y.dtype == torch.int64 and split.x.shape[1:] == (1, 28, 28)


def test_mnist_is_always_the_same_and_leaves_the_global_generator_alone(mnist, numbered_folder):
    before = torch.get_rng_state()
    again = em.data.load("mnist", numbered_folder)
    assert torch.equal(torch.get_rng_state(), before)
    for one, two in zip(splits_of(mnist), splits_of(again), strict=True):
        assert torch.equal(one.x, two.x) and torch.equal(one.y, two.y)


def test_rotmnist_is_always_the_same_and_leaves_the_global_generator_alone(numbered_folder, without_turning):
    before = torch.get_rng_state()
    one, two = (em.data.load("rotmnist", numbered_folder) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for first, second in zip(splits_of(one), splits_of(two), strict=True):
        assert torch.equal(first.x, second.x) and torch.equal(first.y, second.y)
    assert torch.equal(*without_turning)


def test_the_environment_variable_names_the_data_folder(numbered_folder, monkeypatch, without_turning):
    monkeypatch.setenv("EQUIMORPH_DATA", str(numbered_folder))
    assert len(em.data.load("rotmnist").test) == 50_000


def test_a_given_data_folder_wins_over_the_environment(numbered_folder, monkeypatch, without_turning, tmp_path):
    monkeypatch.setenv("EQUIMORPH_DATA", str(tmp_path / "nowhere"))
    assert len(em.data.load("rotmnist", numbered_folder).test) == 50_000
    monkeypatch.setenv("EQUIMORPH_DATA", str(numbered_folder))
    with pytest.raises(DataError, match="elsewhere"):
        em.data.load("rotmnist", tmp_path / "elsewhere")


@both
def test_a_folder_that_nobody_named_is_asked_for(name):
    with pytest.raises(DataError, match=rf"mnist\.npz is needed .* --data-dir or EQUIMORPH_DATA.* {SOURCE}"):
        em.data.load(name)


@both
@pytest.mark.parametrize("exists", [True, False], ids=["empty folder", "no folder"])
def test_a_missing_file_is_named_with_where_to_get_it(name, exists, tmp_path):
    folder = tmp_path if exists else tmp_path / "nowhere"
    with pytest.raises(DataError) as caught:
        em.data.load(name, folder)
    assert str(caught.value) == f"data: there is no mnist.npz in {folder}; it can be had from {SOURCE}."


def damaged_file(damage):
    arrays = {"x_train": zeros(5, 28, 28), "y_train": zeros(5), "x_test": zeros(5, 28, 28), "y_test": zeros(5)}
    whole = packed(**arrays)
    flipped = bytearray(whole)
    flipped[2_000] ^= 0xFF  # among the pixels
    return {
        "empty": b"",
        "a page instead": b"<html>404 Not Found</html>",
        "cut short": whole[: len(whole) // 2],
        "a byte flipped": bytes(flipped),
        "an array missing": packed(**dict(list(arrays.items())[:3])),
        "arrays of other shapes": whole,
        "objects": packed(**arrays | {"x_train": np.array([{"a": 1}], dtype=object)}),
        "a single array": as_npy(zeros(5, 28, 28)),
    }[damage]


@pytest.mark.parametrize(
    "damage",
    [
        "empty",
        "a page instead",
        "an array missing",
        "arrays of other shapes",
        "objects",
        "cut short",
        "a byte flipped",
        "a single array",
    ],
)
@both
def test_a_damaged_file_is_told_in_one_line_with_where_to_get_it(name, damage, tmp_path):
    path = tmp_path / "mnist.npz"
    path.write_bytes(damaged_file(damage))
    with pytest.raises(DataError) as caught:
        em.data.load(name, tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and said.endswith(f"get it from {SOURCE}.") and "\n" not in said


class Trap:
    """Unpickling one makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_ever_unpickled(tmp_path):
    trap = tmp_path / "sprung"
    content = packed(x_train=np.array([Trap(trap)], dtype=object))
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError):
        em.data.load("mnist", tmp_path)
    assert not trap.exists()
    np.load(io.BytesIO(content), allow_pickle=True)["x_train"]
    assert trap.exists()  # so the trap was one


@pytest.fixture(scope="module")
def real_folder():
    beside = Path(__file__).parents[4] / "shared" / "data"
    for folder in filter(None, (os.environ.get("EQUIMORPH_DATA"), beside)):
        if (Path(folder) / "mnist.npz").is_file():
            return Path(folder)
    pytest.skip("there is no mnist.npz")


@pytest.fixture(scope="module")
def real_arrays(real_folder):
    with np.load(real_folder / "mnist.npz") as arrays:
        return [torch.from_numpy(np.concatenate([arrays[f"{what}_train"], arrays[f"{what}_test"]])) for what in "xy"]


@pytest.mark.shared_data
def test_the_real_rotmnist_is_mnists_digits_in_the_permuted_order_turned(real_folder, real_arrays):
    data = em.data.load("rotmnist", real_folder)
    x, y = real_arrays
    order = torch.randperm(70_000, generator=torch.Generator().manual_seed(0))[:62_000]
    assert [len(split) for split in splits_of(data)] == [10_800, 1_200, 50_000]
    assert torch.equal(torch.cat([split.y for split in splits_of(data)]), y[order].long())
    every = slice(None, None, 97)  # turning all of them a second time would take seconds
    again = rotate(x[order][every, None], random_angles(62_000, seed=0)[every])
    assert torch.equal(torch.cat([split.x for split in splits_of(data)])[every], again)


@pytest.mark.shared_data
def test_the_real_mnist_has_every_digit_once_in_its_place(real_folder, real_arrays):
    data = em.data.load("mnist", real_folder)
    x, y = real_arrays
    shuffled = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))
    order = torch.cat([shuffled, torch.arange(60_000, 70_000)])
    assert [len(split) for split in splits_of(data)] == [54_000, 6_000, 10_000]
    assert torch.equal(torch.cat([split.y for split in splits_of(data)]), y[order].long())
    assert torch.equal(torch.cat([split.x[:, 0] for split in splits_of(data)]), x[order])
    assert data.test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize(
    ("name", "values", "needed"),
    [
        ("x_train", lambda array: array.astype(np.float32), "expected uint8 pixels"),
        ("y_test", lambda array: array.astype(str), "whole numbers"),
        ("y_train", lambda array: array + 70, "expected 0 to 9"),
    ],
    ids=["pixels as fractions", "labels as text", "labels beyond 9"],
)
def test_values_of_another_kind_are_refused(name, values, needed, tmp_path):
    arrays = {"x_train": zeros(60_000, 28, 28), "y_train": zeros(60_000)}
    arrays |= {"x_test": zeros(10_000, 28, 28), "y_test": zeros(10_000)}
    (tmp_path / "mnist.npz").write_bytes(packed(**arrays | {name: values(arrays[name])}))
    with pytest.raises(DataError, match=needed):
        em.data.load("mnist", tmp_path)
