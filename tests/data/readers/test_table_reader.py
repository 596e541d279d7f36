"""Tables of paths and labels."""

import os
import sys
import time

import numpy as np
import pytest
from PIL import Image

from equimorph.data.readers._base import ReadOptions
from equimorph.data.readers.table import TableReader
from equimorph.data.sources import Form
from equimorph.errors import DataError

READER = TableReader()


def write(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 7).save(path)


def table(folder, text, name="table.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, **options):
    return READER.read(str(path), ReadOptions(**options))


def labelled(listing):
    return dict(zip(listing.ids, listing.labels, strict=True))


def reasons(listing):
    return listing.findings.problems


@pytest.fixture
def images(tmp_path):
    write(tmp_path, ["a.png", "b.png", "deep/c.png"])
    return tmp_path


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "bom"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_any_delimiter_is_found_with_or_without_a_byte_order_mark(images, mark, start, end):
    lines = ["File", "Label"], ["a.png", '"cat, black; old"'], ["deep/c.png", "dog"]
    text = start + "".join(mark.join(fields) + end for fields in lines)
    assert labelled(read(table(images, text))) == {"a.png": "cat, black; old", "deep/c.png": "dog"}


def test_samples_are_the_files_that_rows_name(images):
    listing = read(table(images, "path,label\nb.png,x\n"))
    assert listing.source.read(0, Form(1, (4, 4))).tolist() == [[[7] * 4] * 4]
    assert listing.name == "table" and listing.parts is None and listing.groups is None


@pytest.mark.parametrize("names", ["IMAGE_PATH,note,Class", "id,note,Target", "filename,note,dx", "image_id,note,y"])
def test_columns_are_found_by_usual_names_in_any_case(images, names):
    assert labelled(read(table(images, f"{names}\na.png,n,x\n"))) == {"a.png": "x"}


def test_a_likelier_name_goes_before_a_less_likely_one(images):
    assert labelled(read(table(images, "id,path,label\n1,a.png,x\n"))) == {"a.png": "x"}


def test_options_name_the_columns(images):
    path = table(images, "id,where,what,who,when\n1,a.png,x,p,val\n2,b.png,y,q,train\n")
    named = {"path_column": "where", "label_column": "What", "group_column": "who", "split_column": "when"}
    listing = read(path, **named)
    assert labelled(listing) == {"a.png": "x", "b.png": "y"}
    assert listing.groups == ["p", "q"] and listing.parts == ["validation", "train"]


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ("path,a,b\na.png,1,2\n", {}, ['"path", "a", "b"', "labels", "--label-column"]),
        ("u,a,label\na.png,1,2\n", {}, ['"u", "a", "label"', "paths", "--path-column"]),
        ("path,class,label\na.png,1,2\n", {}, ['"class", "label" could each', "--label-column"]),
        ("path,file,label\na.png,1,2\n", {}, ['"path", "file" could each', "--path-column"]),
        ("path,label,patient,lesion\na.png,1,2,3\n", {}, ['"patient", "lesion" could each', "--group-column"]),
        ("path,label\na.png,1\n", {"label_column": "sort"}, ['no column "sort"', '"path", "label"', "--label-column"]),
        ("path,label,Label\na.png,1,1\n", {}, ["same name"]),
        ("u,v\nnone.png,x\n", {}, ["paths", "--path-column"]),
        ("a.png,cat\nb.png,dog\n", {}, ["begins with a file", "path,label"]),
        ("", {}, ["is empty"]),
        ("path,label\n", {}, ["no rows"]),
        (b"path,label\na.png,caf\xe9\n", {}, ["UTF-8"]),
        ('path,label\na.png,"x\nb.png,y\n', {}, ["after row 1"]),
        ("path,label\na.png,x\n", {"images": "/there/is/none"}, ["no folder", "--images"]),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_in_one_line(images, text, options, parts):
    with pytest.raises(DataError) as refused:
        read(table(images, text), **options)
    message = str(refused.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("names", ["u,v", "u,label", "path,v"])
def test_of_two_columns_the_first_holds_paths_when_the_files_are_there(images, names):
    assert labelled(read(table(images, f"{names}\na.png,x\nb.png,y\n"))) == {"a.png": "x", "b.png": "y"}


def test_all_that_is_wrong_is_found_together(images):
    lines = ["path,label,split", "a.png,x,train", "no.png,x,train", "b.png,,train", "deep/c.png,x,sometimes", ",x,test"]
    listing = read(table(images, "\n".join([*lines, "a.png", "no2.png,y,test", "", ""])))
    assert listing.ids == ["a.png"]
    expected = {
        "a row without exactly 3 fields": ["row 7"],
        f"no such file in {images} (name another folder with --images)": ["no.png (row 3)", "no2.png (row 8)"],
        "it has no label": ["b.png (row 4)"],
        'its part is "sometimes", and train, validation or test is needed': ["deep/c.png (row 5)"],
        "it names no file": ["row 6"],
    }
    assert reasons(listing) == expected


def test_rows_of_one_file_are_one_sample_if_they_agree(images):
    listing = read(table(images, "path,label\na.png,x\nb.png,y\n./a.png,x\ndeep/../a.png,x\n"))
    assert labelled(listing) == {"a.png": "x", "b.png": "y"}
    assert listing.findings.handled == {"rows given twice, one kept": 2} and not reasons(listing)


@pytest.mark.parametrize(("what", "other"), [("label", "y,train,p"), ("part", "x,test,p"), ("group", "x,train,q")])
def test_rows_of_one_file_that_disagree_are_a_problem_and_the_file_no_sample(images, what, other):
    listing = read(table(images, f"path,label,split,patient\na.png,x,train,p\na.png,{other}\nb.png,x,test,p\n"))
    assert listing.ids == ["b.png"]
    assert reasons(listing) == {f"a file given several times, with different {what}s": ["a.png (row 3)"]}


def test_a_path_without_a_suffix_is_found_with_any_suffix(images):
    write(images, ["v1.2.png", "twice.png", "twice.bmp"])
    listing = read(table(images, "image,label\na,x\ndeep/c,y\nv1.2,x\ntwice,y\n"))
    assert labelled(listing) == {"a": "x", "deep/c": "y", "v1.2": "x"}
    assert list(reasons(listing).values()) == [["twice (row 5)"]]


def test_paths_of_windows_and_absolute_ones_are_found(images):
    listing = read(table(images, f"path,label\ndeep\\c.png,x\n{images}/a.png,y\n"))
    assert list(listing.labels) == ["x", "y"] and not reasons(listing)


def test_images_may_lie_elsewhere_and_the_files_without_a_row_are_counted(images, tmp_path_factory):
    path = table(tmp_path_factory.mktemp("other"), "image,label\na,x\nc,y\n")
    listing = read(path, images=str(images))
    assert labelled(listing) == {"a": "x", "c": "y"}
    assert listing.findings.left_out == {"files that no row names": 1}


def test_files_without_a_row_are_not_counted_in_the_folder_of_the_table(images):
    assert not read(table(images, "path,label\na.png,x\n")).findings.left_out


def test_a_folder_that_is_named_is_no_file(images):
    assert reasons(read(table(images, "path,label\ndeep,x\na.png,y\n")))


def test_a_sample_without_a_group_is_a_group_of_its_own(images):
    listing = read(table(images, "path,label,patient_id\na.png,x,p\nb.png,x,\ndeep/c.png,x,\n"))
    assert listing.groups[0] == "p" and len(set(listing.groups)) == 3


def test_a_column_called_set_without_any_part_is_none_unless_it_is_named(images):
    path = table(images, "path,label,set\na.png,x,red\nb.png,x,blue\n")
    assert read(path).parts is None
    assert list(reasons(read(path, split_column="set")).values()) == [["a.png (row 2)"], ["b.png (row 3)"]]


def test_whole_numbers_are_classes_by_size(images):
    assert read(table(images, "path,label\na.png,10\nb.png,9\n")).classes == ("9", "10")
    assert read(table(images, "path,label\na.png,10\nb.png,x\n")).classes is None


def test_arrays_are_read_as_well(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((3, 3, 3), np.uint8))
    listing = read(table(tmp_path, "path,label\nv,x\n"), dim=3)
    assert listing.source.read(0, Form(1, (3, 3, 3))).sum() == 27


def test_parquet_is_read_like_text(images):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"file": ["a.png", "b.png", "deep/c.png"], "target": [2.0, 10.0, None], "split": ["train", "test", "val"]}
    path = images / "t.parquet"
    parquet.write_table(pyarrow.table(columns | {"group": pyarrow.array([b"p", b"q", b"q"])}), path)
    listing = read(path)
    assert labelled(listing) == {"a.png": "2", "b.png": "10"} and listing.classes == ("2", "10")
    assert listing.parts == ["train", "test"] and listing.groups == ["p", "q"]
    assert reasons(listing) == {"it has no label": ["deep/c.png (row 4)"]}
    parquet.write_table(pyarrow.table({"image": [{"bytes": b"x"}], "label": [1]}), path)
    with pytest.raises(DataError, match='column "image" holds struct'):
        read(path)


def test_a_damaged_parquet_file_is_refused(images):
    pytest.importorskip("pyarrow.parquet")
    with pytest.raises(DataError, match="no Parquet file"):
        read(table(images, "path,label\n", name="t.parquet"))


def test_parquet_without_pyarrow_tells_what_to_install(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"pip install \"equimorph\[parquet\]\""):
        read(table(images, "", name="t.parquet"))


def test_it_recognises_files_with_the_suffix_of_a_table(images):
    assert READER.recognises(str(table(images, "", name="T.CSV")))
    assert not READER.recognises(str(images)) and not READER.recognises(str(images / "none.csv"))


def test_no_file_is_asked_for_and_each_folder_is_listed_once(tmp_path, monkeypatch):
    number = 3000
    for part in range(3):
        (tmp_path / f"d{part}").mkdir()
        for each in range(number // 3):
            (tmp_path / f"d{part}" / f"{each}.png").touch()
    rows = "".join(f"d{part}/{each},x\n" for part in range(3) for each in range(number // 3))
    path = table(tmp_path, "path,label\n" + rows)
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    began = time.process_time()
    assert len(read(path).ids) == number
    assert time.process_time() - began < 1  # 0.02 when it was written
    assert len(listed) == 3
