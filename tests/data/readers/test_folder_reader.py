"""Folders of images by class."""

import os

import numpy as np
import pytest
from PIL import Image

from equimorph.data.readers._base import ReadOptions
from equimorph.data.readers.folder import FolderReader
from equimorph.errors import DataError

READER = FolderReader()


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg"):
            Image.new("L", (4, 4)).save(path)
        else:
            path.write_bytes(b"")
    return root


def read(given, **options):
    return READER.read(str(given), ReadOptions(**options))


def test_each_subfolder_is_a_class(tmp_path):
    listing = read(write(tmp_path, "dog/2.png", "dog/1.PNG", "cat/deep/er/3.jpg", "cat/10.png"))
    assert listing.ids == ["cat/10.png", "cat/deep/er/3.jpg", "dog/1.PNG", "dog/2.png"]
    assert listing.labels == ["cat", "cat", "dog", "dog"]
    assert listing.parts is None and listing.name == tmp_path.name
    assert [listing.source.header(each).sides for each in range(4)] == [(4, 4)] * 4


def test_folders_that_are_called_as_parts_divide_the_data(tmp_path):
    listing = read(write(tmp_path, "Train/cat/1.png", "val/cat/2.png", "val/dog/3.png", "testing/dog/4.png"))
    assert listing.parts == ["train", "test", "validation", "validation"]
    assert listing.labels == ["cat", "dog", "cat", "dog"]


def test_parts_beside_other_folders_are_refused(tmp_path):
    write(tmp_path, "train/cat/1.png", "test/cat/1.png", "more/cat/1.png")
    with pytest.raises(DataError, match='"test", "train" and also "more"'):
        read(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    assert set(read(write(tmp_path, "train/1.png", "bus/1.png")).labels) == {"train", "bus"}


def test_hidden_files_and_clutter_are_passed_over_and_others_counted(tmp_path):
    names = [".git/1.png", "__MACOSX/cat/1.png", "cat/.1.png", "cat/Thumbs.db", "cat/a.txt", "cat/b.txt", "cat/README"]
    listing = read(write(tmp_path, "cat/1.png", *names))
    assert listing.ids == ["cat/1.png"] and not listing.findings.problems
    expected = {"files that are no samples (.txt)": 2, "files that are no samples (without a suffix)": 1}
    assert listing.findings.left_out == expected


def test_a_class_without_images_is_a_problem(tmp_path):
    write(tmp_path, "cat/1.png", "dog/a.txt")
    assert read(tmp_path).findings.problems == {"a class folder without images": ["dog"]}


def test_a_folder_without_folders_is_for_another_reader_and_without_images_refused(tmp_path):
    assert not READER.recognises(str(write(tmp_path, "1.png")))
    assert not READER.recognises(str(tmp_path / "1.png")) and not READER.recognises(str(tmp_path / "none"))
    with pytest.raises(DataError, match="no images in"):
        read(tmp_path)


@pytest.mark.parametrize("given", [".", "./", "../{}", "{{}}"])
def test_ids_are_the_same_however_the_folder_is_given(tmp_path, monkeypatch, given):
    monkeypatch.chdir(write(tmp_path, "cat/1.png", "cat/2.png"))
    listing = read(given.format(tmp_path.name).format(tmp_path))
    assert listing.ids == ["cat/1.png", "cat/2.png"] and listing.name == tmp_path.name
    monkeypatch.chdir("/")
    assert listing.source.header(0).channels == 1


def test_links_are_followed_unless_they_lead_back(tmp_path):
    write(tmp_path, "data/cat/1.png", "elsewhere/2.png")
    (tmp_path / "data/cat/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/cat/loop").symlink_to(tmp_path / "data")
    listing = read(tmp_path / "data")
    assert listing.ids == ["cat/1.png", "cat/more/2.png"]
    assert listing.findings.left_out == {"links to a folder that they lie in": 1}


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, "cat/1.png", "dog/1.png")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match="dog may not be read"):
        read(tmp_path)


def test_arrays_are_samples_as_well(tmp_path):
    (tmp_path / "ball").mkdir()
    np.save(tmp_path / "ball" / "1.npy", np.zeros((5, 6, 7), np.uint8))
    assert read(tmp_path, dim=3).source.header(0).sides == (5, 6, 7)


def test_samples_outside_the_folders_of_the_classes_are_counted(tmp_path):
    loose = {"files outside the folders of the classes": 2}
    found = read(write(tmp_path / "plain", "cat/1.png", "dog/1.png", "2.png", "3.jpg", ".4.png", "notes.txt"))
    assert found.findings.left_out == loose and len(found.ids) == 2
    found = read(write(tmp_path / "divided", "train/cat/1.png", "test/cat/1.png", "train/2.png", "test/3.png"))
    assert found.findings.left_out == loose and len(found.ids) == 2
