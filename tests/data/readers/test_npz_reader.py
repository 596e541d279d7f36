"""Arrays in an `.npz` file become samples, labels, parts and groups; whatever does not fit is told."""

import pickle
import zipfile

import numpy as np
import pytest

from equimorph.data.problems import DataProblemsError
from equimorph.data.readers import arrays, npz
from equimorph.data.readers._base import ReadOptions
from equimorph.data.readers.npz import NpzReader
from equimorph.data.sources import Form
from equimorph.errors import DataError

READER = NpzReader()


@pytest.fixture
def saved(tmp_path):
    def save(options=None, /, **members):
        path = tmp_path / "some.npz"
        np.savez_compressed(path, **members)
        return READER.read(str(path), ReadOptions(**(options or {})))

    return save


def values(*shape, dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "dim", "axis", "form_shape"),
    [
        ((4, 50), 1, None, (1, 50)),
        ((4, 50, 3), 1, 2, (3, 50)),
        ((4, 3, 50), 1, 1, (3, 50)),
        ((4, 8, 9), 2, None, (1, 8, 9)),
        ((4, 8, 9, 3), 2, 3, (3, 8, 9)),
        ((4, 3, 8, 9), 2, 1, (3, 8, 9)),
        ((4, 20, 21, 12), 2, 3, (12, 20, 21)),
        ((4, 6, 7, 8), 3, None, (1, 6, 7, 8)),
        ((4, 6, 7, 8, 2), 3, 4, (2, 6, 7, 8)),
        ((4, 2, 6, 7, 8), 3, 1, (2, 6, 7, 8)),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_samples_of_every_dimension_are_channels_first(saved, shape, dim, axis, form_shape, dtype):
    x = values(*shape, dtype=dtype)
    listing = saved({"dim": dim}, x=x, y=[0, 1, 0, 1])
    header = listing.source.header(2)
    levels = "uint8" if dtype == np.uint8 else "float32"
    assert (header.channels, header.sides, header.levels) == (form_shape[0], form_shape[1:], levels)
    expected = x[2][None] if axis is None else np.moveaxis(x[2], axis - 1, 0)
    assert np.array_equal(listing.source.read(2, Form(form_shape[0], form_shape[1:], levels)), expected)
    assert listing.source.is_alike and listing.parts is None and listing.groups is None
    assert listing.name == "some" and listing.ids[2] == "x[2]"


@pytest.mark.parametrize(("shape", "given"), [((2, 5, 5, 5), "first"), ((2, 5, 5, 5), "last")])
def test_the_channel_axis_that_was_named_is_taken(saved, shape, given):
    x = values(*shape)
    sample = saved({"channel_axis": given}, x=x, y=[0, 1]).source.read(1, Form(5, (5, 5), "float32"))
    assert np.array_equal(sample, x[1] if given == "first" else np.moveaxis(x[1], -1, 0))


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (np.array([10, 9, -1]), ["10", "9", "-1"], ("-1", "9", "10")),
        (np.array([2, 0, 2], np.uint8), ["2", "0", "2"], ("0", "2")),
        (np.array([1.0, 0.0, 1.0]), ["1", "0", "1"], ("0", "1")),
        (np.array([True, False, True]), ["1", "0", "1"], ("0", "1")),
        (np.array([[10], [9], [9]]), ["10", "9", "9"], ("9", "10")),
        (np.array([[0, 1], [1, 0], [0, 1]]), ["1", "0", "1"], ("0", "1")),
        (np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), ["1", "0", "1"], ("0", "1")),
        (np.array(["dog", "cat", "dog"]), ["dog", "cat", "dog"], None),
        (np.array([b"dog", "Kätzchen".encode(), b"dog"]), ["dog", "Kätzchen", "dog"], None),
    ],
    ids=str,
)
def test_labels_of_every_kind_become_names(saved, labels, names, classes):
    listing = saved(x=values(3, 4, 4), y=labels)
    assert list(listing.labels) == names
    assert listing.classes == classes
    assert not listing.findings.problems


@pytest.mark.parametrize("key", ["classes", "class_names", "label_names"])
def test_named_classes_keep_their_order(saved, key):
    listing = saved(x=values(3, 4, 4), y=[1, 0, 1], **{key: ["zebra", "ant", "unused"]})
    assert list(listing.labels) == ["ant", "zebra", "ant"]
    assert listing.classes == ("zebra", "ant", "unused")


