"""What a run folder may hold, and what is said when it holds something else."""

import pytest

from equimorph.errors import RunFolderError
from equimorph.reports.records import read_records


def refusal(folder):
    with pytest.raises(RunFolderError) as caught:
        read_records(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_folder_is_named(tmp_path):
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")


def test_a_folder_without_history_is_no_run_folder(tmp_path):
    assert "is not a run folder" in refusal(tmp_path)
    assert "history.jsonl" in refusal(tmp_path)


def test_a_history_without_a_start_is_refused(empty_run):
    empty_run.selection(0, [], [])
    assert 'no "start" line' in refusal(empty_run.write())


def test_a_candidate_before_the_start_is_refused(empty_run):
    empty_run.candidate(0, None, 0, ["D4"] * 3, parameters=1, epochs=(0, 1), error=0.1)
    assert 'before the "start" line' in refusal(empty_run.write())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"parameters": "many"}, '"parameters" must be a whole number, got "many"'),
        ({"parameters": True}, '"parameters" must be a whole number, got true'),
        ({"validation_error": None}, '"validation_error" must be a finite number, got null'),
        ({"validation_error": float("nan")}, '"validation_error" must be a finite number, got NaN'),
        ({"constraints": ["D4", 1]}, '"constraints" must be a list of texts'),
        ({"constraints": ["D4"]}, "names 1 subgroups for 3 sites"),
        ({"parent": 7}, "candidate 1 comes from candidate 7, which is not an earlier one"),
        ({"parent": 1}, "candidate 1 comes from candidate 1, which is not an earlier one"),
        ({"move": "two\nlines", "samples": {"a": "b"}}, '"samples" must be a whole number, got {"a": "b"}'),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_its_line(static_run, changes, told):
    static_run.candidate(1, 0, 1, ["D4"] * 3, parameters=1, epochs=(8, 9), error=0.1)
    static_run.events[-1] |= changes
    message = refusal(static_run.write())
    assert "history.jsonl, line 6" in message
    assert told in message


def test_a_field_inside_data_is_named(empty_run):
    empty_run.start(data={"name": "digits"})
    assert 'line 1, "data": "train" must be a whole number, got nothing' in refusal(empty_run.write())


def test_a_run_without_sites_is_refused(empty_run):
    empty_run.start(sites=[])
    assert '"sites" is empty' in refusal(empty_run.write())


def test_a_result_names_candidates_that_exist(static_run):
    static_run.result(9, [0], samples=1)
    assert "candidate 9 has no line of its own" in refusal(static_run.write())


def test_a_selection_names_candidates_that_exist(static_run):
    static_run.selection(0, [0, 4], [0])
    assert "candidate 4 has no line of its own" in refusal(static_run.write())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"candidate": "0"}, '"candidate" must be a whole number, got "0"'),
        ({"epoch": None}, '"epoch" must be a finite number, got null'),
        ({"shares": None}, '"shares" must be an object, got null'),
        ({"shares": {}}, '"shares" is empty'),
        ({"weights": [1]}, '"weights" must be an object, got [1]'),
        ({"shares": {"head.linear": 1.0}}, '"shares": "head.linear" must be an object, got 1.0'),
        ({"shares": {"elsewhere": {"D4": 1.0}}}, 'a mixture at "elsewhere", which is none of the sites'),
        ({"shares": {"head.linear": {}}}, '"head.linear": the members must add up to one, got 0'),
        ({"shares": {"head.linear": {"D4": 0.5, "C4": 0.4}}}, "the members must add up to one, got 0.9"),
        ({"shares": {"head.linear": {"D4": 1.5, "C4": -0.5}}}, '"D4" must lie between 0 and 1, got 1.5'),
        ({"shares": {"head.linear": {"D4": "all"}}}, '"D4" must be a number or null, got "all"'),
        ({"weights": {"head.linear": {"D4": 0.5, "C4": 0.4, "C1": 0.2}}}, "the members must add up to one, got 1.1"),
        ({"weights": {"head.linear": {"D4": 0.5, "C4": 0.5}}}, 'are not those in "shares"'),
        ({"weights": {"elsewhere": {"D4": 1.0}}}, 'the members of "elsewhere" in "weights"'),
    ],
)
def test_a_mixture_that_does_not_fit_is_named_with_its_line(mixture_run, changes, told):
    mixture_run.events[3] |= changes
    message = refusal(mixture_run.write())
    assert "history.jsonl, line 4" in message
    assert told in message


