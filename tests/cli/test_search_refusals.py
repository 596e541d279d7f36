import json

import pytest
from calling import call, search

WRONG = [
    ({"group": "D5"}, 'no group "D5"; there are in 2-D C1, C2, C4'),
    ({"group": "Oh"}, "Oh acts in dimension 3, and digits has images of dimension 2; choose another --group"),
    ({"group": "Z2"}, "Z2 acts in dimension 1, and digits has images of dimension 2"),
    ({"data": "cifar"}, 'no data set "cifar"; there are digits, mnist, rotmnist'),
    ({"data": "mnist"}, "mnist.npz is needed and no data folder was given"),
    ({"data": None}, "data"),
    (
        {"strategy": "annealing"},
        'no strategy "annealing"; there are evolutionary, differentiable, growth, static:H, chain:H1,H2',
    ),
    ({"strategy": "static:"}, 'no strategy "static:"'),
    ({"moves": "both"}, 'moves is "both"; it is one of paper, tails'),
    ({"generations": "0"}, "generations is 0; it must be at least one"),
    ({"population": "0"}, "population is 0"),
    ({"children": "0"}, "children is 0"),
    ({"initial_epochs": "0"}, "initial_epochs is 0.0; it must be positive"),
    ({"epochs": "0"}, "epochs is 0.0; it must be positive"),
    ({"epochs": "nan"}, "epochs"),
    ({"epochs": "many"}, "many"),
    ({"depth": "two"}, "two"),
    ({"seed": "1.5"}, "1.5"),
    ({"seed": "-1"}, "seed is -1; it must not be negative"),
    ({"batch_size": "0"}, "batch_size is 0; it must be at least one"),
    ({"batch_size": "1"}, "batch normalisation needs at least two samples"),
    ({"lr": "-1"}, "lr is -1.0; it must be positive"),
    ({"momentum": "1"}, "momentum is 1.0"),
    ({"weight_decay": "-1"}, "weight_decay is -1.0"),
    ({"schedule": "step"}, "step"),
    ({"precision": "8"}, "8"),
    ({"device": "tpu"}, 'device is "tpu"; it is auto, cpu, cuda, cuda:1 or mps'),
    ({"fields": "0"}, "fields is (0, 0)"),
    ({"fields": "1,2,3"}, "fields is (1, 2, 3)"),
    ({"fields": "few"}, '--fields is "few"; it is whole numbers with commas between'),
    ({"depth": "0"}, "depth is 0"),
    ({"kernel_size": "4"}, "kernel_size is 4; it must be odd"),
    ({"head_units": "0"}, "head_units is 0"),
    ({"depth": "4", "pool_after": "1,2,3,4"}, "images of 12 pixels are too small for pooling 4 times"),
    ({"pool_after": "3"}, "pool_after is (3,); it names different blocks from 1 to 2"),
    ({"pool_after": "first"}, '--pool-after is "first"'),
    ({"frob": "1"}, "--frob"),
    ({"generations": "several"}, '--generations is "several"; it must be a whole number'),
    ({"lr": "fast"}, '--lr is "fast"; it must be a number'),
    ({"optimizer": "lion"}, '--optimizer is "lion"; it must be one of sgd, adam, adamw'),
    ({"subgroups": "C3,D4"}, 'no subgroup "C3"; there are C1, C2, D1@90'),
    ({"subgroups": ","}, "list of members is empty"),
    ({"subgroups": "D4"}, "nothing to search"),
    ({"strategy": "static:C3"}, 'no subgroup "C3"'),
    ({"strategy": "chain:D4,C4,D4"}, 'constraints grow with depth: "head.linear" has D4 after "block2.conv" with C4'),
    ({"strategy": "chain:D4,C4"}, "2 subgroups for 3 sites; there are block1.conv, block2.conv, head.linear"),
    ({"group": "C4"}, 'no subgroup "D4"'),
    ({"epochs": "0.3"}, "leave no step for each of 1 generations"),
    ({"device": "cuda:99"}, 'no device "cuda:99" here'),
]


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("EQUIMORPH_DATA", raising=False)


def described(value):
    return ",".join(f"{name}={setting}" for name, setting in value.items()) if isinstance(value, dict) else ""


@pytest.mark.parametrize(("changes", "said"), WRONG, ids=described)
def test_wrong_input_is_told_in_one_line_and_nothing_is_written(tmp_path, changes, said):
    called = search(tmp_path / "run", **changes)
    assert list(tmp_path.iterdir()) == []
    assert said in called.complaint


@pytest.mark.parametrize("name", ["mnist", "rotmnist"])
def test_a_data_folder_without_the_file_is_told_with_where_to_get_it(tmp_path, name):
    (tmp_path / "data").mkdir()
    complaint = search(tmp_path / "run", data=name, data_dir=tmp_path / "data").complaint
    assert f"no mnist.npz in {tmp_path / 'data'}; it can be had from https://" in complaint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_a_run_folder_that_exists_is_left_as_it_is(tmp_path, kind):
    out = tmp_path / "run"
    if kind == "folder":
        out.mkdir()
        (out / "history.jsonl").write_text("kept")
    elif kind == "file":
        out.write_text("kept")
    else:
        out.symlink_to(tmp_path / "nowhere")
    assert f"{out} exists already; name another folder with --out" in search(out).complaint
    if kind == "folder":
        assert [path.read_text() for path in out.iterdir()] == ["kept"]
    elif kind == "file":
        assert out.read_text() == "kept"
    else:
        assert out.is_symlink() and not out.exists()


def test_a_run_folder_without_a_name_is_refused():
    assert "--out is empty" in search("").complaint


def test_a_run_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("kept")
    assert "cannot be made: Not a directory" in search(tmp_path / "file" / "run").complaint


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        (b"data: [digits\n", "parsing"),
        (b"data: digits\nfrob: 3\n", "frob"),
        (b"data: digits\nepochs: many\n", "many"),
        (b"- digits\n", "digits"),
        (b"data: \xff\n", "not text in UTF-8"),
    ],
    ids=["missing", "no YAML", "unknown key", "a word for a number", "a list", "no text"],
)
def test_a_configuration_that_cannot_be_read_is_told(tmp_path, content, said):
    config = tmp_path / "config.yaml"
    if content is not None:
        config.write_bytes(content)
    complaint = call("search", "--config", config, "--data", "digits", "--out", tmp_path / "run").complaint
    assert said in complaint
    assert not (tmp_path / "run").exists()


def test_a_first_network_that_diverges_ends_with_the_step_and_what_to_try(tmp_path):
    out = tmp_path / "run"
    called = search(out, lr="1e30")
    line = called.err.splitlines()[-1]
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    step = history[-1]["diverged_at_step"] + 1
    assert called.status == 2 and called.out == ""
    assert line.startswith("equimorph: search: ") and called.err.count("equimorph: ") == 1
    assert f"at step {step} of the training; try a smaller" in line and "--lr" in line and "1e+30" in line
    assert [event["event"] for event in history] == ["start", "candidate"] and history[-1]["status"] == "diverged"
    assert call("report", out).status == 0  # the page tells it too
