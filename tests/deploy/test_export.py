"""An export computes what the network computes, says what it is, and is not kept otherwise."""

import io
import json
import pickletools
import sys
import zipfile
from pathlib import Path

import onnx
import onnxruntime
import pytest
import safetensors
import torch
from own import dense, paper, residual
from torch import nn

import equimorph as em
from equimorph.deploy import FORMATS, check_export, export
from equimorph.deploy.torch_folder import TorchFolder
from equimorph.errors import ConfigurationError, ExportError, MorphismError

LABELS = ("ants", "bees", "cows")
BESIDE = {"labels.json", "manifest.json", "predict.py", "preprocessing.json"}
FILES = {"torch": {"network.py", "weights.safetensors"}, "torch-export": {"network.pt2"}, "onnx": {"network.onnx"}}


def card_in(folder, form):
    """The card that stands in the file itself."""
    if form == "torch":
        with safetensors.safe_open(folder / "weights.safetensors", "pt") as file:
            return json.loads(file.metadata()["equimorph"])
    if form == "onnx":
        model = onnx.load(folder / "network.onnx")
        return json.loads({entry.key: entry.value for entry in model.metadata_props}["equimorph"])
    with zipfile.ZipFile(folder / "network.pt2") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("extra/card.json")]
        return json.loads(archive.read(name))


