import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from calling import call, finished_run
from made import write
from PIL import Image

import equimorph as em
from equimorph import data
from equimorph.cli.predict import name_move
from equimorph.cli.runs import FinishedRun

DIGITS = tuple(str(digit) for digit in range(10))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "first").path


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def images(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        Image.fromarray(digits.test.x[number, 0].numpy()).save(folder / f"{number}.png")
    return folder


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def opened(folder):
    return FinishedRun(folder, torch.nn.Identity(), [], {})


def changed(run, path, name, content):
    """A copy of a run with another JSON file beside its best network, or with none."""
    folder = shutil.copytree(run, path)
    file = folder / "best" / name
    file.unlink() if content is None else file.write_text(json.dumps(content))
    return folder


def test_the_table_holds_what_the_network_says_of_test_samples(run, images, digits):
    called = call("predict", run, images)
    assert (called.status, called.err) == (0, "6 images\n")
    rows = rows_of(called.out)
    assert list(rows[0]) == ["file", "predicted", *(f"p_{label}" for label in DIGITS)]
    with torch.no_grad():
        expected = em.load(run)(digits.standardize(digits.test.x[:6])).softmax(1)
    assert [row["file"] for row in rows] == [str(images / f"{number}.png") for number in range(6)]
    shares = [[float(row[f"p_{label}"]) for label in DIGITS] for row in rows]
    assert torch.tensor(shares) == pytest.approx(expected, abs=1e-5)
    assert [row["predicted"] for row in rows] == [DIGITS[place] for place in expected.argmax(1).tolist()]


def test_with_orbit_every_move_has_its_columns_and_the_summary_its_mean(run, images, tmp_path):
    out = tmp_path / "new" / "predictions.csv"
    called = call("predict", run, images / "*.png", "--orbit", "--out", out)
    assert (called.status, called.out) == (0, "")
    rows = rows_of(out.read_text())
    D4 = em.group("D4")
    names = [name_move(D4, element) for element in range(1, 8)]
    assert list(rows[0])[12:14] == ["agreement", "largest_difference"]
    assert list(rows[0])[14:] == [f"{name}_{what}" for name in names for what in ("predicted", "probability")]
    for row in rows:
        same = sum(row[f"{name}_predicted"] == row["predicted"] for name in names)
        assert float(row["agreement"]) == pytest.approx(same / 7, abs=1e-4)
        for name in names:
            assert 0.1 <= float(row[f"{name}_probability"]) <= 1
    mean = 100 * sum(float(row["agreement"]) for row in rows) / 6
    told = re.fullmatch(
        r"6 images in (.*); mean agreement ([\d.]+) % over 7 moves of D4; largest difference .*\n", called.err
    )
    assert told[1] == str(out) and float(told[2]) == pytest.approx(mean, abs=0.1)


@pytest.mark.parametrize("name", ["Z2", "D4", "Oh", "D4h"])
def test_every_element_has_a_column_name_of_its_own(name):
    group = em.group(name, dim={"Z2": 1, "D4": 2}.get(name, 3))
    names = [name_move(group, element) for element in range(group.order)]
    assert len(set(names)) == group.order and all(re.fullmatch(r"[\w-]+", name) for name in names)


@pytest.mark.parametrize("labels", [[], ["only", "two"]])
def test_without_a_label_for_each_output_the_outputs_are_written(run, images, tmp_path, labels):
    folder = changed(run, tmp_path / "run", "labels.json", labels)
    called = call("predict", folder, images, "--orbit")
    assert called.status == 0 and "agreement" not in called.err
    rows = rows_of(called.out)
    assert list(rows[0])[:11] == ["file", *(f"output_{number}" for number in range(10))]
    assert list(rows[0])[11:13] == ["largest_difference", "turn90_clockwise_difference"]


def test_numbers_with_names_are_not_taken_for_classes(run, images, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    start, *others = (folder / "history.jsonl").read_text().splitlines()
    start = json.dumps(json.loads(start) | {"targets": "values"})
    (folder / "history.jsonl").write_text("\n".join([start, *others]))
    [first, *_] = rows_of(call("predict", folder, images).out)
    assert list(first) == ["file", *(f"output_{label}" for label in DIGITS)]


@pytest.mark.filterwarnings("always:predict")
def test_bad_files_are_told_together_or_left_out(run, images, tmp_path):
    write(tmp_path / "wide.npy", np.zeros((3, 12, 12)))
    (tmp_path / "text.png").write_text("no image")
    called = call("predict", run, images, tmp_path, "gone.png", "--out", tmp_path / "out.csv")
    assert (called.status, called.out) == (2, "")
    assert called.err.startswith("equimorph: predict: 3 problems")
    assert all(told in called.err for told in ("wide.npy", "text.png", "gone.png", "it has 3 channels"))
    assert not (tmp_path / "out.csv").exists()
    called = call("predict", run, images, tmp_path, "--skip-bad")
    assert called.status == 0 and len(rows_of(called.out)) == 6
    assert "warning: predict: left out 2 of 8 files" in called.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{images}", "{images}"], "is not the folder of a finished run"),
        (["{run}"], "IMAGES"),
        (["{run}", "{images}/*.jpg"], "no images found: nothing matches"),
        (["{run}", "{run}/best"], "there are no images in"),
        (["{run}", "{images}", "--device", "tpu"], 'device is "tpu"'),
        (["{run}", "{images}", "--channel-axis", "middle"], '--channel-axis is "middle"; it must be one of auto'),
        (["{run}", "{images}", "--out", "{images}/0.png/x.csv"], "cannot be written"),
        (["{run}", "{images}", "--batch-size", "0"], "--batch-size is 0"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(run, images, arguments, told):
    assert told in call("predict", *(word.format(run=run, images=images) for word in arguments)).complaint


@pytest.mark.parametrize("name", ["labels.json", "preprocessing.json"])
def test_a_run_that_lacks_a_file_is_told(run, images, tmp_path, name):
    folder = changed(run, tmp_path / "run", name, None)
    assert f"{name} is missing" in call("predict", folder, images).complaint


def test_arrays_are_read_along_the_axis_of_the_run(run, tmp_path):
    assert opened(run).channel_axis() == "auto"
    (tmp_path / "config.yaml").write_text("channel_axis: last\n")
    assert opened(tmp_path).channel_axis() == "last"
    (tmp_path / "config.yaml").write_text("- [")
    assert opened(tmp_path).channel_axis() == "auto" and opened(tmp_path).start() == {}
