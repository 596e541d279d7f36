import os
from pathlib import Path

import numpy as np
import pytest
import torch
from made import packed, splits_of

import equimorph as em
from equimorph.errors import DataError

PARTS = ("train", "val", "test")
FILES = {"galaxies": "galaxyzoo1_small.npz", "skin": "skin_lesions_ham10000.npz"}
SIZES = {"galaxies": (2_253, 322, 644), "skin": (4_078, 583, 1_512)}
SIDES = {"galaxies": 64, "skin": 48}
CLASSES = {
    "galaxies": ("elliptical", "spiral_clockwise", "spiral_anticlockwise", "spiral_edge_on", "dont_know", "merger"),
    "skin": ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"),
}
SOURCES = {"galaxies": "made small as load_galaxies tells", "skin": "made small as load_skin tells"}
both = pytest.mark.parametrize("name", ["galaxies", "skin"])


def numbered_arrays(name):
    """Black images; the first pixel holds the image's number in its three channels, the pixel (1, 2) is red."""
    arrays, first = {"classes": np.array(CLASSES[name])}, 0
    for part, size in zip(PARTS, SIZES[name], strict=True):
        numbers = np.arange(first, first + size)
        images = np.zeros((size, SIDES[name], SIDES[name], 3), np.uint8)
        images[:, 0, 0] = numbers[:, None] // [1, 256, 65_536] % 256
        images[:, 1, 2, 0] = 255
        arrays |= {f"x_{part}": images, f"y_{part}": (numbers % len(CLASSES[name])).astype(np.uint8)}
        first += size
    return arrays


def numbers_of(x):
    return x[:, 0, 0, 0].long() + 256 * x[:, 1, 0, 0].long() + 65_536 * x[:, 2, 0, 0].long()


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("EQUIMORPH_DATA", raising=False)


@pytest.fixture(scope="module")
def numbered_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, file in FILES.items():
        np.savez(folder / file, **numbered_arrays(name))
    return folder


@both
def test_images_come_with_channels_first_rows_before_columns_and_as_bytes(name, numbered_folder):
    data = em.data.load(name, numbered_folder)
    side = SIDES[name]
    assert (data.name, data.in_channels, data.image_size, data.dim) == (name, 3, side, 2)
    for split in splits_of(data):
        assert split.x.shape[1:] == (3, side, side) and split.x.dtype == torch.uint8 and split.x.is_contiguous()
        assert split.y.dtype == torch.int64
        lit = split.x.clone()
        lit[:, :, 0, 0] = 0
        assert (lit[:, 0, 1, 2] == 255).all() and lit.count_nonzero() == len(split)


def test_skin_keeps_every_image_in_its_split_with_its_label(numbered_folder):
    data = em.data.load("skin", numbered_folder)
    assert data.classes == CLASSES["skin"]
    numbers = [numbers_of(split.x) for split in splits_of(data)]
    assert [len(part) for part in numbers] == list(SIZES["skin"])
    assert torch.cat(numbers).tolist() == list(range(sum(SIZES["skin"])))
    for part, split in zip(numbers, splits_of(data), strict=True):
        assert torch.equal(split.y, part % 7)