def may_hold_pickle(content):
    """Whether bytes are an archive, which may hold pickles, or a pickle anywhere in them."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        return True
    starts = [at for at in range(len(content) - 1) if content[at] == 0x80 and content[at + 1] in range(2, 6)]
    return any(is_pickle(content[at:]) for at in starts)


def is_pickle(content):
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(content))
    except Exception:  # whatever bytes that are no pickle bring about
        return False


@pytest.fixture(scope="module", params=list(FORMATS))
def case(request, tmp_path_factory):
    """An export in each format, the network, and what its preprocessing was said to be."""
    torch.manual_seed(0)
    network, example = residual()
    preprocessing = {"channels": 1, "image_size": 9, "sides": [9, 9], "mean": [1.0], "std": [3.0], "fit": "pad"}
    folder = tmp_path_factory.mktemp("exports") / "out"
    done = export(network, folder, format=request.param, example=example, labels=LABELS, preprocessing=preprocessing)
    return done, network, example, preprocessing


def test_every_format_says_what_it_is(case):
    done, network, _, preprocessing = case
    form = done.format
    assert {path.name for path in done.folder.iterdir()} == set(done.files) == BESIDE | FILES[form]
    assert [path.name for path in done.folder.parent.iterdir()] == ["out"]
    assert done.largest_difference <= done.tolerance
    card = card_in(done.folder, form)
    assert card["labels"] == json.loads((done.folder / "labels.json").read_text()) == list(LABELS)
    assert card["preprocessing"] == json.loads((done.folder / "preprocessing.json").read_text()) == preprocessing
    assert card["provenance"]["constraints"] == dict.fromkeys(em.sites(network), "D4")
    assert card["provenance"]["group"] == "D4" and card["provenance"]["equimorph"] == em.__version__
    assert check_export(done.folder)["verified"]["largest_difference"] == done.largest_difference


def test_only_the_program_of_torch_holds_a_pickle(case):
    done, *_ = case
    assert done.holds_pickle == check_export(done.folder)["holds_pickle"] == (done.format == "torch-export")
    assert done.holds_pickle == any(may_hold_pickle((done.folder / name).read_bytes()) for name in done.files)


def test_no_path_of_this_machine_is_in_an_export(case):
    done, *_ = case
    for name in done.files:
        content = (done.folder / name).read_bytes()
        assert b"site-packages" not in content and str(Path(__file__).parent).encode() not in content


def test_the_same_network_gives_the_same_files(case, tmp_path):
    done, network, example, preprocessing = case
    if done.holds_pickle:
        return  # torch's archive makes no promise of it
    again = export(
        network, tmp_path / "out", format=done.format, example=example, labels=LABELS, preprocessing=preprocessing
    )
    one, two = ({name: (folder / name).read_bytes() for name in done.files} for folder in (done.folder, again.folder))
    assert one == two


@pytest.mark.parametrize("form", ["torch", "torch-export"])
@pytest.mark.parametrize(
    "make", [lambda: paper(1), lambda: paper(3), residual, dense], ids=["1-D", "3-D", "own", "dense"]
)
def test_torch_formats_compute_the_same_in_both_dtypes(form, make, dtype, tmp_path):
    network, example = make()
    network, example = network.to(dtype), example.to(dtype)
    done = export(network, tmp_path / "out", format=form, example=example)
    assert done.largest_difference <= done.tolerance == {torch.float32: 1e-4, torch.float64: 1e-10}[dtype]


@pytest.mark.parametrize(
    "make",
    [lambda: paper(1), lambda: paper(2), lambda: paper(3), residual, dense],
    ids=["1-D", "2-D", "3-D", "own", "dense"],
)
def test_onnx_runs_in_batches_of_any_size(make, tmp_path):
    network, example = make()
    export(network, tmp_path / "out", format="onnx", example=example)
    path = tmp_path / "out" / "network.onnx"
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [place.name for place in session.get_inputs()] == ["image"]
    assert [place.name for place in session.get_outputs()] == ["output" if make is dense else "logits"]
    for batch in (1, 2, 7):
        x = torch.randn(batch, *example.shape[1:])
        expected = network(x).detach()
        (found,) = session.run(None, {"image": x.numpy()})
        assert (torch.from_numpy(found) - expected).abs().max() <= 1e-5 * expected.abs().max()  # measured: 4e-7


def test_weights_too_large_for_one_onnx_file_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr("equimorph.deploy.onnx_file._MOST_BYTES", 100)
    network = nn.Sequential(nn.Flatten(), nn.Linear(400, 20))
    done = export(network, tmp_path / "out", format="onnx", example=torch.zeros(1, 1, 20, 20))
    assert {"network.onnx", "network.onnx.data"} < set(done.files) and done.largest_difference < 1e-6


def test_onnx_is_refused_where_onnxruntime_has_no_such_convolution(tmp_path):
    network, example = paper(1)
    with pytest.raises(ExportError, match=r"torch\.float64.*network\.float\(\)"):
        export(network.double(), tmp_path / "out", format="onnx", example=example.double())
    assert list(tmp_path.iterdir()) == []


def test_the_network_is_left_as_it_was(tmp_path):
    network, example = residual()
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export(network, tmp_path / "out", format="torch", example=example)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_plain_network_needs_nothing_of_the_library(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    done = export(network, tmp_path / "out", format="torch", example=torch.zeros(1, 1, 2, 2))
    assert card_in(done.folder, "torch")["provenance"]["constraints"] == {}


def test_what_differs_from_the_network_is_not_kept(tmp_path, monkeypatch):
    class Slightly(TorchFolder):
        def write(self, *arguments):
            runner = super().write(*arguments)
            return lambda x: runner(x) * 1.001

    monkeypatch.setitem(FORMATS, "torch", Slightly())
    network, example = paper(1)
    with pytest.raises(ExportError, match=r"differs from the network by 1\.0e-03"):
        export(network, tmp_path / "out", format="torch", example=example)
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_are_no_numbers_are_not_kept(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        network[1].bias[0] = float("nan")
    with pytest.raises(ExportError, match="by nan"):
        export(network, tmp_path / "out", format="torch", example=torch.zeros(1, 1, 2, 2))


def test_an_existing_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="exists already"):
        export(nn.Flatten(), tmp_path, format="torch", example=torch.zeros(1, 1, 2, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_network_that_cannot_be_traced_leaves_nothing(tmp_path):
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(MorphismError, match="Branching"):
        export(Branching(), tmp_path / "deep" / "out", format="torch", example=torch.ones(1, 2, 3))
    assert not (tmp_path / "deep" / "out").exists()


def test_maps_may_have_a_label_for_each_channel(tmp_path):
    example = torch.zeros(1, 1, 4, 4)
    done = export(nn.Conv2d(1, 2, 1), tmp_path / "out", format="torch", example=example, labels=("sky", "sea"))
    assert card_in(done.folder, "torch")["labels"] == ["sky", "sea"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "keras"}, 'no format "keras"; there are torch, torch-export, onnx'),
        ({"labels": ["one"]}, r"1 labels, and the network's output has shape \(1, 2\)"),
        ({"labels": "ab"}, "give a list"),
        ({"preprocessing": {"mean": [0.0]}}, "no std"),
        ({"preprocessing": {"mean": [0.0], "std": [0.0]}}, "above zero"),
        ({"preprocessing": {"mean": [0.0, 0.0], "std": [1.0, 1.0]}}, "1 numbers"),
        (
            {"preprocessing": {"mean": [0.0], "std": [1.0], "sides": [9, 9]}},
            r"sides \[9, 9\], and the example \[2, 2\]",
        ),
        ({"example": torch.zeros(1, 1, 2, 2, dtype=torch.float16)}, r"\.float\(\)"),
    ],
    ids=["format", "labels", "text", "no std", "zero std", "two means", "sides", "half"],
)
def test_what_does_not_fit_is_told(options, message, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    given = {"format": "torch", "example": torch.zeros(1, 1, 2, 2)} | options
    with pytest.raises(ConfigurationError, match=message):
        export(network, tmp_path / "out", **given)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ConfigurationError, match=r'onnxscript: pip install "equimorph\[onnx\]"'):
        export(network, tmp_path / "out", example=torch.zeros(1, 1, 2, 2))


def test_a_network_that_onnx_cannot_express_is_refused(tmp_path):
    class Special(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x).flatten(1)

    with pytest.raises(ExportError, match=r"bessel"):
        export(Special(), tmp_path / "out", format="onnx", example=torch.zeros(1, 1, 2))


def test_nothing_is_printed(tmp_path, capfd):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for form in FORMATS:
        export(network, tmp_path / form, format=form, example=torch.zeros(1, 1, 2, 2))
    assert capfd.readouterr() == ("", "")
