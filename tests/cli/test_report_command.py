import shutil

import pytest
from calling import call, finished_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("runs") / "first")


def test_report_makes_the_page_anew_and_tells_where_it_is(run, tmp_path):
    folder = shutil.copytree(run.path, tmp_path / run.path.name)
    page = folder / "report.html"
    page.write_text("an older page")
    called = call("report", folder)
    assert (called.status, called.out, called.err) == (0, f"{page}\n", "")
    assert page.read_text(encoding="utf-8") == (run.path / "report.html").read_text(encoding="utf-8")


def test_report_writes_nothing_else(run, tmp_path):
    folder = shutil.copytree(run.path, tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    call("report", folder)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert all(content == before[path] for path, content in after.items() if path.name != "report.html")


def test_a_folder_that_is_no_run_gets_no_page(tmp_path):
    assert f'"{tmp_path}" is not a run folder' in call("report", tmp_path).complaint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path):
    assert "nowhere" in call("report", tmp_path / "nowhere").complaint
    assert not (tmp_path / "nowhere").exists()
