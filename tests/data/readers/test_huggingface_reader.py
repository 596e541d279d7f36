"""Data sets of Hugging Face's `datasets`, saved to disk or by name, are decoded by the rules of files."""

import pickle
import sys
from io import BytesIO

import datasets
import numpy as np
import pytest
from PIL import Image

from equimorph.data.decoding import FileSource
from equimorph.data.problems import SampleError
from equimorph.data.readers._base import ReadOptions
from equimorph.data.readers.huggingface import HuggingFaceReader
from equimorph.data.readers.huggingface_samples import EncodedSource
from equimorph.data.sources import Form
from equimorph.errors import DataError

READER = HuggingFaceReader()
LABEL = datasets.ClassLabel(names=["zebra", "ant"])


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()


@pytest.fixture
def saved(tmp_path):
    def save(options=None, /, features=None, **splits):
        given = {split: datasets.Dataset.from_dict(columns, features) for split, columns in splits.items()}
        whole = given["only"] if "only" in given else datasets.DatasetDict(given)
        whole.save_to_disk(tmp_path / "saved")
        return READER.read(str(tmp_path / "saved"), ReadOptions(**(options or {})))

    return save


def encoded(mode="RGB", size=(9, 8), level=7, suffix="png", **options):
    content = BytesIO()
    Image.new(mode, size, (level,) * len(mode) if mode in ("RGB", "RGBA", "CMYK") else level).save(
        content, suffix, **options
    )
    return content.getvalue()


def images(*levels):
    return [{"bytes": encoded(level=level), "path": None} for level in levels]


QUARTER_TURN = Image.Exif()
QUARTER_TURN[0x0112] = 6
PICTURES = datasets.Features({"image": datasets.Image(), "label": LABEL})


def test_a_dataset_on_disk_is_read(saved, tmp_path):
    listing = saved(features=PICTURES, only={"image": images(1, 2, 3), "label": [0, 1, 0]})
    assert READER.recognises(str(tmp_path / "saved"))
    assert listing.name == "saved" and listing.ids == ["row[0]", "row[1]", "row[2]"] and listing.parts is None
    assert list(listing.labels) == ["zebra", "ant", "zebra"] and listing.classes == ("zebra", "ant")
    header = listing.source.header(1)
    assert (header.channels, header.sides, header.is_image) == (3, (8, 9), True)
    assert np.array_equal(listing.source.read(1, Form(3, (8, 9))), np.full((3, 8, 9), 2))
    again = pickle.loads(pickle.dumps(listing.source))
    assert again.read(2, Form(1, (8, 9))).max() == 3


def test_splits_become_parts(saved, tmp_path):
    listing = saved(
        features=PICTURES,
        train={"image": images(1, 2), "label": [0, 1]},
        validation={"image": images(3), "label": [0]},
        test={"image": images(4), "label": [1]},
        unsupervised={"image": images(5, 6, 7), "label": [-1, -1, -1]},
    )
    assert READER.recognises(str(tmp_path / "saved"))
    assert list(listing.parts) == ["train", "train", "validation", "test"]
    assert listing.ids == ["train[0]", "train[1]", "validation[0]", "test[0]"]
    assert [int(listing.source.read(i, Form(1, (8, 9))).max()) for i in range(4)] == [1, 2, 3, 4]
    left_out = 'samples of the split "unsupervised", which is none of train, validation and test'
    assert listing.findings.left_out == {left_out: 3}


@pytest.mark.parametrize(
    ("mode", "suffix", "options"),
    [
        ("L", "png", {}),
        ("RGBA", "png", {}),
        ("P", "png", {}),
        ("I;16", "png", {}),
        ("CMYK", "jpeg", {}),
        (
            "RGB",
            "jpeg",
            {"exif": QUARTER_TURN},
        ),
    ],
)
def test_images_are_decoded_as_files_are(saved, tmp_path, mode, suffix, options):
    content = encoded(mode, suffix=suffix, **options)
    path = tmp_path / f"one.{suffix}"
    path.write_bytes(content)
    rows = [{"bytes": content, "path": None}, {"bytes": None, "path": str(path)}]
    source = saved(features=PICTURES, only={"image": rows, "label": [0, 1]}).source
    files = FileSource([str(path)], 2)
    form = Form(3, files.header(0).sides, files.header(0).levels)
    for index in range(2):
        assert source.header(index) == files.header(0)
        assert np.array_equal(source.read(index, form), files.read(0, form))


