"""The page on performance has the figures that the benchmarks wrote, and its lines run."""

import doctest
import json
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
filled = runpy.run_path(str(ROOT / "benchmarks" / "performance_page.py"))["filled"]


def test_the_page_has_the_tables_of_the_results():
    assert filled(PAGE.read_text()) == PAGE.read_text(), "run: python benchmarks/performance_page.py"


def test_tables_are_put_after_the_marker_that_names_their_file(tmp_path):
    content = {"command": "python one.py", "machine": "two threads", "torch": "2", "date": "today"}
    content["tables"] = {"A": "| x |"}
    (tmp_path / "one.json").write_text(json.dumps(content))
    page = filled("before\n<!-- one.json -->\nold\n<!-- end -->\nafter", tmp_path)
    assert page.startswith("before\n<!-- one.json -->\n`python one.py`, two threads, PyTorch 2, today.")
    assert page.endswith("| x |\n<!-- end -->\nafter") and "old" not in page


def test_every_result_that_the_page_names_is_there():
    names = re.findall(r"<!-- ([\w-]+\.json) -->", PAGE.read_text())
    assert len(names) > 8 and all((ROOT / "benchmarks" / "results" / name).exists() for name in names)


def test_the_lines_of_the_page_give_the_output_that_stands_there():
    failures, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failures == 0 and tried > 7
