import json
import subprocess
import sys
import textwrap
from importlib.metadata import version

import pytest
import torch
import yaml
from calling import call, finished_run, search
from safetensors.torch import load_file, save_file

import equimorph as em

# Measured: 2e-7, one rounding of sums in another order.
SAME_OUTPUTS = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def digits():
    return em.data.load("digits")


def test_a_run_leaves_the_files_that_the_documentation_names(run):
    kept = {
        number
        for line in run.history
        if line["event"] == "selection" and line["generation"] == 1
        for number in line["parents"] + line["front"]
    }
    files = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()}
    assert files == {
        "config.yaml",
        "environment.json",
        "history.jsonl",
        "timing.jsonl",
        "splits.csv",
        "report.html",
        *(f"candidates/{number:04d}.safetensors" for number in kept),
        *(
            f"best/{name}"
            for name in ("weights.safetensors", "network.py", "architecture.json", "labels.json", "preprocessing.json")
        ),
    }


def test_the_history_goes_from_start_to_result(run):
    events = [line["event"] for line in run.history]
    assert events[0] == "start" and events[-1] == "result" and events.count("selection") == 2
    start = run.history[0]
    assert (start["strategy"], start["group"], start["subgroups"]) == ("evolutionary", "D4", ["C1", "D4"])
    assert start["sites"] == ["block1.conv", "block2.conv", "head.linear"] and start["epochs"] == 2
    chains = [tuple(line["constraints"]) for line in run.history if line["event"] == "candidate"]
    assert chains[:2] == [("D4",) * 3] * 2
    assert set(chains) == {("D4",) * 3, ("D4", "D4", "C1"), ("D4", "C1", "C1"), ("C1",) * 3}


def test_timing_has_a_line_for_each_candidate_and_one_for_the_run(run):
    lines = [json.loads(line) for line in (run.path / "timing.jsonl").read_text().splitlines()]
    candidates = [line["candidate"] for line in run.history if line["event"] == "candidate"]
    assert [line.get("candidate") for line in lines] == [*candidates, None]
    assert all(line["wall_seconds"] > 0 for line in lines)


def test_the_environment_tells_versions_and_device(run):
    environment = json.loads((run.path / "environment.json").read_text())
    assert {name: environment["packages"][name] for name in ("equimorph", "torch")} == {
        "equimorph": em.__version__,
        "torch": version("torch"),
    }
    assert environment["device"].split(":")[0] in ("cpu", "cuda", "mps")


def test_the_configuration_has_every_option_but_where_to_write(run):
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert (config["data"], config["subgroups"], config["epochs"], config["seed"]) == ("digits", "C1,D4", 2.0, 0)
    assert not config.keys() & {"out", "config", "debug", "subcommand"}


def test_a_run_repeats_from_its_own_folder_to_the_byte(run, tmp_path):
    again = tmp_path / "again"
    assert call("search", "--config", run.path / "config.yaml", "--out", again).status == 0
    for name in (
        "history.jsonl",
        "config.yaml",
        "splits.csv",
        "best/weights.safetensors",
        "best/network.py",
        "best/architecture.json",
        "best/labels.json",
        "best/preprocessing.json",
    ):
        assert (again / name).read_bytes() == (run.path / name).read_bytes(), name


def test_an_option_given_beside_a_configuration_wins(run, tmp_path):
    out, changes = tmp_path / "other", ["--strategy", "static:C4", "--seed", "3"]
    assert call("search", "--config", run.path / "config.yaml", *changes, "--out", out).status == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["strategy"], config["seed"], config["fields"]) == ("static:C4", 3, "1")


def test_what_was_found_is_printed(run):
    result, last = run.history[-1], run.called.out.splitlines()
    best = next(line for line in run.history if line["event"] == "candidate" and line["candidate"] == result["best"])
    assert f"test error      {100 * result['test_error']:.2f} %" in run.called.out
    assert f"validation      {100 * best['validation_error']:.2f} %" in run.called.out
    assert f"parameters      {best['parameters']:,}" in run.called.out
    assert str(run.path / "report.html") in last[-2] and str(run.path / "best") in last[-1]


