"""The script in an export predicts without the library, from the same pixels as the library's own reader."""

import csv
import itertools
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from equimorph.data.decoding import FileSource
from equimorph.data.sources import Form
from equimorph.deploy import FORMATS, export, predict_script

SIDES = [(6, 6), (9, 5), (4, 11), (13, 13), (3, 3), (1, 20)]
RNG = np.random.default_rng(0)
LABELS = ("ants", "bees, wasps", "cows")


def preprocessing(channels, sides, fit="crop"):
    numbers = {"mean": [float(3 + c) for c in range(channels)], "std": [float(7 + c) for c in range(channels)]}
    return {"channels": channels, "image_size": min(sides), "sides": list(sides), **numbers, "fit": fit}


def expected(path, given, dtype=torch.float32):
    """What the library reads from a file, standardised."""
    sides = tuple(given["sides"])
    array = FileSource([str(path)], len(sides)).read(0, Form(given["channels"], sides, "float32", given["fit"]))
    shape = (-1, *[1] * len(sides))
    mean, std = (torch.tensor(given[key], dtype=dtype).view(shape) for key in ("mean", "std"))
    return ((torch.from_numpy(array).to(dtype) - mean) / std).numpy()


def same_pixels(path, given):
    for dtype in (torch.float32, torch.float64):
        found = predict_script.sample(str(path), given, str(dtype).removeprefix("torch."))
        wanted = expected(path, given, dtype)
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("stored", [1, 3], ids=["grey file", "RGB file"])
def test_images_become_the_pixels_that_the_reader_gives(tmp_path, stored, fit):
    for number, sides in enumerate(SIDES):
        array = RNG.integers(0, 256, sides if stored == 1 else (*sides, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.png"
        Image.fromarray(array).save(path)
        for channels, wanted in itertools.product((1, 3), [(6, 6), (8, 5)]):
            same_pixels(path, preprocessing(channels, wanted, fit))


def write_kinds(folder):
    """Images of the kinds that need more than reading, and their paths."""
    colours = Image.fromarray(RNG.integers(0, 256, (7, 9, 4), dtype=np.uint8), "RGBA")
    turned = Image.Exif()
    turned[274] = 6
    plain = colours.convert("RGB")
    kinds = {
        "alpha.png": (colours, {}),
        "alpha_grey.png": (colours.convert("LA"), {}),
        "palette.png": (plain.quantize(8), {}),
        "clear_palette.png": (plain.quantize(8), {"transparency": 2}),
        "clear_grey.png": (plain.convert("L"), {"transparency": 7}),
        "two.png": (plain.convert("1"), {}),
        "sixteen.png": (Image.fromarray(RNG.integers(0, 65536, (7, 9), dtype=np.uint16)), {}),
        "floats.tif": (Image.fromarray(RNG.normal(size=(7, 9)).astype(np.float32)), {}),
        "turned.jpg": (plain, {"exif": turned}),
        "turned.png": (plain, {"exif": turned}),
        "turned.tif": (plain, {"exif": turned}),
        "inks.jpg": (plain.convert("CMYK"), {}),
    }
    for name, (image, options) in kinds.items():
        image.save(folder / name, **options)
    return [folder / name for name in kinds]


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_images_of_every_kind_become_the_pixels_that_the_reader_gives(tmp_path):
    for path in write_kinds(tmp_path):
        for channels in (1, 3):
            same_pixels(path, preprocessing(channels, (6, 6)))


@pytest.mark.parametrize("shape", [(9,), (2, 9), (9, 2), (2, 12), (2, 7)])
def test_signals_become_what_the_reader_gives(tmp_path, shape):
    np.save(tmp_path / "x.npy", RNG.normal(size=shape))
    same_pixels(tmp_path / "x.npy", preprocessing(1 if len(shape) == 1 else 2, (9,)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64, np.bool_])
def test_volumes_become_what_the_reader_gives(tmp_path, dtype):
    array = RNG.integers(0, 2 if dtype == np.bool_ else 200, (1, 5, 7, 6)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    same_pixels(tmp_path / "x.npy", preprocessing(1, (4, 8, 6)))


def test_channels_are_told_by_their_number_where_the_reader_would_ask(tmp_path):
    array = RNG.normal(size=(5, 4))
    assert np.array_equal(predict_script.channels_first(array, 4, 1), array.T)
    assert np.array_equal(predict_script.channels_first(array, 5, 1), array)


@pytest.mark.parametrize(
    ("array", "message"),
    [(np.zeros((3, 9)), "2 channels of 1 axes"), (np.full((2, 9), np.nan), "not finite"), (np.array(["a"]), "<U1")],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        predict_script.sample(str(tmp_path / "x.npy"), preprocessing(2, (9,)), "float32")


def classifier():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


@pytest.fixture(scope="module", params=list(FORMATS))
def exported(request, tmp_path_factory):
    torch.manual_seed(0)
    network, given = classifier(), preprocessing(3, (6, 6))
    folder = tmp_path_factory.mktemp("exports") / request.param
    example = torch.zeros(1, 3, 6, 6)
    return export(network, folder, format=request.param, example=example, labels=LABELS, preprocessing=given), network


def run(folder, *arguments):
    """The script in a process of its own in which importing equimorph fails."""
    barred = folder.parent / "barred"
    (barred / "equimorph").mkdir(parents=True, exist_ok=True)
    (barred / "equimorph" / "__init__.py").write_text("raise ImportError('not here')\n")
    command = [sys.executable, "-B", str(folder / "predict.py"), *map(str, arguments)]
    environment = {"PYTHONPATH": str(barred), "PATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder.parent)


def images(folder, count=3):
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(RNG.integers(0, 256, (8, 7, 3), dtype=np.uint8)).save(path)
    return paths


def test_the_script_prints_class_and_probabilities(exported, tmp_path):
    done, network = exported
    paths = images(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    trust = ["--trust-pickle"] if done.holds_pickle else []
    called = run(done.folder, *paths, tmp_path / "broken.png", *trust, "--out", tmp_path / "out.csv")
    assert called.returncode == 1 and called.stdout == ""
    told = [line for line in called.stderr.splitlines() if line.startswith("predict:")]
    assert len(told) == 1 and "broken.png" in told[0]
    with (tmp_path / "out.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "class", *LABELS] and [row[0] for row in rows] == list(map(str, paths))
    given = json.loads((done.folder / "preprocessing.json").read_text())
    x = torch.from_numpy(np.stack([expected(path, given) for path in paths]))
    shares = network(x).softmax(1).detach().numpy()
    assert np.allclose([[float(share) for share in row[2:]] for row in rows], shares, atol=2e-6)
    assert [row[1] for row in rows] == [LABELS[place] for place in shares.argmax(1)]


def test_the_script_checks_its_folder_first(exported, tmp_path):
    done, _ = exported
    (path,) = images(tmp_path, 1)
    for name in {"network.py", "weights.safetensors", "network.onnx", "network.pt2", "manifest.json"} & {*done.files}:
        folder = tmp_path / name.replace(".", "_")
        shutil.copytree(done.folder, folder)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        called = run(folder, path)
        assert called.returncode == 1 and called.stdout == "" and len(called.stderr.splitlines()) == 1
        assert re.match(f"predict: {name} .*was changed", called.stderr)


def test_the_script_loads_no_pickle_unless_it_is_told_to(exported, tmp_path):
    done, _ = exported
    if done.holds_pickle:
        called = run(done.folder, *images(tmp_path, 1))
        assert called.returncode == 1 and "--trust-pickle" in called.stderr and called.stdout == ""


def test_a_network_without_classes_is_told(tmp_path):
    export(nn.Conv2d(1, 1, 1), tmp_path / "out", format="torch", example=torch.zeros(1, 1, 4, 4))
    called = run(tmp_path / "out", *images(tmp_path, 1))
    assert called.returncode == 1 and "no classes" in called.stderr


def test_values_are_printed_as_they_are(tmp_path):
    given = preprocessing(3, (6, 6)) | {"targets": "values"}
    network = classifier()
    example = torch.zeros(1, 3, 6, 6)
    export(network, tmp_path / "out", format="torch", example=example, labels=("x", "y", "z"), preprocessing=given)
    (path,) = images(tmp_path, 1)
    header, row = csv.reader(run(tmp_path / "out", path).stdout.splitlines())
    assert header == ["file", "x", "y", "z"]
    found = network(torch.from_numpy(expected(path, given))[None])[0]
    assert np.allclose([float(value) for value in row[1:]], found.detach().numpy(), atol=1e-5)