@pytest.mark.parametrize(
    ("samples", "labels"),
    [
        ("x_{}", "y_{}"),
        ("X_{}", "y_{}"),
        ("{}_images", "{}_labels"),
        ("images_{}", "labels_{}"),
        ("X{}", "y{}"),
        ("{}/data", "{}/targets"),
    ],
)
@pytest.mark.parametrize("validation", ["val", "valid", "validation", None])
def test_parts_are_found_by_their_usual_names(saved, samples, labels, validation):
    sizes = {"train": 5, validation: 2, "test": 3}
    sizes.pop(None, None)
    members = {}
    for part, size in sizes.items():
        members[labels.format(part)] = np.arange(size) % 2
        members[samples.format(part)] = np.full((size, 4, 4), size)
    listing = saved(**members)
    middle = ["validation"] * 2 if validation else []
    assert list(listing.parts) == ["train"] * 5 + middle + ["test"] * 3
    assert listing.ids[5:] == [f"{samples.format(part)}[{i}]" for part in list(sizes)[1:] for i in range(sizes[part])]
    assert listing.source.read(len(listing.ids) - 1, Form(1, (4, 4), "float32")).max() == 3
    assert listing.source.is_alike


def test_parts_of_other_shapes_are_not_alike(saved):
    listing = saved(x_train=values(2, 4, 4), y_train=[0, 1], x_test=values(2, 5, 5), y_test=[0, 1])
    assert not listing.source.is_alike
    assert listing.source.header(3).sides == (5, 5)


def test_ids_and_groups_belong_to_their_samples(saved):
    listing = saved(x=values(3, 4, 4), y=[0, 1, 0], ids=["a", "b", "c"], patient=[7, 7, 8])
    assert list(listing.ids) == ["a", "b", "c"]
    assert list(listing.groups) == ["7", "7", "8"]


def test_arrays_are_found_by_the_names_that_are_given(saved):
    options = {"label_column": "coarse", "group_column": "who", "path_column": "pixels"}
    members = {"pixels": values(2, 4, 4), "x": values(3, 3), "coarse": [1, 0], "y": [0, 0], "who": ["p", "q"]}
    listing = saved(options, **members)
    assert list(listing.labels) == ["1", "0"]
    assert list(listing.groups) == ["p", "q"]
    divided = saved({"label_column": "fine"}, x_train=values(2, 4, 4), fine_train=[1, 0], y_train=[0, 0])
    assert list(divided.labels) == ["1", "0"]


def test_samples_whose_label_names_no_class_are_left_out_and_told(saved):
    x = values(5, 4, 4)
    listing = saved(x=x, y=[0, 2, 1, -1, 2], classes=["a", "b"])
    assert list(listing.labels) == ["a", "b"]
    assert listing.ids == ["x[0]", "x[2]"]
    assert np.array_equal(listing.source.read(1, Form(1, (4, 4), "float32"))[0], x[2])
    assert listing.findings.problems == {
        "its label 2 is none of the 2 classes": ["x[1]", "x[4]"],
        "its label -1 is none of the 2 classes": ["x[3]"],
    }


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.array([0.0, 0.5]), "its label is no whole number and no name"),
        (np.array([0.0, np.inf]), "its label is no whole number and no name"),
        (np.array([0.0, np.nan]), "it has no label"),
        (np.array(["a", ""]), "it has no label"),
        (np.array([b"a", b"\xff"]), "its label is no text in UTF-8"),
        (np.array([[0, 1], [1, 1]]), "its row of the label matrix has not exactly one 1 and else 0"),
        (np.array([[0, 1], [0, 0]]), "its row of the label matrix has not exactly one 1 and else 0"),
        (np.array([[0, 1], [1, 2]]), "its row of the label matrix has not exactly one 1 and else 0"),
    ],
    ids=str,
)
def test_labels_that_are_none_are_told(saved, labels, reason):
    assert saved(x=values(2, 4, 4), y=labels).findings.problems == {reason: ["x[1]"]}


def test_a_listing_without_any_good_label_can_be_looked_at(saved):
    listing = saved(x=values(2, 4, 4), y=["", ""])
    assert len(listing.source) == 0 and not listing.source.is_alike


