"""`equimorph data`, and a search on data of one's own: what is printed, written, downloaded and refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from calling import call, search
from made import make_folder, pixels, write

import equimorph as em
from equimorph.cli._main import _parsed, _parser
from equimorph.data import TASKS
from equimorph.errors import DataError

COUNTS = {"ants": 20, "bees": 20}


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("EQUIMORPH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def beasts(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("own") / "beasts", COUNTS)


def test_the_list_names_every_data_set_with_licence_and_whereabouts(tmp_path):
    (tmp_path / "skin_lesions_ham10000.npz").touch()
    called = call("data", "list", "--data-dir", tmp_path)
    assert (called.status, called.err) == (0, "")
    told = " ".join(called.out.split())
    for task in TASKS.values():
        assert f"{task.name}: {task.what}" in told and f"licence: {task.licence}" in told
    assert "skin_lesions_ham10000.npz is here" in told
    assert "modelnet10_voxels24.npz is not here" in told and "mnist.npz is downloaded when it is used" in told
    assert "textures:H: " in told and "a folder with a subfolder of images for each class" in told


@pytest.mark.parametrize("kind", ["show", "audit"])
def test_a_page_is_written_where_it_was_asked_for_or_beside_oneself(beasts, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    called = call("data", kind, beasts)
    assert called.status == 0, called.err
    assert f"beasts-{kind}.html" in called.out.splitlines()[-1]
    called = call("data", kind, "digits", "--out", tmp_path / "deep" / "page.html", *few(kind))
    assert called.status == 0 and str(tmp_path / "deep" / "page.html") in called.out.splitlines()[-1]
    for page in (tmp_path / f"beasts-{kind}.html", tmp_path / "deep" / "page.html"):
        assert page.read_text().lower().startswith("<!doctype html>")
    assert call("data", kind, "digits", "--out", tmp_path / "deep" / "page.html", *few(kind)).status == 0  # once more


def few(kind):
    return ["--samples", "200"] if kind == "audit" else ["--per-class", "2"]


def test_an_audit_prints_a_line_for_each_subgroup_and_what_to_search_among(beasts, tmp_path):
    called = call("data", "audit", beasts, "--subgroups", "C1,C4,D4", "--out", tmp_path / "page.html")
    assert called.status == 0 and called.err == ""
    lines = called.out.splitlines()
    assert lines[0].startswith("No verdict: beasts: there are 28 samples, and at least 50 are needed.")
    assert [line.split()[0] for line in lines[2:5]] == ["C1", "C4", "D4"]
    assert lines[-2].startswith("suggested       --subgroups ")
    assert set(lines[-2].split()[-1].split(",")) <= {"C1", "C4", "D4"}


def test_an_audit_says_in_words_first_which_moves_keep_the_labels(tmp_path):
    called = call("data", "audit", "textures:C4", "--samples", "300", "--out", tmp_path / "page.html")
    assert called.status == 0 and called.err == ""
    said, *lines = called.out.splitlines()
    assert said.startswith("Quarter turns keep the labels (C4); mirrors change them: they confuse ")
    assert "suggested       --subgroups C1,C2,C4" in lines and lines[-1].startswith("page ")
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Quarter turns keep the labels (C4)" in page and "Move by move" in page
    assert "--group D4 --subgroups C1,C2,C4" in page


both = pytest.mark.parametrize("kind", ["show", "audit"])


@both
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cifar"], 'no data set "cifar"; there are digits, mnist'),
        (["./nowhere"], "there is no ./nowhere; see whether the path is right"),
        (["digits", "--group", "Oh"], "Oh acts in dimension 3, and digits has images of dimension 2"),
        (["digits", "--group", "D5"], 'no group "D5"'),
        (["digits", "--image-size", "50"], "samples are only ever made smaller"),
        (["digits", "--validation-share", "0.9"], "both together less than 1"),
        (["digits", "--split", "-1"], "seed -1"),
        (["skin"], "skin_lesions_ham10000.npz is needed and no data folder was given"),
        (["digits", "--fit", "squeeze"], '--fit is "squeeze"; it must be one of crop, pad, stretch'),
        ([], "NAME"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_wrong_input_is_told_in_one_line_and_no_page_is_written(kind, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in call("data", kind, *words).complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "digits", "--subgroups", "C3"], 'no subgroup "C3"; there are C1'),
        (["audit", "digits", "--samples", "1"], "num_samples 1"),
        (["show", "digits", "--per-class", "0"], "per_class is 0"),
        (["show", "digits", "--per-class", "few"], '--per-class is "few"; it must be a whole number'),
        (["draw", "digits"], "draw"),
        ([], "list,show,audit"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_one_action_alone_takes_is_checked_before_a_page_is_left(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in call("data", *words).complaint
    assert list(tmp_path.iterdir()) == []


@both
@pytest.mark.parametrize("where", ["folder", "in a file"])
def test_a_page_that_cannot_be_written_is_told_before_the_work(kind, where, tmp_path):
    (tmp_path / "file").write_text("kept")
    out = tmp_path if where == "folder" else tmp_path / "file" / "page.html"
    complaint = call("data", kind, "digits", "--out", out).complaint
    assert complaint.startswith(f"data {kind}: {out} cannot be written: ") and complaint.endswith("name another --out.")
    assert (tmp_path / "file").read_text() == "kept"


def own_folder(path):
    return make_folder(path / "beasts", COUNTS), {}


def own_npz(path):
    y = np.array(["ants", "bees"])[np.arange(40) % 2]
    np.savez(path / "beasts.npz", x=np.stack([pixels(number) for number in range(40)]), y=y)
    return path / "beasts.npz", {}


def own_table(path):
    make_folder(path / "images", COUNTS)
    rows = [["file", "species"], *([f"{label}/{n:02d}.png", label] for label in COUNTS for n in range(20))]
    (path / "beasts.csv").write_text("\n".join(",".join(row) for row in rows))
    return path / "beasts.csv", {"images": path / "images", "path_column": "file", "label_column": "species"}


def own_signals(path):
    x = np.random.RandomState(0).randn(40, 2, 16).astype(np.float32)
    np.savez(path / "beasts.npz", x=x, y=np.array(["ants", "bees"])[np.arange(40) % 2])
    return path / "beasts.npz", {"group": "Z2", "subgroups": "C1,Z2", "strategy": "static:Z2"}


@pytest.mark.parametrize("made", [own_folder, own_npz, own_table, own_signals], ids=lambda made: made.__name__)
def test_a_search_on_data_of_ones_own_goes_from_the_files_to_the_page(made, tmp_path):
    given, changes = made(tmp_path)
    changes = {"strategy": "static:D4", "epochs": "1", "batch_size": "14", **changes}
    called = search(tmp_path / "run", data=given, **changes)
    assert called.status == 0, called.err
    assert "test error" in called.out and (tmp_path / "run" / "report.html").is_file()
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    described = history[0]["data"]
    assert {key: described[key] for key in ("name", "classes", "train", "validation", "test")} == {
        "name": "beasts",
        "classes": ["ants", "bees"],
        "train": 28,
        "validation": 4,
        "test": 8,
    }
    assert described["split"] == "10% validation and 20% test drawn by class, seed 0"
    assert history[-1]["scores"]["support"] == [4, 4]
    assert json.loads((tmp_path / "run" / "best" / "labels.json").read_text()) == ["ants", "bees"]


def test_the_table_of_splits_says_where_every_sample_went(beasts, tmp_path):
    assert search(tmp_path / "run", data=beasts, strategy="static:D4", epochs="1", split="3").status == 0
    with (tmp_path / "run" / "splits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    data = em.data.load(beasts).resplit(3)
    expected = [
        {"sample": sample, "class": data.classes[label], "split": part}
        for part, split in (("train", data.train), ("validation", data.validation), ("test", data.test))
        for sample, label in zip(split.ids, split.y.tolist(), strict=True)
    ]
    assert rows == expected and len({row["sample"] for row in rows}) == 40
    assert all(row["sample"].startswith(row["class"] + "/") for row in rows)


def test_how_data_are_read_changes_nothing_in_the_results(beasts, tmp_path):
    changes = {"data": beasts, "epochs": "1", "split": "2", "train_samples": "20", "batch_size": "10"}
    assert search(tmp_path / "kept", **changes, workers="0").status == 0
    assert search(tmp_path / "streamed", **changes, memory="0", workers="1").status == 0
    for name in ("history.jsonl", "splits.csv", "best/weights.safetensors", "best/preprocessing.json"):
        assert (tmp_path / "kept" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes(), name


@pytest.fixture
def damaged(beasts, tmp_path):
    folder = tmp_path / "beasts"
    shutil.copytree(beasts, folder)
    (folder / "ants" / "03.png").write_bytes(b"")
    (folder / "bees" / "04.png").write_bytes(b"")
    write(folder / "cows" / "only.png", pixels(0))
    return folder


def test_all_problems_of_the_data_are_told_one_a_line(damaged, tmp_path):
    for called in (search(tmp_path / "run", data=damaged), call("data", "show", damaged)):
        assert (called.status, called.out) == (2, "")
        first, *others = called.err.splitlines()
        assert first.startswith("equimorph: data: beasts: 3 problems; ") and "--bad-samples leave-out" in first
        assert len(others) == 2 and all(line.startswith("  ") for line in others)
        assert "ants/03.png, bees/04.png" in called.err and '"cows" (cows/only.png)' in called.err
    assert not (tmp_path / "run").exists()


def test_bad_samples_are_left_out_on_request_and_on_record(damaged, tmp_path):
    changes = {"strategy": "static:D4", "epochs": "1", "batch_size": "10"}
    assert search(tmp_path / "run", data=damaged, bad_samples="leave-out", **changes).status == 0
    start = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[0])
    assert sum(start["data"]["left_out"].values()) == 3
    assert start["data"]["train"] + start["data"]["validation"] + start["data"]["test"] == 38


def test_a_bar_appears_when_reading_takes_a_while_and_goes_before_problems_are_told(
    beasts, damaged, tmp_path, monkeypatch
):
    arguments = ["--workers", "0", "--out", tmp_path / "page.html"]
    assert call("data", "show", beasts, *arguments).err == ""
    monkeypatch.setattr("equimorph.cli.progress._SHOWN_AFTER_SECONDS", -1)
    shown = call("data", "show", beasts, *arguments)
    assert shown.status == 0 and "decoding samples" in shown.err and "40/40 samples" in shown.err
    stopped = call("data", "show", damaged, *arguments)
    lines = stopped.err.splitlines()
    told = next(number for number, line in enumerate(lines) if line.startswith("equimorph: data: beasts: "))
    assert stopped.status == 2 and len(lines) - told == 3
    assert any("looking at samples" in line for line in lines[:told])


@pytest.mark.filterwarnings("always::equimorph.errors.AugmentationWarning")
def test_a_search_blinded_by_augmentation_is_warned_of_in_one_line(tmp_path):
    called = search(tmp_path / "run", augment="turn", generations="1", epochs="1")
    assert called.status == 0, called.err
    warned = [line for line in called.err.splitlines() if "warning" in line]
    assert len(warned) == 1 and warned[0].startswith('equimorph: warning: augmentation: "turn" moves the images by C4')
    assert "(C1)" in warned[0]


def test_a_fixed_network_is_not_warned_of(tmp_path):
    called = search(tmp_path / "run", augment="turn", strategy="static:D4", epochs="1")
    assert called.status == 0 and "warning" not in called.err
    start = json.loads((tmp_path / "run" / "history.jsonl").read_text().splitlines()[0])
    assert start["augmentation"] == "turn"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"augment": "spin"}, 'augmentation: "spin" is none of turn, turn=z, mirror'),
        ({"augment": "turn=z"}, "dimension 2 have no turn z"),
        ({"metric": "recall"}, 'metric is "recall"; it is one of error, balanced-error, auroc-error'),
        ({"class_weights": "some"}, '--class-weights is "some"; it must be one of none, loss, sampling'),
        ({"workers": "-1", "data": None}, "--workers is -1; it must not be negative"),
        ({"bad_samples": "keep"}, '--bad-samples is "keep"; it must be one of stop, leave-out'),
    ],
    ids=str,
)
def test_wrong_ways_to_use_the_samples_are_told_in_one_line(beasts, words, said, tmp_path):
    words = words if words.get("data", "") is not None else {**words, "data": beasts}
    assert said in search(tmp_path / "run", **words).complaint
    assert not (tmp_path / "run").exists()


def parsed(*words):
    return _parsed(_parser(), [str(word) for word in words])


WHERE = {"search": ["--out", "run"], "compare": ["--out", "folder"]}


@pytest.mark.parametrize("command", WHERE)
@pytest.mark.parametrize("name", TASKS)
def test_what_suits_a_named_set_is_the_default_and_gives_way_to_the_user(name, command, tmp_path):
    words = [command, "--data", name, *WHERE[command]]
    usual, suited = parsed(command, "--data", "digits", *WHERE[command])[command], parsed(*words)[command]
    settings = TASKS[name].settings
    changed = {key for key in usual.as_dict() if usual[key] != suited[key]}
    assert changed - {"data"} == {key for key, value in settings.items() if usual[key] != value}
    assert all(suited[key] == value for key, value in settings.items())
    if not settings:
        return
    given = parsed(*words, "--group", "C4", "--image-size", "32", "--depth", "5", "--metric", "error")[command]
    assert (given.group, given.image_size, given.depth, given.metric) == ("C4", 32, 5, "error")
    (tmp_path / "config.yaml").write_text(f"data: {name}\nkernel_size: 9\n")
    from_file = parsed(command, "--config", tmp_path / "config.yaml", *WHERE[command])[command]
    assert from_file.kernel_size == 9
    assert all(from_file[key] == value for key, value in settings.items() if key != "kernel_size")


@both
def test_looking_at_volumes_takes_their_group_unless_another_is_named(kind):
    assert parsed("data", kind, "modelnet10").data[kind].group == TASKS["modelnet10"].settings["group"]
    assert parsed("data", kind, "modelnet10", "--group", "Oh").data[kind].group == "Oh"
    assert parsed("data", kind, "digits").data[kind].group == "D4"


@pytest.mark.parametrize(
    ("words", "variable", "fetches"),
    [([], None, True), (["--offline"], None, False), ([], "1", False), (["--offline"], "1", False)],
)
@pytest.mark.parametrize("command", ["search", "data show"])
def test_files_are_downloaded_unless_that_is_forbidden(command, words, variable, fetches, monkeypatch, tmp_path):
    if variable is None:
        monkeypatch.delenv("EQUIMORPH_OFFLINE")
    else:
        monkeypatch.setenv("EQUIMORPH_OFFLINE", variable)
    asked = []

    def load(name, data_dir, *, fetch, **_):
        asked.append((name, fetch))
        raise DataError("seen")

    monkeypatch.setattr("equimorph.data.load", load)
    given = (
        ["search", "--data", "mnist", "--out", tmp_path / "run"] if command == "search" else ["data", "show", "mnist"]
    )
    assert call(*given, *words).complaint == "seen"
    assert asked == [("mnist", fetches)]


def test_what_is_named_on_a_hub_is_not_fetched_offline(tmp_path):
    complaint = call("data", "show", "hf:some/name", "--offline", "--out", tmp_path / "page.html").complaint
    assert "hf:some/name is looked up on huggingface.co, and --offline" in complaint
    assert not list(tmp_path.iterdir())