def test_each_generation_gets_a_line_while_the_search_runs(run):
    for generation in (0, 1):
        assert run.called.err.count(f"generation {generation}/1: best ") == 1


def test_the_loaded_network_has_the_test_error_on_record(run, digits):
    network = em.load(run.path)
    with torch.no_grad():
        outputs = network(digits.standardize(digits.test.x))
    wrong = (outputs.argmax(1) != digits.test.y).double().mean()
    assert float(wrong) == pytest.approx(run.history[-1]["test_error"])
    architecture = json.loads((run.path / "best" / "architecture.json").read_text())
    assert {name: H.name for name, H in em.sites(network).items()} == architecture["constraints"]
    assert not network.training


def test_labels_and_preprocessing_are_those_of_the_data(run, digits):
    preprocessing = json.loads((run.path / "best" / "preprocessing.json").read_text())
    assert json.loads((run.path / "best" / "labels.json").read_text()) == list(digits.classes)
    assert preprocessing == {
        **{"channels": 1, "image_size": 12, "sides": [12, 12]},
        **{"mean": list(digits.mean), "std": list(digits.std)},
    }


def test_the_best_network_runs_in_torch_alone_and_computes_the_same(run, digits, tmp_path):
    x = digits.test.x[:40]
    save_file({"x": x}, tmp_path / "images.safetensors")
    code = f"""
        import importlib.util, json, sys
        from pathlib import Path
        import safetensors.torch, torch

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "equimorph":
                    raise ImportError("equimorph is not installed here")

        sys.meta_path.insert(0, Absent())
        best = Path({str(run.path / "best")!r})
        specification = importlib.util.spec_from_file_location("network", best / "network.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        steps = json.loads((best / "preprocessing.json").read_text())
        x = safetensors.torch.load_file("images.safetensors")["x"].float()
        x = (x - torch.tensor(steps["mean"]).view(1, -1, 1, 1)) / torch.tensor(steps["std"]).view(1, -1, 1, 1)
        outputs = module.load()(x).detach()
        assert not any(name.split(".")[0] == "equimorph" for name in sys.modules)
        safetensors.torch.save_file({{"outputs": outputs}}, "outputs.safetensors")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, check=True)
    found = load_file(tmp_path / "outputs.safetensors")["outputs"]
    with torch.no_grad():
        torch.testing.assert_close(found, em.load(run.path)(digits.standardize(x)), **SAME_OUTPUTS)


@pytest.mark.parametrize(
    ("strategy", "constraints"),
    [("static:C4", ["C4", "C4", "C4"]), ("chain:D4,D2@45,D1@135", ["D4", "D2@45", "D1@135"])],
)
def test_a_fixed_architecture_is_trained_as_written(tmp_path, strategy, constraints):
    assert search(tmp_path / "run", strategy=strategy, epochs="1").status == 0
    architecture = json.loads((tmp_path / "run" / "best" / "architecture.json").read_text())
    assert list(architecture["constraints"].values()) == constraints
    assert [H.name for H in em.sites(em.load(tmp_path / "run")).values()] == constraints


@pytest.mark.parametrize(("fields", "meant"), [("1", [1, 2]), ("2,1", [2, 1]), (" 1 , 3 ", [1, 3])])
def test_fields_are_those_of_the_first_stage_or_of_both(tmp_path, fields, meant):
    assert search(tmp_path / "run", strategy="static:D4", epochs="0.25", fields=fields).status == 0
    assert em.load(tmp_path / "run").arguments["fields"] == meant


def test_pooling_is_placed_as_told(tmp_path):
    assert search(tmp_path / "run", strategy="static:D4", epochs="0.25", pool_after="1,2").status == 0
    assert em.load(tmp_path / "run").arguments["pool_after"] == [1, 2]


def test_logs_for_tensorboard_are_written_on_request(tmp_path):
    pytest.importorskip("tensorboard")
    assert search(tmp_path / "run", strategy="static:D4", epochs="1", tensorboard=True).status == 0
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    assert (tmp_path / "run" / "report.html").exists()
