"""The named data sets: each is complete, found by its name, fetched where it may be, and read as its task says."""

import csv
import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from made import pixels, write

import equimorph as em
from equimorph.data import TASKS, ReadOptions
from equimorph.data.tasks import catalog, galaxy10, isic2019, load_named
from equimorph.errors import ConfigurationError, DataError, GroupError

NAMES = (
    *("digits", "mnist", "rotmnist", "galaxies", "galaxies-winding", "galaxies-merged", "skin"),
    *("modelnet10", "galaxy10", "isic2019", "textures:H"),
)
ALONE = ReadOptions(workers=0)


@pytest.fixture(autouse=True)
def _nothing_but_an_empty_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("EQUIMORPH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def splits_of(data):
    return data.train, data.validation, data.test


def test_there_are_these_data_sets():
    assert em.data.names() == NAMES


@pytest.mark.parametrize("name", ["cifar", "", "Digits", "mnist ", "modelnet40"])
def test_an_unknown_data_set_is_refused_with_those_there_are(name):
    with pytest.raises(ConfigurationError, match=f'no data set "{name}"; there are {", ".join(NAMES)}'):
        em.data.load(name)


@pytest.mark.parametrize("name", ["textures:", "textures:H", "textures:C3", "textures:c4"])
def test_textures_of_a_group_that_is_none_are_refused_with_those_there_are(name):
    subgroup = name.removeprefix("textures:")
    with pytest.raises(GroupError, match=f'no subgroup "{subgroup}"; there are C1, .*D4'):
        em.data.load(name)


@pytest.mark.parametrize("subgroup", em.search_groups("D4"), ids=str)
def test_textures_are_loaded_by_the_name_of_their_group(subgroup):
    data = em.data.load(f"textures:{subgroup.name}")
    assert data.name == f"textures:{subgroup.name}" and len(data.train) == 1000


every_task = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)


@every_task
def test_a_task_says_all_that_a_person_asks(task):
    assert TASKS[task.name] is task
    for told in (task.what, task.sample, task.splits, task.symmetry, task.licence, task.source):
        assert told and told == told.strip() and "\n" not in told and not told.endswith(".")
    assert task.splits.count(" / ") == 2
    assert task.remote is None or task.file is not None


@every_task
def test_the_settings_that_suit_a_task_are_options_of_the_search_with_such_values(task):
    from equimorph.cli._main import _parser

    for key, value in task.settings.items():
        word = "--" + key.replace("_", "-")
        options = _parser().parse_args(["search", "--data", task.name, "--out", "run", word, str(value)])
        assert options.search[key] == value


@every_task
def test_a_task_whose_file_is_missing_says_which_and_where_it_can_be_had(task, tmp_path):
    if task.file is None:
        pytest.skip("it is built in")
    (tmp_path / "data").mkdir()
    for folder in (None, tmp_path / "data"):
        with pytest.raises(DataError) as caught:
            em.data.load(task.name, folder)
        assert task.file in str(caught.value) and "can be had from https://" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["digits", "textures:C4"])
def test_every_sample_of_a_named_set_has_an_id_of_its_own(name):
    data = em.data.load(name)
    ids = [each for split in splits_of(data) for each in split.ids]
    assert len(set(ids)) == len(ids) == sum(map(len, splits_of(data)))
    assert data.validation.ids[:2] == ("validation/0", "validation/1")
    assert set(data.resplit(1).test.ids) <= set(ids)


@pytest.mark.parametrize("name", ["digits", "textures:C4"])
def test_a_named_set_is_made_smaller_on_request(name):
    data = em.data.load(name, options=ReadOptions(image_size=6))
    assert data.image_size == 6 and data.train.ids == em.data.load(name).train.ids
    with pytest.raises(ConfigurationError, match="samples are only ever made smaller"):
        em.data.load(name, options=ReadOptions(image_size=60))


def test_a_progress_that_named_sets_do_not_need_is_not_asked_for():
    assert em.data.load("digits", progress=lambda *_: pytest.fail("told")).name == "digits"


