"""`equimorph compare`: what it writes, how it goes on, and what it refuses."""

import csv
import itertools
import json
import shutil

import pytest
import torch
import yaml
from calling import call

import equimorph as em
from equimorph.reports.comparison import read_rows
from equimorph.search import Strategy

TINY = {
    "data": "digits",
    "train-samples": "100",
    "fields": "1",
    "depth": "2",
    "kernel-size": "3",
    "head-units": "4",
    "epochs": "1",
    "batch-size": "50",
    "generations": "1",
    "initial-epochs": "0.5",
    "strategies": "static:G,augmented",
    "seeds": "2",
}
PAIRS = [("static:D4", 0), ("augmented", 0), ("static:D4", 1), ("augmented", 1)]


def compare(folder, *more, **changes):
    """`equimorph compare --out FOLDER` with tiny settings, some of them changed, left out by None, set by True."""
    options = TINY | {name.replace("_", "-"): value for name, value in changes.items()}
    words = [
        [f"--{name}"] if value is True else [f"--{name}", value] for name, value in options.items() if value is not None
    ]
    return call("compare", *itertools.chain(*words), *more, "--out", folder)


def rows_of(folder):
    return read_rows(folder / "comparison.csv")


def numbers_of(folder):
    """Every row as it is in the file, without the seconds."""
    with (folder / "comparison.csv").open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def snapshot(folder):
    """All that is in a folder, and when it was written."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished comparison and what the command said; not to be changed."""
    folder = tmp_path_factory.mktemp("comparisons") / "finished"
    called = compare(folder)
    assert called.status == 0, called.err
    return folder, called


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it that may be changed."""
    shutil.copytree(finished[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def runs_made(monkeypatch):
    """Which strategies are run, with the seed, from here on."""
    made, run = [], Strategy.run

    def noted(self, network, data, **options):
        made.append((self.name, options["training"].seed))
        return run(self, network, data, **options)

    monkeypatch.setattr(Strategy, "run", noted)
    return made


def test_a_comparison_leaves_the_files_that_the_documentation_names(finished):
    folder, called = finished
    assert {path.name for path in folder.iterdir()} == {
        "comparison.csv",
        "config.yaml",
        "report.html",
        "table.md",
        "runs",
    }
    names = {path.name for path in (folder / "runs").iterdir()}
    assert names == {"static-D4-seed0", "static-D4-seed1", "augmented-seed0", "augmented-seed1"}
    assert all((folder / "runs" / name / "report.html").exists() for name in names)
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert called.out.startswith((folder / "table.md").read_text().rstrip())
    assert called.out.rstrip().endswith(str(folder / "report.html"))


def test_the_rows_say_what_the_runs_found(finished):
    folder, _ = finished
    rows = rows_of(folder)
    assert [(row.strategy, row.seed) for row in rows] == PAIRS
    for row in rows:
        run = folder / "runs" / f"{row.strategy.replace(':', '-')}-seed{row.seed}"
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        candidate = next(line for line in history if line["event"] == "candidate")
        assert (row.test_error, row.samples) == (
            history[-1]["test_error"],
            history[-1]["samples"],
        ) and row.samples == 100
        assert (row.validation_error, row.parameters) == (candidate["validation_error"], candidate["parameters"])
        assert (row.data, row.group, row.epochs, row.split, row.test_samples) == ("digits", "D4", 1.0, 0, 500)
        assert row.architecture == {"static:D4": "D4 ×3", "augmented": "C1 ×3"}[row.strategy]
        assert row.network == "2 convolutions of 1,2 fields, kernels of 3" and row.seconds > 0
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert (config["strategy"], config["seed"], config["epochs"]) == (row.strategy, row.seed, 1.0)


def test_seeds_and_strategies_give_different_numbers(finished):
    rows = {(row.strategy, row.seed): row for row in rows_of(finished[0])}
    runs = finished[0] / "runs"
    assert len({(runs / f"augmented-seed{seed}" / "history.jsonl").read_bytes() for seed in (0, 1)}) == 2
    assert rows["augmented", 0].parameters > rows["static:D4", 0].parameters


def test_the_configuration_has_what_a_comparison_cannot_change(finished):
    config = yaml.safe_load((finished[0] / "config.yaml").read_text())
    assert (config["data"], config["group"], config["epochs"], config["resplit"]) == ("digits", "D4", 1.0, False)
    assert not config.keys() & {"out", "config", "debug", "subcommand", "strategies", "seeds", "device"}


def test_called_again_it_does_nothing_new(copied, runs_made):
    before = snapshot(copied)
    called = compare(copied)
    after = snapshot(copied)
    assert called.status == 0 and runs_made == []
    assert {name for name in before if before[name] != after[name]} <= {"report.html", "table.md"}
    assert before.keys() == after.keys()
    assert called.out.replace(str(copied), "") == compare(copied).out.replace(str(copied), "")


def test_fewer_seeds_and_strategies_take_nothing_away(copied, runs_made):
    before = (copied / "comparison.csv").read_bytes()
    assert compare(copied, seeds="1", strategies="augmented").status == 0
    assert (copied / "comparison.csv").read_bytes() == before and runs_made == []


def halve(folder):
    """A run as it is when the power fails in the middle of it."""
    shutil.rmtree(folder / "best")
    (folder / "report.html").unlink()
    history = (folder / "history.jsonl").read_text()
    (folder / "history.jsonl").write_text(history[: len(history) // 2])
    (folder / "candidates" / "0000.partial").write_text("half")


def test_interrupted_in_a_run_it_goes_on_and_gives_the_same_numbers(finished, copied, runs_made):
    lines = (copied / "comparison.csv").read_text().splitlines(keepends=True)
    (copied / "comparison.csv").write_text("".join(lines[:-1]))
    halve(copied / "runs" / "augmented-seed1")
    others = ["static-D4-seed0", "static-D4-seed1", "augmented-seed0"]
    before = {name: snapshot(copied / "runs" / name) for name in others}
    assert compare(copied).status == 0
    assert runs_made == [("augmented", 1)]
    assert numbers_of(copied) == numbers_of(finished[0])
    assert {name: snapshot(copied / "runs" / name) for name in others} == before
    redone, expected = (folder / "runs" / "augmented-seed1" for folder in (copied, finished[0]))
    assert (redone / "history.jsonl").read_bytes() == (expected / "history.jsonl").read_bytes()
    assert {path.name for path in redone.rglob("*")} == {path.name for path in expected.rglob("*")}


def test_interrupted_by_a_person_it_stops_with_one_line_and_goes_on(finished, tmp_path, monkeypatch):
    folder, calls, run = tmp_path / "stopped", [], Strategy._begin

    def third_time(self, *arguments):
        calls.append(self.name)
        session = run(self, *arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return session

    with monkeypatch.context() as patch:
        patch.setattr(Strategy, "_begin", third_time)
        called = compare(folder)
    assert called.status == 130 and called.err.splitlines()[-1] == "equimorph: stopped."
    assert [(row.strategy, row.seed) for row in rows_of(folder)] == PAIRS[:2]
    assert (folder / "report.html").exists() and (folder / "runs" / "static-D4-seed1").exists()
    assert compare(folder).status == 0
    assert numbers_of(folder) == numbers_of(finished[0])


def test_interrupted_before_the_first_run_it_begins_anew(finished, copied):
    for path in copied.iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert compare(copied).status == 0
    assert numbers_of(copied) == numbers_of(finished[0])


def test_seeds_and_strategies_can_be_added_later(finished, copied, runs_made):
    before = (copied / "comparison.csv").read_text()
    runs = snapshot(copied / "runs")
    called = compare(copied, seeds="3", strategies="augmented,chain:D4,C4,C1,static:G")
    assert called.status == 0
    chain = "chain:D4,C4,C1"
    assert runs_made == [(chain, 0), (chain, 1), ("augmented", 2), (chain, 2), ("static:D4", 2)]
    assert (copied / "comparison.csv").read_text().startswith(before)
    after = snapshot(copied / "runs")
    assert all(after[name] == runs[name] for name in runs)
    rows = rows_of(copied)
    assert {(row.strategy, row.seed) for row in rows} == set(
        itertools.product(["static:D4", "augmented", chain], range(3))
    )
    assert {row.architecture for row in rows if row.strategy == chain} == {"D4, C4, C1"}


def test_a_strategy_gives_the_same_numbers_alone(finished, tmp_path):
    assert compare(tmp_path / "alone", strategies="augmented", seeds="1").status == 0
    assert numbers_of(tmp_path / "alone") == [row for row in numbers_of(finished[0]) if row["seed"] == "0"][1:]


def test_a_configuration_of_a_comparison_works_again_beside_other_strategies(finished, tmp_path, copied):
    config = finished[0] / "config.yaml"
    out = tmp_path / "again"
    called = call("compare", "--config", config, "--strategies", "augmented", "--seeds", 1, "--out", out)
    assert called.status == 0
    assert numbers_of(out) == [row for row in numbers_of(finished[0]) if row["strategy"] == "augmented"][:1]
    assert (out / "config.yaml").read_bytes() == config.read_bytes()
    # and to go on with the comparison that it is of
    more = ["--strategies", "static:G,augmented", "--seeds", 2]
    assert call("compare", "--config", copied / "config.yaml", *more, "--out", copied).status == 0
    assert numbers_of(copied) == numbers_of(finished[0])


def test_a_run_of_a_comparison_repeats_by_search_from_its_own_folder(finished, tmp_path):
    run = finished[0] / "runs" / "augmented-seed1"
    assert call("search", "--config", run / "config.yaml", "--out", tmp_path / "run").status == 0
    assert (tmp_path / "run" / "history.jsonl").read_bytes() == (run / "history.jsonl").read_bytes()


def test_the_network_of_a_run_has_the_error_in_its_row(finished):
    digits = em.data.load("digits").subset(100)
    for row in rows_of(finished[0]):
        network = em.load(finished[0] / "runs" / f"{row.strategy.replace(':', '-')}-seed{row.seed}")
        with torch.no_grad():
            guesses = network(digits.standardize(digits.test.x)).argmax(1)
        assert (guesses != digits.test.y).double().mean().item() == row.test_error


def data_seen(monkeypatch):
    seen, run = {}, Strategy.run

    def noted(self, network, data, **options):
        seen[self.name, options["training"].seed] = data
        return run(self, network, data, **options)

    monkeypatch.setattr(Strategy, "run", noted)
    return seen


def test_resplit_gives_each_seed_a_split_of_its_own_and_all_strategies_the_same(tmp_path, monkeypatch):
    seen = data_seen(monkeypatch)
    assert compare(tmp_path / "resplit", resplit=True).status == 0
    assert {(row.seed, row.split) for row in rows_of(tmp_path / "resplit")} == {(0, 0), (1, 1)}
    digits = em.data.load("digits").subset(100)
    for seed in (0, 1):
        expected = digits.resplit(seed)
        for strategy in ("static:D4", "augmented"):
            for part in ("train", "validation", "test"):
                one, other = (getattr(data, part) for data in (seen[strategy, seed], expected))
                assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y)
    assert not torch.equal(seen["augmented", 0].test.x, seen["augmented", 1].test.x)


def test_without_resplit_all_seeds_have_the_same_split(tmp_path, monkeypatch):
    seen = data_seen(monkeypatch)
    assert compare(tmp_path / "one", strategies="static:G").status == 0
    assert seen["static:D4", 0] is seen["static:D4", 1]


def test_static_g_is_the_whole_group_whichever_it_is(tmp_path):
    assert compare(tmp_path / "run", group="C4", strategies="static:G, static:C2", seeds="1").status == 0
    rows = rows_of(tmp_path / "run")
    assert [(row.strategy, row.architecture, row.group) for row in rows] == [
        ("static:C4", "C4 ×3", "C4"),
        ("static:C2", "C2 ×3", "C4"),
    ]


def test_searches_and_mixtures_are_compared_under_the_name_that_was_typed(tmp_path):
    names = "evolutionary:children=2+start=group+selection=pareto,differentiable:result=mixture+tied=true,rpp"
    assert compare(tmp_path / "run", strategies=names, seeds="1").status == 0
    rows = {row.strategy: row for row in rows_of(tmp_path / "run")}
    assert list(rows) == names.split(",")
    assert (
        rows["evolutionary:children=2+start=group+selection=pareto"].samples == 50 + 2 * 50
    )  # the first network, then two for half an epoch
    assert rows["differentiable:result=mixture+tied=true"].samples == 2 * (50 + 20)  # 80 to train on, 20 held out
    assert rows["differentiable:result=mixture+tied=true"].architecture.startswith("mixture, mostly ")
    assert rows["rpp"].architecture.startswith("mixture, mostly ")


def test_a_run_of_a_comparison_can_be_retrained_in_it(copied):
    prior = copied / "runs" / "augmented-seed0"
    assert compare(copied, strategies=f"augmented,retrain:{prior}", seeds="1").status == 0
    row = rows_of(copied)[-1]
    assert (row.strategy, row.architecture) == (f"retrain:{prior}", "C1 ×3")
    before = numbers_of(copied)
    assert compare(copied, strategies=f"retrain:{prior}", seeds="1").status == 0 and numbers_of(copied) == before


def test_a_strategy_that_diverges_is_on_record_and_the_comparison_goes_on(tmp_path, runs_made):
    folder = tmp_path / "run"
    bad = "differentiable:temperature=1e-300"  # zero in single precision
    called = compare(folder, strategies=f"{bad},static:G", seeds="1")
    assert called.status == 0 and "Traceback" not in called.err
    diverged, trained = rows_of(folder)
    assert (diverged.strategy, diverged.architecture, diverged.test_error) == (bad, "diverged", None)
    assert (diverged.validation_error, diverged.parameters) == (None, 0)
    assert trained.strategy == "static:D4" and trained.test_error is not None
    assert "diverged" in (folder / "table.md").read_text()
    assert compare(folder, strategies=f"{bad},static:G", seeds="1").status == 0
    assert len(runs_made) == 2  # it is not tried again


def test_a_learning_rate_too_large_for_all_is_on_record_for_all(tmp_path):
    called = compare(tmp_path / "run", lr="1e30", seeds="1")
    assert called.status == 0
    assert [(row.architecture, row.test_error) for row in rows_of(tmp_path / "run")] == [("diverged", None)] * 2
    assert (tmp_path / "run" / "report.html").exists() and "diverged" in called.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depth": "3"}, "--depth 2, and now it is 3"),
        ({"epochs": "2"}, "--epochs 1.0, and now it is 2.0"),
        ({"lr": "0.1"}, "--lr None, and now it is 0.1"),
        ({"train_samples": None}, "--train-samples 100, and now it is None"),
        ({"kernel_size": "5"}, "--kernel-size 3, and now it is 5"),
        ({"subgroups": "C1,D4"}, "--subgroups None, and now it is C1,D4"),
        ({"group": "C4"}, "--group D4, and now it is C4"),
        ({"image_size": "8"}, "--image-size None, and now it is 8"),
        ({"resplit": True}, "--resplit False, and now it is True"),
        ({"tied": True}, "--tied False, and now it is True"),
        ({"optimizer": "adam"}, "--optimizer sgd, and now it is adam"),
        ({"architecture_batches": "same"}, "--architecture-batches held-out, and now it is same"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_another_configuration_is_refused_with_the_option_and_both_values(finished, changes, said):
    folder, _ = finished
    before = snapshot(folder)
    complaint = compare(folder, **changes).complaint
    assert f"{folder} was made with {said}; use the same options to go on, or another --out" in complaint
    assert snapshot(folder) == before


WRONG = [
    ({"strategies": ""}, "--strategies is empty; name some of evolutionary"),
    ({"strategies": " , "}, "--strategies is empty"),
    ({"strategies": "augmented,annealing"}, 'no strategy "annealing"; there are evolutionary'),
    ({"strategies": "augmented,narrow,augmented"}, "names one twice: augmented, narrow, augmented"),
    ({"strategies": "static:G,static:D4"}, "names one twice: static:D4, static:D4"),
    ({"strategies": "augmented,static:C3"}, 'no subgroup "C3"'),
    ({"strategies": "augmented,static"}, 'no strategy "static"'),
    ({"strategies": "augmented,chain:D4,C4"}, "2 subgroups for 3 sites"),
    ({"strategies": "augmented,chain:C4,D4,D4"}, "grow with depth"),
    ({"strategies": "chain:D4,C4,augmentted"}, 'no subgroup "augmentted"'),
    ({"strategies": "augmented,from-G:C3"}, 'no subgroup "C3"'),
    ({"strategies": "augmented,augmented:C3"}, 'no subgroup "C3"'),
    ({"strategies": "augmented,narrow:C3"}, 'no subgroup "C3"'),
    ({"strategies": "augmented,random-static", "subgroups": "C3"}, 'no subgroup "C3"'),
    ({"strategies": "augmented,random-static:C4"}, 'no strategy "random-static:C4"'),
    ({"strategies": "augmented,rpp:hard"}, 'form is "hard"'),
    ({"strategies": "augmented,retrain:nowhere"}, "nowhere is not the folder of a finished run"),
    ({"strategies": "augmented,evolutionary:generations=0"}, "generations is 0"),
    ({"strategies": "augmented,evolutionary:generations=two"}, 'is "two"; it must be a whole number'),
    ({"strategies": "augmented,evolutionary:generations=8"}, "leave no step"),
    ({"strategies": "augmented,random-selection:moves=any"}, 'moves is "any"'),
    ({"strategies": "augmented,random-selection:tied=true"}, '"tied=true" in'),
    ({"strategies": "augmented,differentiable:tied=perhaps"}, 'is "perhaps"; it must be true or false'),
    ({"strategies": "augmented,differentiable:search_epochs=1"}, "search_epochs leave none"),
    ({"strategies": "augmented,differentiable:held_out=0.001"}, "both parts need at least two"),
    ({"strategies": "augmented,random-steps:batches=both"}, 'batches is "both"'),
    ({"strategies": "augmented,random-steps:oops"}, '"oops" in "random-steps:oops" is no option'),
    ({"strategies": "augmented,differentiable", "subgroups": "D4"}, "nothing to search"),
    ({"seeds": "0"}, "--seeds is 0; it must be at least one"),
    ({"seeds": "-3"}, "--seeds is -3"),
    ({"seeds": "1.5"}, "1.5"),
    ({"seeds": "many"}, '--seeds is "many"; it must be a whole number'),
    ({"seed": "3"}, "--seed"),
    ({"strategy": "augmented"}, "--strategy"),
    ({"data": None}, "data"),
    ({"data": "cifar"}, 'no data set "cifar"'),
    ({"group": "Oh"}, "Oh acts in dimension 3"),
    ({"epochs": "0"}, "epochs is 0.0; it must be positive"),
    ({"batch_size": "1"}, "batch normalisation needs at least two samples"),
    ({"lr": "fast"}, '--lr is "fast"; it must be a number'),
    ({"fields": "few"}, '--fields is "few"'),
    ({"depth": "0"}, "depth is 0"),
    ({"held_out": "2", "strategies": "differentiable"}, "held_out is 2"),
    ({"train_samples": "5"}, "num_train 5"),
    ({"frob": "1"}, "--frob"),
]


@pytest.mark.parametrize(
    ("changes", "said"),
    WRONG,
    ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_wrong_input_is_told_in_one_line_and_nothing_is_written(tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EQUIMORPH_DATA", raising=False)
    complaint = compare(tmp_path / "run", **changes).complaint
    assert said in complaint
    assert list(tmp_path.iterdir()) == []


def test_wrong_strategies_leave_a_comparison_that_exists_as_it_is(finished):
    before = snapshot(finished[0])
    assert 'no strategy "annealing"' in compare(finished[0], strategies="annealing").complaint
    assert "--seeds is 0" in compare(finished[0], seeds="0").complaint
    assert snapshot(finished[0]) == before


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link", "in a file", "empty"])
def test_what_is_no_comparison_is_left_as_it_is(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "mine"
    if kind == "folder":
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
    elif kind in ("file", "in a file"):
        out.write_text("years of work")
    elif kind == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    before = snapshot(tmp_path)
    given = {"in a file": out / "deeper", "empty": ""}.get(kind, out)
    complaint = compare(given).complaint
    assert "--out" in complaint or "cannot be made" in complaint
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "content", [b"a: [1\n", b"\xff\xfe\n", b"- digits\n", b""], ids=["no yaml", "no text", "list", ""]
)
def test_a_damaged_configuration_is_told_and_nothing_is_run(copied, content, runs_made):
    (copied / "config.yaml").write_bytes(content)
    before = snapshot(copied)
    assert str(copied) in compare(copied, seeds="3").complaint
    assert snapshot(copied) == before and runs_made == []


def test_damaged_rows_are_told_and_no_run_is_lost(copied, runs_made):
    text = (copied / "comparison.csv").read_text()
    (copied / "comparison.csv").write_text(text.replace("static:D4,1", "static:D4,one"))
    before = snapshot(copied / "runs")
    called = compare(copied, seeds="3")
    assert called.status == 2 and '"seed" must be a whole number, got "one"' in called.err.splitlines()[-1]
    assert snapshot(copied / "runs") == before and runs_made == []
