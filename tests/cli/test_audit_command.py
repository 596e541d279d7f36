import re
import shutil

import numpy as np
import pytest
from calling import call, finished_run, search
from PIL import Image

import equimorph as em


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    called = search(folder, strategy="static:D4", epochs="1")
    assert called.status == 0, called.err
    return folder


@pytest.fixture(scope="module")
def relaxed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "relaxed"
    called = search(folder, strategy="static:C4", epochs="1")
    assert called.status == 0, called.err
    return folder


def test_a_network_that_keeps_the_group_is_told_and_has_a_page(whole):
    called = call("audit", whole)
    assert (called.status, called.err) == (0, "")
    first, *rest = called.out.splitlines()
    assert re.fullmatch(r"The network commutes with all 8 elements of D4 \(largest error \de-1\d\)\.", first)
    sites = em.sites(em.load(whole))
    assert [line.split()[:2] for line in rest[:-1]] == [[name, "D4"] for name in sites]
    assert rest[-1].split() == ["page", str(whole / "audit.html")]
    assert "The network commutes with all 8" in (whole / "audit.html").read_text(encoding="utf-8")


def test_relaxed_layers_are_told_by_what_they_keep_and_not_as_faults(relaxed, tmp_path):
    called = call("audit", relaxed, "--out", tmp_path / "page.html")
    assert called.out.startswith("The network commutes with all 4 elements of C4, which every layer keeps")
    assert "All that is lost of D4 is lost where layers keep a smaller group, first at block1.conv" in called.out
    assert "What to try" not in called.out and "search chose" not in called.out
    assert "block1.conv" in called.out and "constrained to C4" in called.out
    assert (tmp_path / "page.html").exists() and not (relaxed / "audit.html").exists()


def test_what_a_search_relaxed_is_told_as_its_choice(relaxed, tmp_path):
    folder = shutil.copytree(relaxed, tmp_path / "run")
    history = (folder / "history.jsonl").read_text()
    (folder / "history.jsonl").write_text(history.replace('"static:C4"', '"evolutionary"'))
    told = call("audit", folder).out
    assert "lost where the search relaxed layers" in told and "constrained to C4, as the search chose" in told


def test_a_subgroup_alone_can_be_tried(relaxed):
    told = call("audit", relaxed, "--group", "C4").out
    assert "all 4 elements of C4, the only ones of D4 that were tried" in told
    assert 'no subgroup "O"' in call("audit", relaxed, "--group", "O").complaint


def test_images_are_tried_instead_of_noise(whole, tmp_path):
    for number in range(20):
        pixels = np.random.RandomState(number).randint(0, 255, (15, 12)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
    page = tmp_path / "page.html"
    assert "commutes with all 8" in call("audit", whole, "--images", tmp_path, "--out", page).out
    assert f"16 images of {tmp_path}" in page.read_text(encoding="utf-8")
    assert "audit: no images" in call("audit", whole, "--images", tmp_path / "*.jpg").complaint
    (tmp_path / "00.png").write_text("no image")
    assert "equimorph: audit: 1 problem" in call("audit", whole, "--images", tmp_path).err


def test_the_network_of_a_search_has_no_true_break(tmp_path):
    run = finished_run(tmp_path / "run")
    called = call("audit", run.path)
    assert called.status == 0 and "loses equivariance" not in called.out


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    assert "is not the folder of a finished run" in call("audit", tmp_path).complaint
    assert list(tmp_path.iterdir()) == []