@pytest.fixture
def downloads(monkeypatch):
    """What would be downloaded, and where to; an empty file is put there."""
    asked = []

    def download(remote, path):
        asked.append((remote, path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        return path

    monkeypatch.setattr(catalog, "download", download)
    return asked


remote_tasks = pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.remote is not None])


@remote_tasks
def test_a_missing_file_is_downloaded_to_the_cache_when_that_is_allowed(name, downloads, tmp_path):
    with pytest.raises(DataError):  # what came is an empty file
        load_named(name, fetch=True)
    assert downloads == [(TASKS[name].remote, tmp_path / "cache" / "equimorph" / TASKS[name].file)]
    with pytest.raises(DataError):
        load_named(name, fetch=True)
    assert len(downloads) == 1  # now it is there


@pytest.mark.parametrize("how", ["given", "named by EQUIMORPH_DATA"])
@remote_tasks
def test_a_missing_file_is_downloaded_to_the_data_folder_where_there_is_one(
    name, how, downloads, tmp_path, monkeypatch
):
    folder = tmp_path / "data"
    if how != "given":
        monkeypatch.setenv("EQUIMORPH_DATA", str(folder))
    with pytest.raises(DataError):
        load_named(name, folder if how == "given" else None, fetch=True)
    assert [path for _, path in downloads] == [folder / TASKS[name].file]


@remote_tasks
def test_nothing_is_downloaded_unless_that_is_allowed(name, downloads, tmp_path):
    with pytest.raises(DataError, match=TASKS[name].file):
        load_named(name, tmp_path)
    assert downloads == []


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.remote is None])
def test_what_cannot_be_downloaded_is_not_tried(name, downloads, tmp_path):
    if TASKS[name].file is None:
        load_named(name, fetch=True)
    else:
        with pytest.raises(DataError, match="can be had from"):
            load_named(name, tmp_path, fetch=True)
    assert downloads == []


def made_galaxies(folder, labels, side=16):
    path = Path(folder) / galaxy10.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["images"] = np.stack([pixels(number, (side, side)) for number in range(len(labels))])
        file["ans"] = np.array(labels, np.uint8)
        file["ra"] = np.zeros(len(labels))
    return path.parent


@pytest.mark.parametrize("memory", [4, 0], ids=["kept", "streamed"])
def test_galaxy10_is_divided_by_our_shares_with_its_classes_by_name(tmp_path, memory):
    labels = np.arange(400) % 10
    folder = made_galaxies(tmp_path, labels)
    data = em.data.load("galaxy10", folder, options=dataclasses.replace(ALONE, memory_gib=memory))
    assert (data.name, data.classes) == ("galaxy10", galaxy10.CLASSES)
    assert [len(split) for split in splits_of(data)] == [324, 36, 40]
    assert data.test.y.bincount().tolist() == [4] * 10
    number = int(data.test.ids[0].partition("[")[2].rstrip("]"))
    assert data.test.y[0] == labels[number]
    assert np.array_equal(data.test.x[:1][0].permute(1, 2, 0), pixels(number, (16, 16)))
    assert data.test.ids == em.data.load("galaxy10", folder, options=ALONE).test.ids  # its splits are always the same


def test_galaxy10_is_read_at_the_size_that_is_asked_for(tmp_path):
    folder = made_galaxies(tmp_path, np.arange(200) % 10)
    data = em.data.load("galaxy10", folder, options=dataclasses.replace(ALONE, image_size=8))
    assert data.train.x.shape[1:] == (3, 8, 8) and data.notes.handled == {"made smaller, to 8 x 8": 200}


def test_galaxy10_with_other_labels_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"labels such as 10, expected 0 to 9; get it from https://zenodo"):
        em.data.load("galaxy10", made_galaxies(tmp_path, np.arange(110) % 11), options=ALONE)


def test_the_cache_folder_is_found_by_itself(tmp_path):
    made_galaxies(tmp_path / "cache" / "equimorph", np.arange(200) % 10)
    assert em.data.load("galaxy10", options=ALONE).name == "galaxy10"


DIAGNOSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")


@pytest.fixture
def lesions(tmp_path):
    """160 images of two kinds of sides, 20 of each diagnosis, two of each lesion."""
    folder = tmp_path / isic2019.FOLDER
    truth, metadata = [["image", *DIAGNOSES, "UNK"]], [["image", "lesion_id"]]
    for number in range(160):
        name, diagnosis = f"ISIC_{number:07d}", DIAGNOSES[number // 2 % 8]
        array = pixels(number, (8, 12) if number % 3 else (10, 10))
        write(folder / "ISIC_2019_Training_Input" / f"{name}.jpg", array)
        truth.append([name, *(float(diagnosis == other) for other in (*DIAGNOSES, "UNK"))])
        metadata.append([name, f"lesion {number // 2}"])
    for what, rows in (("GroundTruth", truth), ("Metadata", metadata)):
        with (folder / f"ISIC_2019_Training_{what}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return tmp_path


def test_isic2019_is_divided_by_our_shares_and_never_within_a_lesion(lesions):
    data = em.data.load("isic2019", lesions, options=dataclasses.replace(ALONE, image_size=6))
    assert (data.name, data.classes, data.train.x.shape[1:]) == ("isic2019", DIAGNOSES, (3, 6, 6))
    sizes = [len(split) for split in splits_of(data)]
    assert sum(sizes) == 160 and abs(sizes[1] - 14) <= 4 and abs(sizes[2] - 16) <= 4
    parts = [{int(name.split("_")[-1].split(".")[0]) // 2 for name in split.ids} for split in splits_of(data)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 80
    assert set(data.train.y.tolist()) == set(range(8))
    assert data.notes.handled["cut to proportion"] == sum(number % 3 > 0 for number in range(160))


def test_isic2019_is_brought_to_a_size_of_its_own_unless_another_is_asked_for(lesions):
    data = em.data.load("isic2019", lesions, options=ALONE)
    assert data.train.x.shape[1:] == (3, 128, 128)


def made_furniture(folder):
    """Empty grids of which voxel (0, 0, i) is set in sample i modulo 24."""
    arrays = {"classes": np.array(MODELNET10)}
    for part, count in zip(("train", "val", "test"), (3_493, 498, 908), strict=True):
        grids = np.zeros((count, 24, 24, 24), np.uint8)
        grids[np.arange(count), 0, 1, np.arange(count) % 24] = 1
        arrays |= {f"x_{part}": grids, f"y_{part}": (np.arange(count) % 10).astype(np.uint8)}
    folder.mkdir(exist_ok=True)
    np.savez(folder / "modelnet10_voxels24.npz", **arrays)
    return folder


MODELNET10 = (
    *("bathtub", "bed", "chair", "desk", "dresser"),
    *("monitor", "night_stand", "sofa", "table", "toilet"),
)


def test_modelnet10_is_volumes_of_one_channel_with_x_y_z_as_they_are_stored(tmp_path):
    data = em.data.load("modelnet10", made_furniture(tmp_path / "data"))
    assert (data.name, data.dim, data.in_channels, data.image_size) == ("modelnet10", 3, 1, 24)
    assert data.classes == MODELNET10
    assert [len(split) for split in splits_of(data)] == [3_493, 498, 908]
    for split in splits_of(data):
        assert split.x.dtype == torch.uint8
        number = torch.arange(len(split))
        assert torch.equal(split.x[:, 0, 0, 1].argmax(1), number % 24) and torch.equal(split.y, number % 10)


@pytest.mark.parametrize(
    "option",
    [{"fit": "pad"}, {"label_column": "y"}, {"channels": "grey"}, {"split": 1}, {"bad_samples": "leave-out"}],
    ids=str,
)
def test_a_reading_option_that_would_do_nothing_is_refused(option):
    name = next(iter(option)).replace("_", "-")
    with pytest.raises(ConfigurationError, match=f"data: --{name} is for your own data; digits has its own"):
        em.data.load("digits", options=em.data.ReadOptions(**option))