def test_galaxies_leave_out_those_that_nobody_knew_and_keep_the_others_with_their_class(numbered_folder):
    data = em.data.load("galaxies", numbered_folder)
    old = CLASSES["galaxies"]
    assert data.classes == tuple(label for label in old if label != "dont_know")
    numbers = torch.cat([numbers_of(split.x) for split in splits_of(data)])
    assert numbers.tolist() == [number for number in range(sum(SIZES["galaxies"])) if number % 6 != 4]
    for split in splits_of(data):
        for number, label in zip(numbers_of(split.x).tolist(), split.y.tolist(), strict=True):
            assert data.classes[label] == old[number % 6]


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("galaxies-winding", {"spiral_clockwise": "clockwise", "spiral_anticlockwise": "anticlockwise"}),
        (
            "galaxies-merged",
            {
                "elliptical": "elliptical",
                "spiral_clockwise": "spiral",
                "spiral_anticlockwise": "spiral",
                "spiral_edge_on": "spiral_edge_on",
                "merger": "merger",
            },
        ),
    ],
)
def test_questions_about_galaxies_keep_the_images_of_their_classes_under_the_new_names(name, renamed, numbered_folder):
    data = em.data.load(name, numbered_folder)
    old = CLASSES["galaxies"]
    assert data.name == name and data.classes == tuple(dict.fromkeys(renamed.values()))
    wanted = [number for number in range(sum(SIZES["galaxies"])) if old[number % 6] in renamed]
    numbers = [numbers_of(split.x) for split in splits_of(data)]
    assert torch.cat(numbers).tolist() == wanted
    all_galaxies = em.data.load("galaxies", numbered_folder)
    for part, split, whole in zip(numbers, splits_of(data), splits_of(all_galaxies), strict=True):
        assert set(part.tolist()) <= set(numbers_of(whole.x).tolist())  # in the part where they were
        labels = [data.classes[label] for label in split.y.tolist()]
        assert labels == [renamed[old[number % 6]] for number in part.tolist()]


@both
def test_a_folder_that_nobody_named_is_asked_for(name):
    with pytest.raises(DataError, match=rf"{FILES[name]} is needed .* --data-dir or EQUIMORPH_DATA.*{SOURCES[name]}"):
        em.data.load(name)


@both
def test_a_missing_file_is_named_with_where_to_get_it(name, tmp_path):
    with pytest.raises(DataError) as caught:
        em.data.load(name, tmp_path)
    said = str(caught.value)
    assert said.startswith(f"data: there is no {FILES[name]} in {tmp_path}; it can be had from https://")
    assert said.endswith(f"{SOURCES[name]}.") and "\n" not in said


