"""The campaign of benchmarks: which part is next, what stays when a run is killed, and that every script takes part."""

import argparse
import dataclasses
import importlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from equimorph.search import strategy_named

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_MODULE = runpy.run_path(str(BENCHMARKS / "campaign_parts.py"))
PARTS, Part = _MODULE["PARTS"], _MODULE["Part"]
HAS_COMPILER = any(map(shutil.which, ("c++", "g++", "clang++")))
COMPILED = "layers: float32, channels first, compiled"
DRY_RUNS = (  # one of each script; the compiled part is the one of layers.py, where there is a compiler
    "tests on the device",
    "determinism",
    "network step: bf16, channels last",
    "where the time goes: bf16",
    "training loop: 32",
    "candidates together",
    "training: static:D4, seed 0",
    *([] if HAS_COMPILER else ["layers: bf16, channels first"]),
)
LAST_COMMIT, THIS_COMMIT = "aaaaaaa", "bbbbbbb"

# What made parts run: it says that it runs, and waits for a file if it is told to.
QUICK = """
import argparse, json, os, pathlib, time
options = argparse.ArgumentParser()
options.add_argument("--device")
options.add_argument("--json", type=pathlib.Path)
options.add_argument("--runs", type=pathlib.Path)
options.add_argument("--wait", type=pathlib.Path)
arguments = options.parse_args()
with arguments.runs.open("a") as file:
    file.write(f"{os.getpid()}\\n")
while arguments.wait and not arguments.wait.exists():
    time.sleep(0.01)
content = {"machine": "abacus", "torch": "2", "tables": {"A": "| x |"}, "figures": {"beads": 7}}
arguments.json.write_text(json.dumps(content))
"""


