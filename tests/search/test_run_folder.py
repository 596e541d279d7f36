"""The run folder: what is in it, what is read back, and what is refused."""

import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from evolving import from_group
from torch import nn

import equimorph as em
from equimorph.errors import RunFolderError
from equimorph.search import Static


@pytest.fixture
def run(data, network, settings, tmp_path):
    return from_group(generations=1, children=3, population=2).run(
        network, data, training=settings, out=tmp_path / "run"
    )


def test_the_best_network_is_read_back_to_the_bit(run, data):
    x = data.standardize(data.test.x)
    loaded = em.load(run.out)
    assert em.sites(loaded) == em.sites(run.best)
    assert torch.equal(loaded(x), run.best(x))


def test_the_plain_weights_give_the_same_output_without_the_library(run, data, tmp_path):
    x = data.standardize(data.test.x)
    safetensors.torch.save_file({"x": x}, tmp_path / "x.safetensors")
    program = f"""
import sys, importlib.abc
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "equimorph":
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(run.out / "best")!r})
import safetensors.torch, network
y = network.load()(safetensors.torch.load_file({str(tmp_path / "x.safetensors")!r})["x"])
safetensors.torch.save_file({{"y": y.detach()}}, {str(tmp_path / "y.safetensors")!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    y = safetensors.torch.load_file(tmp_path / "y.safetensors")["y"]
    assert (y - run.best(x)).abs().max() < em.testing.TOLERANCES[torch.float32] * y.abs().max()


def test_the_folder_holds_what_its_page_says(run):
    found = {str(path.relative_to(run.out)) for path in run.out.rglob("*") if path.is_file()}
    expected = {"config.yaml", "environment.json", "history.jsonl", "splits.csv", "timing.jsonl"}
    expected |= {f"best/{name}" for name in ("architecture.json", "labels.json", "network.py")}
    expected |= {"best/preprocessing.json", "best/weights.safetensors"}
    last = next(line for line in run.history if line["event"] == "selection" and line["generation"] == 1)
    expected |= {f"candidates/{number:04d}.safetensors" for number in {*last["parents"], *last["front"]}}
    assert found == expected
    history = [json.loads(line) for line in (run.out / "history.jsonl").read_text().splitlines()]
    assert history == [json.loads(json.dumps(line)) for line in run.history]


def test_labels_and_preprocessing_lie_beside_the_weights(run, data):
    assert json.loads((run.out / "best" / "labels.json").read_text()) == list(data.classes)
    preprocessing = json.loads((run.out / "best" / "preprocessing.json").read_text())
    assert preprocessing == {
        **{"channels": 1, "image_size": 12, "sides": [12, 12]},
        **{"mean": list(data.mean), "std": list(data.std)},
    }


def test_an_existing_folder_is_not_touched(data, network, settings, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunFolderError, match="exists already"):
        from_group(generations=1).run(network, data, training=settings, out=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_network_of_the_users_own_is_read_back_with_its_start(data, settings, tmp_path):
    D4 = em.group("D4")
    own = nn.Sequential(
        em.layers.Conv2d(1, 2, 3, group=D4, source="trivial", bias=False),
        em.layers.BatchNorm(2, group=D4),
        nn.ReLU(),
        em.layers.GlobalAvgPool(),
        em.layers.Linear(2, 10, group=D4),
    )
    result = from_group(generations=1, children=3).run(own, data, training=settings, out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="network of your own"):
        em.load(tmp_path / "run")
    x = data.standardize(data.test.x)
    assert torch.equal(em.load(tmp_path / "run", network=own)(x), result.best(x))


def test_a_network_without_a_plain_form_is_not_lost(data, settings, tmp_path):
    class Wasteful(nn.Sequential):
        """Has a layer that it never uses."""

        def forward(self, x):
            return self[1](self[0](x))

    D4 = em.group("D4")
    lift = em.layers.Conv2d(1, 10, 12, group=D4, source="trivial", target="trivial")
    start = Wasteful(lift, nn.Flatten(), em.layers.AvgPool(2))
    with pytest.warns(UserWarning, match='no plain weights were written.*does not reach "2"'):
        result = Static("D4").run(start, data, training=settings, out=tmp_path / "run")
    x = data.standardize(data.test.x)
    assert torch.equal(em.load(tmp_path / "run", network=start)(x), result.best(x))
    assert em.reports.read_numbers(tmp_path / "run").is_finished


def test_double_precision_is_read_back_as_such(data, network, tmp_path):
    settings = em.training.TrainingSettings(epochs=1, batch_size=32, precision="64", device="cpu")
    result = Static("C4").run(network, data, training=settings, out=tmp_path / "run")
    x = data.standardize(data.test.x, torch.float64)
    assert torch.equal(em.load(tmp_path / "run")(x), result.best(x))


@pytest.mark.parametrize(
    ("damage", "needed"),
    [
        (lambda run: (run / "best" / "architecture.json").unlink(), "not the folder of a finished run"),
        (lambda run: (run / "best" / "architecture.json").write_text("{"), "damaged"),
        (lambda run: [p.write_bytes(b"\0" * 20) for p in (run / "candidates").iterdir()], "damaged"),
        (lambda run: [p.unlink() for p in (run / "candidates").iterdir()], "no .*safetensors"),
    ],
)
def test_a_damaged_folder_is_named(damage, needed, run):
    damage(run.out)
    with pytest.raises(RunFolderError, match=needed):
        em.load(run.out)


def test_importing_the_library_loads_neither_plots_nor_command():
    program = "import equimorph, sys; print([m for m in ('plotly', 'jsonargparse', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_network_that_uses_a_layer_twice_is_searched_and_read_back(data, settings, tmp_path):
    D4 = em.group("D4")
    twice = em.layers.Conv2d(2, 2, 3, group=D4, padding=1)
    lift = em.layers.Conv2d(1, 2, 3, group=D4, source="trivial")
    head = em.layers.Linear(2, 10, group=D4)
    start = nn.Sequential(lift, twice, nn.ReLU(), twice, em.layers.GlobalAvgPool(), head)
    result = from_group(generations=1, children=3).run(start, data, training=settings, out=tmp_path / "run")
    x = data.standardize(data.test.x)
    assert torch.equal(em.load(tmp_path / "run", network=start)(x), result.best(x))
    assert (tmp_path / "run" / "best" / "network.py").exists()
