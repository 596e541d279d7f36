"""`equimorph export` on the folder of a finished run."""

import json

import onnxruntime
import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.cli import main
from equimorph.data import ImageData, Split
from equimorph.deploy import check_export


class Residual(nn.Module):
    """A container of the user's own."""

    def __init__(self):
        super().__init__()
        self.lift = em.layers.Conv2d(1, 1, 3, group="D4", source="trivial", padding=1)
        self.conv = em.layers.Conv2d(1, 1, 3, group="D4", padding=1)
        self.pool = em.layers.GlobalAvgPool()
        self.head = em.layers.Linear(1, 2, group="D4")

    def forward(self, x):
        y = self.lift(x)
        return self.head(self.pool(y + self.conv(y)))


def searched(network, folder):
    """A run of one epoch on noise, in a folder."""
    noise = Split(torch.randn(8, 1, 6, 6), torch.arange(8) % 2)
    data = ImageData.from_splits("noise", noise, noise, noise, classes=("ants", "bees"))
    settings = em.training.TrainingSettings(epochs=1, batch_size=4, device="cpu")
    return em.search.Static("D4").run(network, data, training=settings, out=folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "first"
    sizes = {"image_size": 6, "in_channels": 1, "num_classes": 2, "fields": 1, "depth": 2, "kernel_size": 3}
    return searched(em.models.PaperNetwork(group="D4", **sizes), folder), folder


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_export_writes_beside_the_run_and_says_what(form, run, tmp_path, capsys):
    _, folder = run
    out = folder / f"export-{form}"
    assert main(["export", str(folder), *(["--format", form] if form != "torch" else [])]) == 0
    told = capsys.readouterr().out
    assert str(out) in told and "predict.py" in told and "outputs differ by" in told and "pickle" not in told
    assert check_export(out)["format"] == form
    for name in ("labels.json", "preprocessing.json"):
        assert json.loads((out / name).read_text()) == json.loads((folder / "best" / name).read_text())


def test_the_exported_network_is_the_best_one(run, tmp_path):
    result, folder = run
    assert main(["export", str(folder), "--format", "onnx", "--out", str(tmp_path / "out")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / "network.onnx", providers=["CPUExecutionProvider"])
    x = torch.randn(3, 1, 6, 6)
    found = torch.from_numpy(session.run(None, {"image": x.numpy()})[0])
    assert torch.allclose(found, result.best.eval()(x), atol=1e-5)


def test_a_program_of_torch_is_said_to_hold_a_pickle(run, tmp_path, capsys):
    assert main(["export", str(run[1]), "--format", "torch-export", "--out", str(tmp_path / "out")]) == 0
    assert "network.pt2 holds a pickle" in capsys.readouterr().out


def test_an_existing_folder_and_a_folder_without_a_run_are_refused(run, tmp_path, capsys):
    assert main(["export", str(run[1]), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["export", str(tmp_path)]) == 2
    assert "not the folder of a finished run" in capsys.readouterr().err


def test_a_run_that_lost_its_labels_is_told(run, tmp_path, capsys):
    labels = run[1] / "best" / "labels.json"
    content = labels.read_text()
    labels.unlink()
    try:
        assert main(["export", str(run[1]), "--out", str(tmp_path / "out")]) == 2
    finally:
        labels.write_text(content)
    assert "labels.json is missing" in capsys.readouterr().err


def test_a_run_of_a_network_of_the_users_own_has_source_too(tmp_path):
    result = searched(Residual(), tmp_path / "run")
    best = tmp_path / "run" / "best"
    written = {"__file__": str(best / "network.py"), "__name__": "network"}
    exec((best / "network.py").read_text(), written)
    x = torch.randn(3, 1, 6, 6)
    assert torch.allclose(written["load"](best)(x), result.best.eval()(x), atol=1e-6)
