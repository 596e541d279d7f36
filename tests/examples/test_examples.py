"""Every example runs, and the README's lines give the output that stands there."""

import doctest
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_own_network_says_what_it_found(capsys):
    runpy.run_path(str(ROOT / "examples" / "own_network.py"))["main"](["--epochs", "0.5"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed] == ["moves paper", "moves tails"]
    assert all("keep" in line and "Test error" in line for line in printed)


def test_the_lines_of_the_readme_give_the_output_that_stands_there():
    failures, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert (failures, tried) == (0, 7)


def test_converted_network_says_what_became_of_it(capsys, tmp_path):
    run = runpy.run_path(str(ROOT / "examples" / "converted_network.py"))["main"]
    run(["--epochs", "1", "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "Conv2d(32, 64)    -> Conv2d(4 regular -> 8 regular)" in printed
    assert "Test error" in printed and "D4" in printed
    assert (tmp_path / "out" / "weights.safetensors").exists()
