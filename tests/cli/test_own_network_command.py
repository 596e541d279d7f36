"""The command on networks other than the paper's: the residual one, and the user's own."""

import csv
import json

import numpy as np
import pytest
import torch
from calling import call
from made import write

import equimorph as em
from equimorph.errors import RunFolderError

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_channels, outputs, width):
        super().__init__()
        self.lift = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, outputs)

    def forward(self, x):
        y = torch.relu(self.norm(self.lift(x)))
        return self.head((y + torch.relu(self.inner(y))).mean((2, 3)))


def build(in_channels, num_classes):
    return Net(in_channels, num_classes, 16)


def fixed(**sizes):
    return Net(1, 10, 8)


def strided():
    return nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.Flatten(), nn.Linear(8 * 36, 10))


def nothing():
    return None


def fails():
    raise KeyError("weights")


number = 3
"""
TINY = ("--data", "digits", "--train-samples", "100", "--epochs", "1", "--subgroups", "C1,C4,D4")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mynet.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def run(own, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "own"
    found = call("search", *TINY, "--network", f"{own}:build", "--strategy", "static:C4", "--out", folder)
    assert found.status == 0, found.err
    return folder


def test_a_search_on_the_users_own_network_writes_what_is_needed_to_go_on(run):
    architecture = json.loads((run / "best" / "architecture.json").read_text())
    assert architecture["model"] is None
    assert architecture["conversion"] == {"group": "D4", "width": "cost", "output": "trivial", "free": []}
    assert architecture["constraints"] == {"lift": "C4", "inner": "C4", "head": "C4"}
    assert "equimorph" not in (run / "best" / "network.py").read_text()


def test_its_network_is_loaded_from_the_ordinary_one(run, own):
    from equimorph.cli.networks import own_network

    x = torch.randn(3, 1, 12, 12)
    model = own_network(f"{own}:build", in_channels=1, num_classes=10)
    found = em.load(run, network=model, example=x)
    converted = em.equivariantize(model, "D4", x)
    assert torch.equal(found(x), em.load(run, network=converted)(x))
    assert em.sites(found)["head"].name == "C4"
    with pytest.raises(RunFolderError, match="example="):
        em.load(run, network=model)


@pytest.mark.parametrize("command", [("export",), ("audit",), ("predict", "0.png")])
def test_later_commands_ask_for_it(run, command):
    name, *files = command
    assert "--network" in call(name, run, *files).complaint


def test_later_commands_take_it(run, own, tmp_path):
    network = ("--network", f"{own}:build")
    done = call("export", run, *network, "--out", tmp_path / "out")
    assert done.status == 0 and (tmp_path / "out" / "network.py").exists(), done.err
    done = call("audit", run, *network, "--out", tmp_path / "audit.html")
    assert done.status == 0 and "C4" in done.out, done.err
    write(tmp_path / "0.png", np.full((12, 12), 90, dtype=np.uint8))
    done = call("predict", run, tmp_path / "0.png", *network, "--out", tmp_path / "p.csv")
    assert done.status == 0, done.err
    with (tmp_path / "p.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1


def test_compare_runs_on_it_narrow_too(own, tmp_path):
    strategies = "narrow,differentiable"
    options = ("--network", f"{own}:fixed", "--strategies", strategies, "--seeds", "1", "--out", tmp_path / "out")
    found = call("compare", *TINY, "--batch-size", "20", *options)
    assert found.status == 0, found.err
    with (tmp_path / "out" / "comparison.csv").open() as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"narrow", "differentiable"}
    assert rows["narrow"]["network"] == f"{own}:fixed, width cost"


def test_the_residual_network_is_one_of_ours(tmp_path):
    options = ("--network", "resnet", "--fields", "1,2", "--blocks", "1", "--kernel-size", "3")
    found = call("search", *TINY, *options, "--strategy", "static:D4", "--out", tmp_path / "run")
    assert found.status == 0, found.err
    network = em.load(tmp_path / "run")
    assert type(network).__name__ == "ResNet" and network.arguments["fields"] == [1, 2]
    assert (tmp_path / "run" / "best" / "network.py").exists()


@pytest.mark.filterwarnings("always::equimorph.errors.EquivarianceWarning")
def test_what_is_not_exact_is_told_before_the_search(own, tmp_path):
    found = call("search", *TINY, "--network", f"{own}:strided", "--strategy", "static:D4", "--out", tmp_path / "run")
    assert found.status == 0
    assert "warning: equivariantize: the network is not exact" in found.err and '"0": stride 2' in found.err
    assert "take images of 11 pixels" in found.err  # 13 would fit the windows, and not the linear layer


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("mynet.py", "FILE.py:FUNCTION"),
        ("absent.py:build", "no file absent.py"),
        ("absent_module:build", "cannot be imported"),
        ("{own}:absent", "it has build, fails, fixed, nothing, strided"),
        ("{own}:number", "no function number"),
        ("{own}:nothing", "returns NoneType"),
        ("{own}:fails", "KeyError: 'weights'"),
    ],
)
def test_a_network_that_is_none_is_told_in_one_line(own, tmp_path, network, told):
    found = call("search", *TINY, "--network", network.format(own=own), "--out", tmp_path / "run")
    assert found.status == 2 and told in found.complaint
    assert not (tmp_path / "run").exists()


def test_a_width_that_is_none_is_told(own, tmp_path):
    options = ("--network", f"{own}:build", "--width", "wide", "--out", tmp_path / "run")
    assert "cost, parameters, fields, or a number" in call("search", *TINY, *options).complaint


def test_a_width_as_a_number_is_taken_up_again(own, tmp_path):
    options = ("--network", f"{own}:build", "--width", "0.25", "--strategy", "static:D4", "--out", tmp_path / "run")
    assert call("search", *TINY, *options).status == 0
    done = call("export", tmp_path / "run", "--network", f"{own}:build")
    assert done.status == 0, done.err