def test_an_image_whose_file_is_gone_is_a_problem_of_its_row():
    features = datasets.Features({"image": datasets.Image(decode=False)})
    rows = {"image": [{"bytes": None, "path": "/no/such/file.png"}]}
    source = EncodedSource(datasets.Dataset.from_dict(rows, features), "image")
    with pytest.raises(SampleError, match="there is no such file"):
        source.header(0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "there is no image in its row"),
        ({"bytes": b"none", "path": None}, "the file is no image"),
        ({"bytes": encoded(size=(90, 90))[:60], "path": None}, "cut short"),
    ],
)
def test_an_image_that_cannot_be_used_is_a_problem_of_its_row(saved, row, reason):
    source = saved(features=PICTURES, only={"image": [row, *images(1)], "label": [0, 1]}).source
    with pytest.raises(SampleError, match=reason):
        source.read(0, Form(3, (90, 90)))
    assert source.read(1, Form(3, (8, 9))).shape == (3, 8, 9)


@pytest.mark.parametrize(
    ("labels", "names", "classes", "problems"),
    [
        ([10, 9, None], ["10", "9"], ("9", "10"), {"it has no label": ["row[2]"]}),
        (["b", "a", ""], ["b", "a"], None, {"it has no label": ["row[2]"]}),
        ([True, False, True], ["1", "0", "1"], ("0", "1"), {}),
        ([1.0, 0.0, 0.5], ["1", "0"], ("0", "1"), {"its label is no whole number and no name": ["row[2]"]}),
    ],
)
def test_labels_of_every_kind_become_names(saved, labels, names, classes, problems):
    listing = saved(only={"x": np.zeros((3, 4, 4)).tolist(), "label": labels})
    assert list(listing.labels) == names and listing.classes == classes
    assert listing.findings.problems == problems


def test_hidden_labels_are_problems(saved):
    listing = saved(features=PICTURES, only={"image": images(1, 2), "label": [1, -1]})
    assert listing.findings.problems == {"it has no label": ["row[1]"]} and listing.ids == ["row[0]"]


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize(("shape", "dim"), [((50,), 1), ((3, 50), 1), ((8, 9), 2), ((3, 8, 9), 2), ((6, 7, 8), 3)])
@pytest.mark.parametrize("is_nested", [True, False])
def test_arrays_keep_their_dtype_and_shape(saved, dtype, shape, dim, is_nested):
    kinds = {2: datasets.Array2D, 3: datasets.Array3D}
    if not is_nested and len(shape) not in kinds:
        pytest.skip("datasets has no such feature")
    feature = datasets.Value(dtype)
    if is_nested:
        for _ in shape:
            feature = datasets.List(feature)
    else:
        feature = kinds[len(shape)](shape, dtype)
    features = datasets.Features({"signal": feature, "label": datasets.Value("string")})
    x = (np.random.default_rng(0).random((2, *shape)) * 255).astype(dtype)
    options = {"dim": dim, "path_column": "signal"}
    source = saved(options, features=features, only={"signal": x.tolist(), "label": ["a", "b"]}).source
    header = source.header(1)
    expected = x[1] if len(shape) > dim else x[1][None]
    assert (header.channels, *header.sides) == expected.shape
    assert header.levels == ("uint8" if dtype == "uint8" else "float32")
    read = source.read(1, Form(header.channels, header.sides, header.levels))
    assert np.array_equal(read, expected.astype(header.levels))


