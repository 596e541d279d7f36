"""ISIC 2019, as it is published, in small."""

import pytest
from PIL import Image

from equimorph.data.readers._base import ReadOptions
from equimorph.data.readers.isic import IsicReader
from equimorph.data.readers.table import TableReader
from equimorph.errors import DataError

READER = IsicReader()
NAMES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
LABELS = {"ISIC_0000000": "NV", "ISIC_0000002": "MEL", "ISIC_0000030_downsampled": "NV", "ISIC_0073254": "SCC"}
TRUTH = "ISIC_2019_Training_GroundTruth.csv"


def truth(labels, *more):
    rows = [
        ",".join([image, *("1.0" if name == label else "0.0" for name in NAMES)]) for image, label in labels.items()
    ]
    return "\n".join([",".join(("image", *NAMES)), *rows, *more, ""])


def lay_out(folder, images, *more):
    images.mkdir(exist_ok=True)
    (images / "ATTRIBUTION.txt").touch()
    for image in LABELS:
        Image.new("RGB", (6, 4)).save(images / f"{image}.jpg")
    (folder / TRUTH).write_text(truth(LABELS, *more))
    return folder


@pytest.fixture
def published(tmp_path):
    return lay_out(tmp_path, tmp_path / "ISIC_2019_Training_Input")


def read(given, **options):
    return READER.read(str(given), ReadOptions(**options))


def labelled(listing):
    return dict(zip(listing.ids, listing.labels, strict=True))


@pytest.mark.parametrize("given", ["{}", "isic:{}", "{}/" + TRUTH])
def test_the_published_files_are_recognised_and_read(published, given):
    given = given.format(published)
    assert READER.recognises(given)
    listing = read(given)
    assert labelled(listing) == LABELS and not listing.findings.problems
    assert listing.source.header(2).sides == (4, 6)
    assert listing.groups is None and listing.parts is None


def test_classes_are_in_the_order_of_the_columns_and_those_without_samples_counted(published):
    listing = read(published)
    assert listing.classes == ("MEL", "NV", "SCC")
    assert listing.findings.left_out == {"classes without samples": 6}


@pytest.mark.parametrize("where", [".", "part_1"])
def test_images_may_lie_beside_the_table_or_deeper(tmp_path, where):
    assert labelled(read(lay_out(tmp_path, tmp_path / where))) == LABELS


def test_images_may_lie_elsewhere(published):
    (published / "ISIC_2019_Training_Input").rename(published / "elsewhere")
    assert labelled(read(published, images=str(published / "elsewhere"))) == LABELS


def test_rows_that_are_not_one_hot_and_images_that_are_missing_are_problems(tmp_path):
    zeros, ones, word = ("x," + ",".join([first, "0", *["0.0"] * 7]) for first in ("0", "2", "yes"))
    two = "ISIC_0000000,1.0,1.0" + ",0.0" * 7
    listing = read(lay_out(tmp_path, tmp_path, zeros, ones, word, two, "ISIC_9,1" + ",0" * 8))
    assert labelled(listing) == LABELS
    missing = f"no such file in {tmp_path} (name another folder with --images)"
    assert listing.findings.problems == {
        missing: [f"x (row {row})" for row in (6, 7, 8)] + ["ISIC_9 (row 10)"],
        "its row is not one-hot: exactly one 1 and else 0 are needed": ["ISIC_0000000 (row 9)"],
    }


def test_images_without_a_row_are_counted(published):
    Image.new("RGB", (6, 4)).save(published / "ISIC_2019_Training_Input" / "more.jpg")
    assert read(published).findings.left_out["files that no row names"] == 1


def test_images_of_one_lesion_are_a_group(published):
    metadata = published / "ISIC_2019_Training_Metadata.csv"
    rows = ["ISIC_0000000,55,BCN_1,male", "ISIC_0000002,,BCN_1,", "ISIC_0000030_downsampled,,,female"]
    metadata.write_text("\n".join(["image,age_approx,lesion_id,sex", *rows, ""]))
    groups = read(published).groups
    assert groups[:2] == ["BCN_1", "BCN_1"] and len(set(groups)) == 3
    assert read(published, group_column="sex").groups[0] == "male"
    with pytest.raises(DataError, match='no column "place"'):
        read(published, group_column="place")


def test_a_column_of_groups_without_metadata_is_refused(published):
    with pytest.raises(DataError, match="no metadata"):
        read(published, group_column="lesion_id")


def test_any_table_with_one_hot_columns_is_read(tmp_path):
    for name in "ab":
        Image.new("L", (4, 4)).save(tmp_path / f"{name}.png")
    path = tmp_path / "mine.csv"
    path.write_text("image,cat,dog\na,0,1\nb,1,0\n")
    assert READER.recognises(str(path))
    assert labelled(read(path)) == {"a": "dog", "b": "cat"} and read(path).name == "mine"


@pytest.mark.parametrize(
    "text", ["image,label,male\na,0,1\n", "image,label\na,1\n", "image,cat,dog\na,3,4\n", "file,cat,dog\na,0,1\n", ""]
)
def test_other_tables_are_left_to_the_reader_of_tables(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    assert not READER.recognises(str(path)) and TableReader().recognises(str(path))


def test_a_folder_without_the_table_is_refused(tmp_path):
    assert not READER.recognises(str(tmp_path)) and READER.recognises(f"isic:{tmp_path}")
    with pytest.raises(DataError, match=f"no {TRUTH} in .*challenge.isic-archive"):
        read(f"isic:{tmp_path}")