def test_lengths_that_differ_are_told_together_with_everything_else(saved):
    with pytest.raises(DataProblemsError) as raised:
        saved(
            **{"x_train": values(3, 4, 4), "y_train": [0, 1], "x_test": values(2, 4, 4), "y_test": [0, 5]},
            **{"id_train": ["a", "b"], "classes": ["p", "q"]},
        )
    assert raised.value.reasons == {
        "3 samples with 2 labels": ["x_train"],
        "3 samples with 2 ids": ["x_train"],
        "its label 5 is none of the 2 classes": ["x_test[1]"],
    }
    assert str(raised.value).startswith("data: some: 3 problems; mend the data:")


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ({"a": [1], "b": [2]}, {}, 'no samples among its arrays "a", "b"; call them x and y'),
        ({"x": values(2, 4, 4)}, {}, 'no labels among its arrays "x".*--label-column'),
        ({"x": values(2, 4, 4), "y": [0, 1], "labels": [0, 1]}, {}, '"y", "labels" could both be the labels; name one'),
        ({"x": values(2, 4, 4), "y": [0, 1]}, {"label_column": "z"}, 'no array "z" for the labels; it has "x", "y"'),
        ({"x": values(2, 4, 4), "y": [0, 1]}, {"group_column": "z"}, 'no array "z" for the groups.*--group-column'),
        ({"x_train": values(2, 4), "y_train": [0, 1], "x_test": values(2, 4)}, {}, "samples without labels for test"),
        ({"x_train": values(2, 4), "y_train": [0, 1], "y_val": [0]}, {}, "labels without samples for validation"),
        ({"x_test": values(2, 4, 4), "y_test": [0, 1]}, {}, "no training set among"),
        ({"x": values(2, 4), "y": [0, 1], "x_test": values(2, 4), "y_test": [0, 1]}, {}, "of parts and of all"),
        ({"x": values(0, 4, 4), "y": np.zeros(0)}, {}, "there are no samples in it"),
        ({"x": np.float32(3), "y": [0]}, {}, '"x" are single values'),
        ({"x": values(2, 4), "y": [0, 1]}, {}, 'array "x": its shape is .4,., and a sample of dimension 2'),
        ({"x": values(2, 4, 4, 4), "y": [0, 1]}, {}, "which axis .* counts channels cannot be told.*--channel-axis"),
        ({"x": values(2, 4, 4, dtype=complex), "y": [0, 1]}, {}, "complex128, and real numbers are needed"),
        ({"x": values(2, 4, 0), "y": [0, 1]}, {}, "with nothing in it"),
        ({"x": values(2, 4, 4), "y": np.zeros((2, 2, 2))}, {}, 'array "y": labels of shape .2, 2, 2.'),
        ({"x": values(2, 4, 4), "y": [0, 1], "classes": ["a", "a"]}, {}, 'two classes are called "a"'),
        (
            {
                "x_train": values(2, 4, 4),
                "y_train": [0, 1],
                "x_test": values(2, 4, 4),
                "y_test": [0, 1],
                "group_test": [1, 2],
            },
            {},
            "there are groups for x_test and none for x_train",
        ),
    ],
)
def test_what_does_not_fit_is_refused(saved, members, options, message):
    with pytest.raises(DataError, match=message):
        saved(options, **members)


class Trap:
    """Unpickling it would be noticed."""

    sprung = False

    def __reduce__(self):
        return (spring, ())


def spring():
    Trap.sprung = True


@pytest.mark.parametrize("which", ["x", "y", "classes"])
def test_nothing_is_unpickled(tmp_path, which):
    pickle.loads(pickle.dumps(Trap()))
    assert Trap.sprung
    Trap.sprung = False
    path = tmp_path / "trap.npz"
    members = {"x": values(2, 4, 4), "y": np.array([0, 1]), "classes": np.array(["a", "b"])}
    members[which] = np.array([Trap(), Trap()], dtype=object)
    np.savez(path, **members)
    with pytest.raises(DataError, match=f'"{which}" hold Python objects, which are never unpickled'):
        READER.read(str(path), ReadOptions())
    assert not Trap.sprung


def test_objects_that_are_not_needed_do_no_harm(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, x=values(2, 4, 4), y=[0, 1], notes=np.array([Trap()], dtype=object))
    assert len(READER.read(str(path), ReadOptions()).ids) == 2
    assert not Trap.sprung


def test_more_than_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((64, 128, 128), np.uint8), y=np.zeros(64))
    monkeypatch.setattr(npz, "memory_available", lambda: 2**20 - 1)
    monkeypatch.setattr(np, "load", None)
    with pytest.raises(DataError, match=r"would take 0\.0 GiB unpacked, and 0\.0 GiB of memory are available"):
        READER.read(str(path), ReadOptions())


def test_a_shape_that_lies_is_refused(tmp_path):
    path = tmp_path / "lie.npz"
    np.savez(path, y=[0, 1])
    header = str({"descr": "|u1", "fortran_order": False, "shape": (2, 10**9, 10**9)}).encode().ljust(118) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DataError, match="GiB of memory are available"):
        READER.read(str(path), ReadOptions())


def test_the_available_memory_is_known_without_linux(monkeypatch):
    assert arrays.memory_available() > 0
    monkeypatch.setattr(arrays.Path, "read_text", lambda self: "")
    assert arrays.memory_available() > 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_file_that_is_cut_short_is_told_in_one_line(tmp_path, share):
    path = tmp_path / "some.npz"
    np.savez(path, x=values(9, 9, 9), y=np.arange(9))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        DataError, match=r"some.npz is no .npz file, or is damaged \(.*\); save or fetch it again"
    ) as told:
        READER.read(str(path), ReadOptions())
    assert "\n" not in str(told.value)


def test_damage_inside_is_told(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, x=values(30, 9, 9), y=np.arange(30))
    content = bytearray(path.read_bytes())
    content[3000] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="is damaged"):
        READER.read(str(path), ReadOptions())


def test_a_file_that_is_missing_is_told(tmp_path):
    assert READER.recognises("some/where.NPZ") and not READER.recognises("some/where.npy")
    with pytest.raises(DataError, match="there is no file"):
        READER.read(str(tmp_path / "none.npz"), ReadOptions())