def test_rows_of_uneven_length_are_problems(saved):
    source = saved(only={"data": [[[1, 2], [3]], [[1, 2], [3, 4]]], "label": ["a", "b"]}).source
    with pytest.raises(SampleError, match="some of its rows are longer than others"):
        source.header(0)
    assert source.header(1).sides == (2, 2)


def test_columns_and_groups_are_found_by_the_names_that_are_given(saved):
    features = datasets.Features(
        {
            "left": datasets.Image(),
            "right": datasets.Image(),
            "fine": LABEL,
            "coarse": LABEL,
            "who": datasets.Value("int64"),
        }
    )
    rows = {"left": images(1, 2), "right": images(3, 4), "fine": [0, 1], "coarse": [1, 0], "who": [5, 6]}
    options = {"path_column": "right", "label_column": "coarse", "group_column": "who"}
    listing = saved(options, features=features, only=rows)
    assert list(listing.labels) == ["ant", "zebra"] and list(listing.groups) == ["5", "6"]
    assert listing.source.read(0, Form(1, (8, 9))).max() == 3
    for missing, message in (
        ("path_column", 'samples: its columns "left", "right", .* do not tell which; name one with --path-column'),
        ("label_column", "labels: its columns .* do not tell which; name one with --label-column"),
    ):
        with pytest.raises(DataError, match=message):
            saved({**options, missing: None}, features=features, only=rows)
        with pytest.raises(DataError, match=f'no column "none"; it has .*see --{missing[:4]}'):
            saved({**options, missing: "none"}, features=features, only=rows)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"x": [[[0.0]]], "label": [[0, 1]]}, {}, 'column "label" holds List.*one label for each is needed'),
        ({"x": [[["a"]]], "label": [0]}, {}, 'column "x": its values are .*real numbers are needed'),
        (
            {"x": [[[0.0]]], "label": [0], "group": [1], "patient": [1]},
            {},
            "could both be these; name one with --group-col",
        ),
    ],
)
def test_what_does_not_fit_is_refused(saved, columns, options, message):
    with pytest.raises(DataError, match=message):
        saved(options, only=columns)


def test_images_are_refused_where_volumes_are_needed(saved):
    with pytest.raises(DataError, match="holds images, and samples of dimension 3 are needed"):
        saved({"dim": 3}, features=PICTURES, only={"image": images(1), "label": [0]})


def test_splits_without_a_training_set_are_refused(saved):
    rows = {"image": images(1), "label": [0]}
    with pytest.raises(DataError, match='none of its splits "one", "two" is called train'):
        saved(features=PICTURES, one=rows, two=rows)


def test_splits_with_other_labels_are_refused(tmp_path):
    others = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "zebra"])})
    rows = {"image": images(1), "label": [0]}
    splits = {"train": datasets.Dataset.from_dict(rows, PICTURES), "test": datasets.Dataset.from_dict(rows, others)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path)
    with pytest.raises(DataError, match='column "label" is missing from the split "test", or is another there'):
        READER.read(str(tmp_path), ReadOptions())


def test_a_name_is_loaded_with_its_configuration(monkeypatch):
    asked = []
    loaded = datasets.DatasetDict(train=datasets.Dataset.from_dict({"image": images(1, 2), "label": [0, 1]}, PICTURES))
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: asked.append((name, config)) or loaded)
    assert READER.recognises("hf:someone/some") and not READER.recognises("someone/some")
    assert READER.read("hf:someone/some:small", ReadOptions()).name == "someone/some"
    assert READER.read("hf:mnist", ReadOptions()).ids == ["train[0]", "train[1]"]
    assert asked == [("someone/some", "small"), ("mnist", None)]


def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path, monkeypatch):
    def fail(name, config):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=r"hf:mnist cannot be loaded \(no network\); give hf:NAME"):
        READER.read("hf:mnist", ReadOptions())
    (tmp_path / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match="cannot be loaded"):
        READER.read(str(tmp_path), ReadOptions())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r'pip install "equimorph\[huggingface\]"'):
        READER.read("hf:mnist", ReadOptions())
