"""Datasets in an HDF5 file become samples that are read when they are needed, in whatever process."""

import multiprocessing
import os
import pickle
import sys

import h5py
import numpy as np
import pytest

from equimorph.data.problems import DataProblemsError, SampleError
from equimorph.data.readers import hdf5
from equimorph.data.readers._base import ReadOptions
from equimorph.data.readers.hdf5 import Hdf5Reader, Hdf5Source
from equimorph.data.sources import Form
from equimorph.errors import DataError

READER = Hdf5Reader()
GREY = Form(1, (6, 7), "float32")


def values(*shape, dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.h5"


@pytest.fixture
def saved(path):
    def save(options=None, /, attributes=None, **members):
        with h5py.File(path, "w") as file:
            for name, member in members.items():
                file[name] = member
            file.attrs.update(attributes or {})
        return READER.read(str(path), ReadOptions(**(options or {})))

    return save


def test_galaxy10_is_read(saved):
    images = np.random.default_rng(0).integers(0, 256, (10, 20, 20, 3), np.uint8)
    extra = dict.fromkeys(("ra", "dec", "redshift", "pxscale"), np.linspace(0, 1, 10))
    listing = saved(images=images, ans=np.arange(10, dtype=np.uint8), **extra)
    assert listing.classes == tuple("0123456789") and list(listing.labels) == list("0123456789")
    assert listing.ids[7] == "images[7]" and listing.parts is None and listing.source.is_alike
    header = listing.source.header(7)
    assert (header.channels, header.sides, header.levels) == (3, (20, 20), "uint8")
    assert np.array_equal(listing.source.read(7, Form(3, (20, 20))), images[7].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("shape", "dim", "axis"),
    [
        ((4, 50), 1, None),
        ((4, 50, 3), 1, 2),
        ((4, 3, 50), 1, 1),
        ((4, 8, 9), 2, None),
        ((4, 3, 8, 9), 2, 1),
        ((4, 20, 21, 12), 2, 3),
        ((4, 6, 7, 8), 3, None),
        ((4, 2, 6, 7, 8), 3, 1),
    ],
    ids=str,
)
def test_samples_of_every_dimension_are_channels_first(saved, shape, dim, axis):
    x = values(*shape)
    source = saved({"dim": dim}, x=x, y=[0, 1, 0, 1]).source
    header = source.header(2)
    expected = x[2][None] if axis is None else np.moveaxis(x[2], axis - 1, 0)
    assert (header.channels, *header.sides) == expected.shape
    assert np.array_equal(source.read(2, Form(header.channels, header.sides, "float32")), expected)


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        ([10, 9, 10], ["10", "9", "10"], ("9", "10")),
        ([[0, 1], [1, 0], [0, 1]], ["1", "0", "1"], ("0", "1")),
        (["dog", "cat", "dog"], ["dog", "cat", "dog"], None),
        (np.array([b"dog", b"cat", b"dog"]), ["dog", "cat", "dog"], None),
        ([True, False, True], ["1", "0", "1"], ("0", "1")),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["ans", "labels", "y", "label", "targets"])
def test_labels_of_every_kind_become_names(saved, name, labels, names, classes):
    listing = saved(data=values(3, 6, 7), **{name: labels})
    assert list(listing.labels) == names and listing.classes == classes


@pytest.mark.parametrize("where", ["dataset", "attribute of the file", "attribute of the labels"])
def test_classes_are_named_by_a_dataset_or_an_attribute(path, where):
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = values(2, 6, 7), [1, 0]
        holder = {"dataset": file, "attribute of the file": file.attrs, "attribute of the labels": file["y"].attrs}[
            where
        ]
        holder["classes"] = ["zebra", "ant"]
    listing = READER.read(str(path), ReadOptions())
    assert list(listing.labels) == ["ant", "zebra"] and listing.classes == ("zebra", "ant")


@pytest.mark.parametrize("names", ["x_{} y_{} id_{} group_{}", "{}/images {}/labels {}/ids {}/patient"])
def test_parts_ids_and_groups_are_found(saved, names):
    samples, labels, ids, groups = names.split()
    members = {}
    for number, part in enumerate(("train", "val", "test")):
        members[samples.format(part)] = np.full((3, 6, 7), number)
        members[labels.format(part)] = [0, 1, 0]
        members[ids.format(part)] = [f"{part}{i}" for i in range(3)]
        members[groups.format(part)] = [number, number, 9]
    listing = saved(**members)
    assert list(listing.parts) == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert listing.ids[4] == "val1" and list(listing.groups) == list("009119229")
    assert [int(listing.source.read(i, GREY).max()) for i in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_arrays_are_found_by_the_names_that_are_given(saved):
    options = {"label_column": "deep/coarse", "group_column": "who", "path_column": "pixels"}
    members = {"pixels": values(2, 6, 7), "deep/coarse": [1, 0], "y": [0, 0], "who": [b"p", b"q"]}
    listing = saved(options, **members)
    assert list(listing.labels) == ["1", "0"] and list(listing.groups) == ["p", "q"]


def test_rows_that_are_not_one_hot_are_left_out_and_told(saved):
    x = values(5, 6, 7)
    listing = saved(x=x, y=[[1, 0], [1, 1], [0, 1], [0, 0], [0, 2]])
    reason = "its row of the label matrix has not exactly one 1 and else 0"
    assert listing.findings.problems == {reason: ["x[1]", "x[3]", "x[4]"]}
    assert list(listing.labels) == ["0", "1"] and np.array_equal(listing.source.read(1, GREY)[0], x[2])


@pytest.mark.parametrize("chunks", [None, (1, 6, 7), (4, 3, 7), (100, 2, 2)], ids=str)
@pytest.mark.parametrize("most", [1, 3 * 6 * 7 * 4, 2**28])
def test_samples_are_the_same_however_they_are_stored(path, chunks, most, monkeypatch):
    monkeypatch.setattr(hdf5, "_MOST_BYTES_AT_ONCE", most)
    x = values(103, 6, 7)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=x, chunks=chunks, compression=chunks and "gzip")
        file["y"] = np.arange(103) % 2
    source = READER.read(str(path), ReadOptions()).source
    for index in [*range(103), *np.random.default_rng(0).permutation(103)]:
        assert np.array_equal(source.read(int(index), GREY)[0], x[index])