def damaged_file(name, damage):
    shapes = {"x": (5, SIDES[name], SIDES[name], 3), "y": (5,)}
    arrays = {f"{letter}_{part}": np.zeros(shapes[letter], np.uint8) for part in PARTS for letter in "xy"}
    arrays["classes"] = np.array(CLASSES[name])
    whole = packed(**arrays)
    flipped = bytearray(whole)
    flipped[2_000] ^= 0xFF  # among the pixels
    unknown = bytearray(whole)
    unknown[unknown.index(b"PK\x01\x02") + 10] = 99  # a way of packing that there is none of
    return {
        "empty": b"",
        "a page instead": b"<html>404 Not Found</html>",
        "cut short": whole[: len(whole) // 2],
        "a byte flipped": bytes(flipped),
        "packed in an unknown way": bytes(unknown),
        "no class names": packed(**dict(list(arrays.items())[:-1])),
        "too few images": whole,
        "objects": packed(**arrays | {"x_train": np.array([{"a": 1}], dtype=object)}),
    }[damage]


@pytest.mark.parametrize(
    "damage",
    [
        "empty",
        "a page instead",
        "cut short",
        "a byte flipped",
        "packed in an unknown way",
        "no class names",
        "too few images",
        "objects",
    ],
)
@both
def test_a_damaged_file_is_told_in_one_line_with_where_to_get_it(name, damage, tmp_path):
    path = tmp_path / FILES[name]
    path.write_bytes(damaged_file(name, damage))
    with pytest.raises(DataError) as caught:
        em.data.load(name, tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and said.endswith(f"{SOURCES[name]}.") and "\n" not in said


@pytest.mark.parametrize(
    ("name", "array", "values", "needed"),
    [
        ("skin", "x_val", lambda array: array.astype(np.float32), "expected uint8 pixels"),
        ("skin", "x_test", lambda array: array[..., 0], r"expected .*\(1512, 48, 48, 3\)"),
        ("skin", "y_test", lambda array: array.astype(str), "whole numbers"),
        ("skin", "y_val", lambda array: array.astype(float), "whole numbers"),
        ("skin", "y_train", lambda array: array + 1, "labels from 0 to 7, expected 0 to 6"),
        ("skin", "y_val", lambda array: array.astype(np.int64) - 1, "labels from -1 to 6, expected 0 to 6"),
        ("skin", "classes", lambda array: array[::-1], "expected .*akiec"),
        ("galaxies", "y_val", lambda array: array + 1, "labels from 0 to 6, expected 0 to 5"),
        ("galaxies", "classes", lambda array: array[:3], "expected .*merger"),
        ("galaxies", "classes", lambda array: np.arange(6), "expected .*merger"),
    ],
)
def test_arrays_of_another_kind_are_refused(name, array, values, needed, tmp_path):
    arrays = numbered_arrays(name)
    (tmp_path / FILES[name]).write_bytes(packed(**arrays | {array: values(arrays[array])}))
    with pytest.raises(DataError, match=needed) as caught:
        em.data.load(name, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def real_folder():
    beside = Path(__file__).parents[4] / "shared" / "data"
    for folder in filter(None, (os.environ.get("EQUIMORPH_DATA"), beside)):
        if all((Path(folder) / file).is_file() for file in FILES.values()):
            return Path(folder)
    pytest.skip("there are no galaxies and no lesions")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("galaxies", [[840, 290, 305, 699, 80], [120, 41, 44, 99, 12], [240, 83, 87, 200, 23]]),
        (
            "skin",
            [
                [160, 231, 510, 52, 430, 2625, 70],
                [23, 33, 73, 8, 61, 375, 10],
                [43, 93, 217, 44, 171, 909, 35],
            ],
        ),
    ],
    ids=["galaxies", "skin"],
)
def test_the_real_files_hold_so_many_of_each_class(name, counts, real_folder):
    data = em.data.load(name, real_folder)
    assert [split.y.bincount().tolist() for split in splits_of(data)] == counts


@pytest.mark.shared_data
def test_the_real_galaxies_give_so_many_for_each_question(real_folder):
    for name, counts in (
        ("galaxies-winding", [[290, 305], [41, 44], [83, 87]]),
        ("galaxies-merged", [[840, 595, 699, 80], [120, 85, 99, 12], [240, 170, 200, 23]]),
    ):
        data = em.data.load(name, real_folder)
        assert [split.y.bincount().tolist() for split in splits_of(data)] == counts


@pytest.mark.shared_data
@pytest.mark.parametrize("group", ["O", "Oh"])
def test_the_real_furniture_trains_a_network_of_volumes(group, real_folder):
    if not (real_folder / "modelnet10_voxels24.npz").is_file():
        pytest.skip("there is no furniture")
    data = em.data.load("modelnet10", real_folder, options=em.data.ReadOptions(image_size=8)).subset(24)
    few = em.data.ImageData.from_splits(
        data.name,
        data.train,
        *(split.part(torch.arange(8)) for split in (data.validation, data.test)),
        classes=data.classes,
    )
    assert few.train.x.shape == (24, 1, 8, 8, 8)
    network = em.models.PaperNetwork(
        group=em.group(group),
        image_size=8,
        in_channels=1,
        num_classes=10,
        fields=1,
        depth=2,
        kernel_size=3,
        head_units=4,
        generator=torch.Generator().manual_seed(0),
    )
    settings = em.training.TrainingSettings(epochs=1, batch_size=12, device="cpu", augment="turn=z")
    result = em.search.Static(group).run(network, few, training=settings)
    assert 0 <= result.test_error <= 1 and result.history[0]["group"] == group


@pytest.mark.shared_data
@both
def test_the_real_images_are_those_of_the_file(name, real_folder):
    data = em.data.load(name, real_folder)
    with np.load(real_folder / FILES[name]) as arrays:
        for part, split in zip(PARTS, splits_of(data), strict=True):
            old = arrays["classes"][arrays[f"y_{part}"]]
            kept = old != "dont_know"
            assert torch.equal(split.x.permute(0, 2, 3, 1), torch.from_numpy(arrays[f"x_{part}"][kept]))
            assert [data.classes[label] for label in split.y.tolist()] == old[kept].tolist()