@pytest.fixture
def campaign(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("campaign")


@pytest.fixture
def _no_data(monkeypatch):
    monkeypatch.delenv("EQUIMORPH_DATA", raising=False)


def command(*words, ledger, parts=None, folder=None):
    """Of a campaign on the CPU; with made parts by a file that puts them in the place of the real ones."""
    script = BENCHMARKS / "campaign.py"
    if parts is not None:
        script = folder / "made.py"
        made = [dataclasses.asdict(part) for part in parts]
        script.write_text(
            f"import json, sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\nimport campaign_parts\n"
            f"made = json.loads({json.dumps(made)!r})\n"
            "campaign_parts.PARTS = tuple(campaign_parts.Part(**one) for one in made)\n"
            "import campaign\nsys.exit(campaign.main())\n"
        )
    return [sys.executable, str(script), "--device", "cpu", "--ledger", str(ledger), "--seconds", "600", *words]


def lines_of(ledger):
    return [json.loads(text) for text in ledger.read_text().splitlines()]


def until(holds, seconds=30):
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "this took too long"
        time.sleep(0.01)


# Dry runs of the real parts


def assert_done_in_a_dry_run(words, name, ledger):
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (line,) = lines_of(ledger)
    assert (line["part"], line["status"], line["tiny"]) == (name, "done", True)
    assert line["figures"] and line["tables"] and all("| --- |" in text for text in line["tables"].values())
    assert line["torch"] and "threads of" in line["device"] and line["commit"] and line["seconds"] > 0


@pytest.mark.parametrize("name", DRY_RUNS)
@pytest.mark.usefixtures("_no_data")
def test_a_dry_run_ends_with_tables_and_figures(name, tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    assert_done_in_a_dry_run(command("--tiny", "--again", name, ledger=ledger), name, ledger)


@pytest.mark.skipif(not HAS_COMPILER, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_dry_run_of_a_compiled_part_ends_with_tables_and_figures(tmp_path):
    ledger = tmp_path / "ledger.jsonl"
    (part,) = (part for part in PARTS if part.name == COMPILED)
    only_one_layer = dataclasses.replace(part, tiny=(*part.tiny, "--only", "static D4"))  # each takes six seconds
    words = command("--tiny", ledger=ledger, parts=[only_one_layer], folder=tmp_path)
    assert_done_in_a_dry_run(words, COMPILED, ledger)


def test_the_dry_runs_here_are_of_every_script():
    scripts = {part.script for part in PARTS if part.name in (*DRY_RUNS, COMPILED)}
    assert scripts == {part.script for part in PARTS}


class Accepted(BaseException):
    """The arguments were parsed without a complaint."""


@pytest.fixture
def parsing_ends_a_script(monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_and_end(self, *arguments, **options):
        parse(self, *arguments, **options)
        raise Accepted

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
@pytest.mark.usefixtures("parsing_ends_a_script")
def test_a_script_accepts_the_arguments_of_its_part(part, tmp_path, monkeypatch):
    script = BENCHMARKS / part.script
    for words in (part.arguments, (*part.arguments, *part.tiny)):
        monkeypatch.setattr(sys, "argv", [str(script), "--device", "cpu", *words, "--json", str(tmp_path / "x.json")])
        with pytest.raises(Accepted):
            runpy.run_path(str(script), run_name="__main__")


@pytest.mark.usefixtures("parsing_ends_a_script")
def test_an_argument_that_a_script_does_not_know_is_noticed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["layers.py", "--rouns", "3"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(BENCHMARKS / "layers.py"), run_name="__main__")
    assert "--rouns" in capsys.readouterr().err


def words_after(option):
    """What stands after an option, in all parts by their script."""
    for part in PARTS:
        for before, word in zip(part.arguments, part.arguments[1:], strict=False):
            if before == option:
                yield part.script, word


def test_layers_and_networks_that_parts_name_are_there(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    layers, steps = (runpy.run_path(str(BENCHMARKS / name)) for name in ("layers.py", "network_step.py"))
    there = {
        "layers.py": layers["layers_of"](1, with_escnn=False),
        "network_step.py": steps["networks"]((1, 1), 12),
    }
    named = set(words_after("--only"))
    assert len(named) == 2
    for script, names in named:
        assert set(names.split(";")) < set(there[script])


def test_strategies_that_parts_name_are_there(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    paper = runpy.run_path(str(BENCHMARKS / "training_run.py"))["PAPER"]
    named = {name for _, name in words_after("--strategy")}
    assert named > set(paper)
    for name in named:
        strategy_named(paper.get(name, name))


def test_names_of_parts_differ():
    assert len({part.name for part in PARTS}) == len(PARTS)


# Runs that are killed


@pytest.fixture
def made(tmp_path):
    """Two parts, of which the second waits for a file, and what they leave behind."""
    script, go = tmp_path / "quick.py", tmp_path / "go"
    script.write_text(QUICK)
    runs = {name: tmp_path / f"runs of {name}" for name in ("first", "second")}
    parts = [
        Part("first", str(script), ("--runs", str(runs["first"])), 1),
        Part("second", str(script), ("--runs", str(runs["second"]), "--wait", str(go)), 1),
    ]
    words = command(ledger=tmp_path / "ledger.jsonl", parts=parts, folder=tmp_path)
    started = []
    yield SimpleNamespace(
        words=words, ledger=tmp_path / "ledger.jsonl", go=go, runs=runs, folder=tmp_path, started=started
    )
    go.touch()  # whatever still waits may end
    for running in started:
        running.kill()
        running.wait()


def begun(made):
    """A run that has finished the first part and is in the midst of the second, and the second's process."""
    # In a folder of the test's own, as a run that is killed leaves its temporary files.
    running = subprocess.Popen(
        made.words, stdout=subprocess.DEVNULL, env=os.environ | {"TMPDIR": str(made.folder)}, start_new_session=True
    )
    made.started.append(running)
    until(lambda: made.runs["second"].exists() and made.runs["second"].read_text().endswith("\n"))
    return running, int(made.runs["second"].read_text())


def times_run(made, name):
    return len(made.runs[name].read_text().splitlines())


def test_a_run_that_is_killed_goes_on_after_the_parts_that_were_finished(made):
    running, second = begun(made)
    assert [line["part"] for line in lines_of(made.ledger)] == ["first"]
    running.kill()
    running.wait()
    os.kill(second, signal.SIGKILL)  # nobody else does when the run has no time to
    with made.ledger.open("a") as file:
        file.write('{"part": "second", "sta')  # as if it had been killed while it wrote the line
    made.go.touch()
    ended = subprocess.run(made.words, capture_output=True, text=True, check=True)
    assert "1 parts were run, 0 of them failed; 2 of 2 are finished" in ended.stdout
    assert (times_run(made, "first"), times_run(made, "second")) == (1, 2)
    first, torn, last = made.ledger.read_text().splitlines()
    assert json.loads(first)["part"] == "first" and torn.endswith('"sta')
    assert json.loads(last) | {"part": "second", "status": "done", "figures": {"beads": 7}} == json.loads(last)


def test_a_run_that_is_asked_to_end_takes_the_part_in_progress_with_it(made):
    running, second = begun(made)
    running.terminate()
    assert running.wait(timeout=30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
    assert [line["part"] for line in lines_of(made.ledger)] == ["first"]


# What a part leaves in the ledger


def line_of(campaign, tmp_path, script, *, seconds=30.0, **options):
    (tmp_path / "script.py").write_text(script)
    words = ["--device", "cpu", "--commit", THIS_COMMIT, *(f"--{name}" for name in options)]
    part = Part("one", str(tmp_path / "script.py"), (), 1)
    return campaign.run_part(part, campaign.parsed(words), seconds, dict(os.environ))


def test_a_part_that_fails_leaves_the_end_of_what_it_printed(campaign, tmp_path):
    line = line_of(campaign, tmp_path, "print('x' * 9000)\nraise SystemExit('no beads')")
    assert line["status"] == "failed" and line["commit"] == THIS_COMMIT
    assert line["tail"].endswith("no beads\n") and len(line["tail"]) == 4000


def test_a_part_that_takes_too_long_is_stopped_and_keeps_what_it_printed(campaign, tmp_path):
    line = line_of(campaign, tmp_path, "import time\nprint('begun', flush=True)\ntime.sleep(60)", seconds=1)
    assert line["status"] == "stopped" and line["tail"] == "begun\n" and 1 <= line["seconds"] < 10


def test_a_part_that_does_not_write_all_of_its_figures_has_failed(campaign, tmp_path):
    line = line_of(campaign, tmp_path, """import sys\nopen(sys.argv[-1], "w").write('{"tables": ')""")
    assert line["status"] == "failed" and "figures" not in line


def test_figures_of_a_part_that_fails_are_kept(campaign, tmp_path):
    script = """import sys\nopen(sys.argv[-1], "w").write('{"tables": {}, "figures": [7]}')\nsys.exit(1)"""
    line = line_of(campaign, tmp_path, script, tiny=True)
    assert line["status"] == "failed" and line["figures"] == [7] and line["tiny"]


# Which part is next


ALPHA, BETA, GAMMA, OTHER = (Part(name, "one.py", (), 40) for name in ("alpha", "beta", "beta, more", "other"))
COMPILED_BETA = Part("beta, compiled", "one.py", ("--compile",), 40)
READS = Part("reads", "two.py", (), 10, data=("numbers.npz",))


def entry(part, status="done", seconds=40.0, commit=LAST_COMMIT, **more):
    return {"part": part.name, "status": status, "seconds": seconds, "commit": commit, **more}


@pytest.fixture
def ledger_of(campaign, monkeypatch, tmp_path):
    """Makes a ledger with given lines, for made parts."""

    def make(*lines, parts=(ALPHA, BETA, GAMMA, OTHER), **options):
        monkeypatch.setattr(campaign, "PARTS", tuple(parts))
        ledger = campaign.Ledger(tmp_path / "ledger.jsonl", **options)
        for line in lines:
            ledger.add(line)
        return ledger

    return make


@pytest.fixture
def following(campaign):
    """The names of all parts that a run takes, when none takes any time."""

    def names(ledger, seconds=1000.0, *, commit=THIS_COMMIT, again=(), data=None):
        tried = []
        while part := campaign.next_part(ledger, seconds, commit=commit, again=again, tried=tried, data=data):
            tried.append(part.name)
        return tried

    return names


def test_parts_come_in_order_without_those_that_are_finished(ledger_of, following):
    assert following(ledger_of()) == ["alpha", "beta", "beta, more", "other"]
    assert following(ledger_of(entry(BETA))) == ["alpha", "beta, more", "other"]


def test_the_first_part_that_fits_into_the_seconds_left_is_next(ledger_of, following):
    parts = (ALPHA, dataclasses.replace(BETA, seconds=20, script="two.py"))
    assert following(ledger_of(parts=parts), 1.25 * 40) == ["alpha", "beta"]
    assert following(ledger_of(parts=parts), 1.25 * 39) == ["beta"]
    assert following(ledger_of(parts=parts), 1.25 * 19) == []


def test_what_failed_is_tried_again_only_at_another_commit(ledger_of, following):
    ledger = ledger_of(entry(ALPHA, "failed"), parts=(ALPHA, BETA))
    assert following(ledger, commit=LAST_COMMIT) == ["beta"]
    assert following(ledger, commit=THIS_COMMIT) == ["alpha", "beta"]


@pytest.mark.parametrize("commit", ["unknown", LAST_COMMIT + "+"])
def test_what_failed_is_tried_again_where_the_commit_does_not_tell_the_state_of_the_code(commit, ledger_of, following):
    ledger = ledger_of(entry(ALPHA, "failed", commit=commit), parts=(ALPHA,))
    assert following(ledger, commit=commit) == ["alpha"]


def test_figures_stay_when_a_part_fails_later(ledger_of, following):
    ledger = ledger_of(entry(ALPHA), entry(ALPHA, "failed"), parts=(ALPHA,))
    assert ledger.finished(ALPHA) and following(ledger) == []


def test_a_part_that_was_stopped_is_given_half_as_much_time_again(ledger_of, following):
    ledger = ledger_of(entry(ALPHA, "stopped", seconds=100), parts=(ALPHA,))
    assert ledger.estimate(ALPHA) == 150
    assert following(ledger, 1.25 * 149) == [] and following(ledger, 1.25 * 150) == ["alpha"]


def test_a_part_that_was_stopped_early_is_expected_to_take_what_it_was_expected_to(ledger_of):
    assert ledger_of(entry(ALPHA, "stopped", seconds=1)).estimate(ALPHA) == 40


def test_estimates_are_corrected_by_the_median_of_the_family(ledger_of):
    parts = (ALPHA, BETA, GAMMA, OTHER, COMPILED_BETA, READS)
    lines = [entry(ALPHA, seconds=20), entry(BETA, seconds=80), entry(GAMMA, seconds=400)]
    ledger = ledger_of(*lines, parts=parts)
    assert ledger.estimate(OTHER) == 2 * 40
    assert (ledger.estimate(COMPILED_BETA), ledger.estimate(READS)) == (40, 10)  # of other families
    assert ledger.estimate(ALPHA) == 20  # what was measured holds
    ledger.add(entry(ALPHA, seconds=30))
    assert ledger.estimate(ALPHA) == 30


def test_a_part_is_left_out_when_a_file_that_it_reads_is_missing(ledger_of, following, tmp_path):
    ledger = ledger_of(parts=(READS, OTHER))
    assert following(ledger) == following(ledger, data=tmp_path) == ["other"]
    (tmp_path / "numbers.npz").touch()
    assert following(ledger, data=tmp_path) == ["reads", "other"]


def test_a_dry_run_needs_no_files(ledger_of, following):
    assert following(ledger_of(parts=(READS,), tiny=True)) == ["reads"]


def test_dry_runs_and_real_ones_do_not_count_for_one_another(ledger_of, following, campaign):
    ledger = ledger_of(entry(ALPHA, seconds=1, tiny=True), entry(BETA), parts=(ALPHA, BETA))
    assert following(ledger) == ["alpha"] and ledger.estimate(ALPHA) == 40
    assert following(campaign.Ledger(ledger.path, tiny=True)) == ["beta"]


def test_parts_are_run_again_by_name_or_by_its_beginning(ledger_of, following):
    ledger = ledger_of(entry(BETA), entry(GAMMA, "failed", commit=THIS_COMMIT))
    assert following(ledger, again=["bet"]) == ["beta", "beta, more"]
    assert following(ledger, again=["other", "alpha"]) == ["alpha", "other"]
    assert following(ledger, again=["beta"]) == ["beta"]  # a whole name means just this part


def test_a_name_that_no_part_has_is_refused(ledger_of, following):
    with pytest.raises(SystemExit, match=r'"delta".*--list'):
        following(ledger_of(), again=["delta"])


# The ledger


def test_a_torn_last_line_is_ignored_and_the_next_one_stands_on_a_line_of_its_own(ledger_of, campaign):
    path = ledger_of(entry(ALPHA), entry(BETA)).path
    path.write_text(path.read_text()[:-20])
    ledger = campaign.Ledger(path)
    assert ledger.finished(ALPHA) and not ledger.finished(BETA)
    ledger.add(entry(BETA))
    assert campaign.Ledger(path).lines == [entry(ALPHA), entry(BETA)]
    assert [len(text) > 0 for text in path.read_text().splitlines()] == [True] * 3


def test_copies_are_made_after_each_line(ledger_of, tmp_path):
    ledger = ledger_of(entry(ALPHA), entry(BETA), copies=[tmp_path / "copies"])
    assert (tmp_path / "copies" / "ledger.jsonl").read_text() == ledger.path.read_text()


def test_the_list_says_of_each_part_what_became_of_it(ledger_of, campaign):
    line = entry(ALPHA, "failed", date="2026-11-27", device="abacus")
    alpha, reads, counts = campaign.listed(ledger_of(line, parts=(ALPHA, READS))).splitlines()
    assert alpha == "alpha: failed on 2026-11-27, abacus, aaaaaaa; about 40 s"
    assert reads == "reads: has never run; about 10 s; needs numbers.npz"
    assert counts == "0 of 2 are finished"


# What travels to a machine without a network


@pytest.fixture
def asked(campaign, monkeypatch):
    """What was to be run, in the place of pip and git."""
    commands = []
    monkeypatch.setattr(
        campaign.subprocess, "run", lambda words, **_: commands.append(words) or SimpleNamespace(stdout="")
    )
    return commands


@pytest.mark.parametrize("data", [None, "nowhere"])
def test_packing_refuses_when_a_data_file_is_missing(data, ledger_of, campaign, asked, tmp_path):
    ledger_of(parts=(ALPHA, READS))
    with pytest.raises(SystemExit, match=r"numbers\.npz.*EQUIMORPH_DATA"):
        campaign.pack(tmp_path / "kit", data and tmp_path / data, "3.12")
    assert not asked and not (tmp_path / "kit").exists()


def test_a_kit_has_the_pinned_wheels_and_the_data_files(ledger_of, campaign, asked, tmp_path, capsys):
    ledger_of(parts=(ALPHA, READS))
    (tmp_path / "numbers.npz").write_text("1 2 3")
    campaign.pack(tmp_path / "kit", tmp_path, "3.12")
    assert (tmp_path / "kit" / "numbers.npz").read_text() == "1 2 3"
    (download,) = (words for words in asked if "download" in words)
    assert {word.partition("==")[0] for word in download if "==" in word} == set(campaign.WHEELS)
    assert "MiB travel" in capsys.readouterr().out


def test_a_kit_that_is_too_large_to_travel_is_refused(ledger_of, campaign, asked, tmp_path, monkeypatch):
    ledger_of(parts=(ALPHA,))
    monkeypatch.setattr(campaign, "LARGEST_KIT_MIB", -1)
    with pytest.raises(SystemExit, match="more than -1 MiB"):
        campaign.pack(tmp_path / "kit", None, "3.12")


def test_a_kit_that_is_not_there_is_refused(campaign, tmp_path):
    with pytest.raises(SystemExit, match=r"kit.*--pack"):
        campaign.run(campaign.parsed(["--kit", str(tmp_path / "kit"), "--ledger", str(tmp_path / "ledger.jsonl")]))
