import subprocess
import sys

import pytest
from calling import call, search

import equimorph as em


def test_without_arguments_the_command_prints_its_help():
    called = call()
    assert (called.status, called.err) == (0, "")
    assert "search" in called.out and "report" in called.out


def test_the_command_tells_its_version():
    called = call("--version")
    assert (called.status, called.out.strip()) == (0, f"equimorph {em.__version__}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "how much symmetry"),
        (["search", "--help"], "--generations"),
        (["report", "--help"], "the run folder"),
    ],
    ids=["command", "search", "report"],
)
def test_help_is_printed_and_is_no_failure(arguments, said):
    called = call(*arguments)
    assert (called.status, called.err) == (0, "") and said in called.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["found"], "found"),
        (["--frob"], "--frob"),
        (["search"], "required"),
        (["report"], "required"),
        (["report", "one", "two"], "two"),
        (["search", "--data"], "--data"),
    ],
    ids=" ".join,
)
def test_what_the_command_does_not_know_is_told_in_one_line(arguments, said):
    assert said in call(*arguments).complaint


def test_debug_shows_the_trace_before_the_line(tmp_path):
    called = call("report", tmp_path, "--debug")
    assert called.status == 2 and called.err.startswith("Traceback")
    assert called.err.splitlines()[-1].startswith("equimorph: report: ")


def test_an_interrupted_search_says_so_in_one_line(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("equimorph.data.load", interrupted)
    called = search(tmp_path / "run")
    assert (called.status, called.out, called.err) == (130, "", "equimorph: stopped.\n")


def test_the_process_ends_with_the_status_of_the_command(tmp_path):
    arguments = [sys.executable, "-m", "equimorph", "report", str(tmp_path / "nowhere")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith('equimorph: report: no folder "') and done.stderr.count("\n") == 1