def test_a_mixture_before_the_start_is_refused(empty_run):
    empty_run.mixture(0, 0, {"head.linear": {"D4": 1.0}})
    assert 'a mixture before the "start" line' in refusal(empty_run.write())


def test_sites_of_a_mixture_are_in_order_of_depth(mixture_run):
    mixture_run.events[3]["shares"] = dict(reversed(mixture_run.events[3]["shares"].items()))
    assert list(read_records(mixture_run.write()).mixtures[-1].shares) == ["block1.conv", "block2.conv", "head.linear"]


@pytest.mark.parametrize("share", [None, float("nan")])
def test_a_mixture_that_ran_away_is_passed_over(mixture_run, share):
    mixture_run.events[3]["shares"]["head.linear"]["C1"] = share
    assert [point.epoch for point in read_records(mixture_run.write()).mixtures] == [0]


def test_a_last_line_that_was_cut_short_is_passed_over(finished_run):
    folder = finished_run.write()
    whole = read_records(folder)
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"event": "candidate", "candi')
    assert read_records(folder) == whole


def test_a_broken_line_in_the_middle_is_refused_with_its_number(finished_run):
    folder = finished_run.write()
    lines = (folder / "history.jsonl").read_text().splitlines()
    lines[3] = "{broken"
    (folder / "history.jsonl").write_text("\n".join(lines))
    assert "history.jsonl, line 4: not JSON" in refusal(folder)


def test_a_line_that_is_no_object_is_refused(finished_run):
    folder = finished_run.write()
    (folder / "timing.jsonl").write_text("[1, 2]\n")
    assert "timing.jsonl, line 1: needed a JSON object, got [1, 2]" in refusal(folder)


def test_bytes_that_are_no_text_are_refused(finished_run):
    folder = finished_run.write()
    (folder / "config.yaml").write_bytes(b"\xff\xfe\xff")
    assert "config.yaml cannot be read" in refusal(folder)


def test_an_environment_that_is_not_json_is_refused(finished_run):
    folder = finished_run.write()
    (folder / "environment.json").write_text("torch 2.11")
    assert "environment.json: not JSON" in refusal(folder)


def test_events_of_another_kind_are_passed_over(static_run):
    whole = read_records(static_run.write())
    static_run.events.append({"event": "note", "text": "hello"})
    assert read_records(static_run.write()) == whole


def test_of_two_lines_about_one_candidate_the_later_counts(static_run):
    static_run.candidate(0, None, 0, ["D4"] * 3, parameters=101, epochs=(0, 8), error=0.1)
    (candidate,) = read_records(static_run.write()).candidates
    assert (candidate.parameters, candidate.error) == (101, 0.1)


def test_only_the_history_must_be_there(static_run):
    folder = static_run.write()
    for name in ("timing.jsonl", "config.yaml", "environment.json"):
        (folder / name).unlink()
    records = read_records(folder)
    assert (records.candidate_seconds, records.run_seconds, records.config, records.environment) == ((), None, "", ())


def test_a_loss_that_is_no_number_is_none(finished_run):
    points = {(point.candidate, point.epoch): point for point in read_records(finished_run.write()).points}
    assert points[3, 5].train_loss is None
    assert points[5, 8].train_loss == 0.4


def test_the_environment_is_flat(finished_run):
    flat = (("torch", "2.11.0"), ("machine.cores", "2"), ("command", "equimorph search"))
    assert read_records(finished_run.write()).environment == flat