@pytest.fixture
def source(path):
    with h5py.File(path, "w") as file:
        file["x"] = values(40, 6, 7)
        return Hdf5Source(file["x"], dim=2)


def total(source, index):
    return float(source.read(index, GREY).sum()), os.getpid()


def test_nothing_is_opened_before_a_sample_is_needed(source):
    assert len(source) == 40 and source.header(0).sides == (6, 7) and source._handle is None
    source.read(0, GREY)
    assert source._handle is not None


def test_a_pickled_source_reads_on(source, tmp_path, monkeypatch):
    source.read(0, GREY)
    content = pickle.dumps(source)
    assert len(content) < 1000
    monkeypatch.chdir(tmp_path.parent)
    assert np.array_equal(pickle.loads(content).read(3, GREY), source.read(3, GREY))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_read_at_the_same_time(source):
    source.read(5, GREY)
    inherited = source._handle
    expected = [float(values(40, 6, 7)[i].sum()) for i in range(40)]
    with multiprocessing.get_context("fork").Pool(3, _inherit, (source,)) as pool:
        results = pool.map_async(_read_inherited, range(40), chunksize=2)
        here = [total(source, i)[0] for i in range(40)]
        there = results.get(30)
    assert here == expected and [value for value, _ in there] == expected
    assert os.getpid() not in {process for _, process in there}
    assert source._handle is inherited


def _inherit(source):
    global _inherited
    _inherited = source


def _read_inherited(index):
    return total(_inherited, index)


def test_a_file_that_is_gone_is_a_problem_of_the_sample(source, path):
    path.unlink()
    with pytest.raises(SampleError, match="no longer there"):
        source.read(0, GREY)


def test_lengths_that_differ_are_told_together(saved):
    with pytest.raises(DataProblemsError) as raised:
        saved(x_train=values(3, 6, 7), y_train=[0, 1], x_test=values(3, 6, 7), y_test=[0, 1, 2, 3])
    assert raised.value.reasons == {"3 samples with 2 labels": ["x_train"], "3 samples with 4 labels": ["x_test"]}


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ({"a": [1]}, {}, 'no samples among its arrays "a"'),
        ({"x": values(2, 6, 7)}, {}, 'no labels among its arrays "x"'),
        ({"x": values(2, 6, 7), "y": [0, 1]}, {"label_column": "z"}, 'no array "z" for the labels'),
        ({"x": values(2, 6, 7), "images": values(2, 6, 7), "y": [0, 1]}, {}, "could both be the samples"),
        ({"x": values(2, 6), "y": [0, 1]}, {}, 'dataset "x": its shape is .6,., and a sample of dimension 2'),
        ({"x": values(2, 6, 7, dtype=complex), "y": [0, 1]}, {}, "real numbers are needed"),
        ({"x": values(2, 6, 7), "y": values(2, 6, 7)}, {}, 'dataset "y": its shape is .2, 6, 7., and one entry'),
        ({"x": values(0, 6, 7), "y": values(0)}, {}, "there are no samples in it"),
    ],
)
def test_what_does_not_fit_is_refused(saved, members, options, message):
    with pytest.raises(DataError, match=message):
        saved(options, **members)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_a_file_that_is_cut_short_is_told_in_one_line(saved, path, share):
    saved(x=values(50, 6, 7), y=np.arange(50))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"some\.h5 is no HDF5 file, or is damaged") as told:
        READER.read(str(path), ReadOptions())
    assert "\n" not in str(told.value)


def test_what_is_no_hdf5_file_and_what_is_missing_are_told(path):
    assert all(READER.recognises(f"some.{suffix}") for suffix in ("h5", "hdf5", "HE5")) and not READER.recognises("h5")
    with pytest.raises(DataError, match="there is no file"):
        READER.read(str(path), ReadOptions())
    path.write_text("no")
    with pytest.raises(DataError, match="is no HDF5 file"):
        READER.read(str(path), ReadOptions())


def test_links_out_of_the_file_are_not_followed(saved, path, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["y"] = [0, 1]
    with h5py.File(path, "w") as file:
        file["x"] = values(2, 6, 7)
        file["y"] = h5py.ExternalLink("other.h5", "y")
    with pytest.raises(DataError, match="no labels"):
        READER.read(str(path), ReadOptions())
