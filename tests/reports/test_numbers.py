"""The numbers of a run, by exact value."""

import math

import pytest

from equimorph.reports import read_numbers
from equimorph.reports.mixtures import dominant, mean_shares
from equimorph.reports.numbers import Span


def ids(candidates):
    return [candidate.id for candidate in candidates]


@pytest.fixture
def finished(finished_run):
    return read_numbers(finished_run.write())


@pytest.fixture
def unfinished(unfinished_run):
    return read_numbers(unfinished_run.write())


def test_a_run_is_named_after_its_folder(finished):
    assert finished.name == "run"


def test_the_totals_of_a_finished_run(finished):
    assert finished.is_finished
    assert len(finished.candidates) == 7
    assert len(finished.trained) == 6
    assert finished.num_architectures == 5
    assert finished.samples == 1600
    assert finished.cost_in_trainings == 2.0
    assert finished.wall_seconds == 90.0


def test_the_result_of_a_finished_run(finished):
    assert finished.best.id == 5
    assert finished.last_generation == 2
    assert ids(finished.front) == [4, 5]
    assert finished.test_error == 0.12
    assert finished.test_standard_error == pytest.approx(math.sqrt(0.12 * 0.88 / 100), rel=1e-12)


def test_the_lineage_leads_from_the_first_network_to_the_best(finished):
    assert ids(finished.lineage) == [0, 2, 5]
    assert ids(finished.changes) == [0, 2, 5]


def test_a_candidate_that_keeps_its_architecture_is_no_change(finished_run):
    finished_run.events[-1]["best"] = 4
    numbers = read_numbers(finished_run.write())
    assert ids(numbers.lineage) == [0, 2, 4]
    assert ids(numbers.changes) == [0, 2]


def test_the_spans_follow_each_site_along_the_lineage(finished):
    assert finished.spans == (
        Span(0, "D4", 0, 8),
        Span(1, "D4", 0, 6),
        Span(1, "C4", 6, 8),
        Span(2, "D4", 0, 4),
        Span(2, "C1", 4, 8),
    )


def test_a_candidate_of_no_epochs_has_no_span(empty_run):
    empty_run.start(generations=None)
    empty_run.candidate(0, None, 0, ["D4"] * 3, parameters=1, epochs=(0, 8), error=0.2)
    empty_run.candidate(1, 0, 1, ["C4"] * 3, parameters=1, epochs=(8, 8), error=0.2)
    empty_run.result(1, [1], samples=800)
    assert {span.constraint for span in read_numbers(empty_run.write()).spans} == {"D4"}


def test_a_curve_starts_where_the_parent_stood(finished):
    assert [(point.candidate, point.epoch) for point in finished.curves[5]] == [(2, 6), (5, 8)]
    assert [(point.candidate, point.epoch) for point in finished.curves[0]] == [(0, 2), (0, 4)]


def test_the_survivors_are_the_selected_ones(finished):
    assert finished.survivors == {0, 1, 2, 4, 5}


def test_subgroups_are_ordered_by_size(empty_run):
    empty_run.start(subgroups=["D4", "C4", "D1@90", "C1", "D2@0", "unknown", "C2"])
    numbers = read_numbers(empty_run.write())
    assert list(numbers.subgroups) == ["C1", "D1@90", "C2", "C4", "D2@0", "D4", "unknown"]
    assert numbers.subgroups["unknown"] is None
    assert numbers.subgroups["C4"].order == 4


@pytest.mark.parametrize(
    ("constraints", "kept"),
    [
        (["D4", "D4", "D4"], "D4"),
        (["D4", "C4", "C2"], "C2"),
        (["D4", "C4", "C1"], "C1"),
        (["C4", "D2@0", "D4"], "C2"),
        (["D4", "unknown", "C1"], None),
    ],
)
def test_the_whole_network_keeps_the_intersection(static_run, constraints, kept):
    static_run.events[-2]["constraints"] = constraints
    assert read_numbers(static_run.write()).kept_by_whole == kept


def test_a_single_group_stands_between_the_smallest_and_the_largest(static_run):
    static_run.events[0]["subgroups"] = ["C4"]
    static_run.events[-2]["constraints"] = ["C4"] * 3
    assert list(read_numbers(static_run.write()).subgroups) == ["C1", "C4", "D4"]


def test_a_mixture_is_followed_by_site_and_epoch(mixture_run):
    numbers = read_numbers(mixture_run.write())
    trajectory = numbers.trajectory
    assert trajectory.sites == ("block1.conv", "block2.conv", "head.linear")
    assert trajectory.members == ("D4", "C4", "C1")
    assert trajectory.portions("head.linear") == (
        (0, {"D4": 0.5, "C4": 0.25, "C1": 0.25}),
        (8, {"D4": 0.25, "C4": 0.5, "C1": 0.25}),
    )
    assert (trajectory.discretised_at, trajectory.chosen, trajectory.last_epoch) == (None, {}, 8)


def test_the_shares_of_a_best_mixture_are_those_at_its_end(mixture_run):
    shares = read_numbers(mixture_run.write()).shares
    assert [dominant(portions) for portions in shares.values()] == [("D4", 0.75), ("D4", 0.625), ("C4", 0.5)]
    assert mean_shares(shares) == pytest.approx({"D4": 1.625 / 3, "C4": 0.875 / 3, "C1": 0.5 / 3}, rel=1e-12)


def test_a_mixture_that_was_discretised_is_followed_up_to_there(discretised_run):
    numbers = read_numbers(discretised_run.write())
    assert numbers.shares is None
    trajectory = numbers.trajectory
    assert [point.epoch for point in trajectory.points] == [0, 4]
    assert (trajectory.discretised_at, trajectory.last_epoch) == (4, 8)
    assert trajectory.chosen == {"block1.conv": "D4", "block2.conv": "D4", "head.linear": "C4"}
    assert not trajectory.yielded
    assert ids(numbers.changes) == ids(numbers.last_training) == [0, 1]
    assert not numbers.has_choice
    assert numbers.num_architectures == 2


def test_discretising_to_no_symmetry_is_a_change_too(discretised_run):
    discretised_run.events[-3]["constraints"] = ["C1"] * 3
    numbers = read_numbers(discretised_run.write())
    assert ids(numbers.changes) == [0, 1]
    assert numbers.num_architectures == 2
    assert numbers.trajectory.yielded


def test_what_was_trained_anew_has_a_curve_of_its_own(retrained_run):
    numbers = read_numbers(retrained_run.write())
    assert ids(numbers.changes) == [0, 1]
    assert ids(numbers.last_training) == [1]
    assert [point.candidate for point in numbers.curves[1]] == [1]
    assert [point.candidate for point in numbers.trajectory.points] == [0, 0]
    assert numbers.num_architectures == 1
    assert numbers.shares is not None


def test_a_site_that_is_no_mixture_has_its_constraint(mixture_run):
    for event in mixture_run.events:
        if event["event"] == "mixture":
            del event["shares"]["head.linear"]
    numbers = read_numbers(mixture_run.write())
    assert numbers.trajectory.sites == ("block1.conv", "block2.conv")
    assert numbers.shares["head.linear"] == {"C1": 1.0}


def test_members_that_the_start_does_not_name_are_subgroups_of_the_run(mixture_run):
    mixture_run.events[0]["subgroups"] = ["D4"]
    assert list(read_numbers(mixture_run.write()).subgroups) == ["C1", "C4", "D4"]


def test_a_mixture_that_diverged_is_followed_as_far_as_it_came(empty_run):
    empty_run.start()
    empty_run.mixture(0, 0, {"head.linear": {"D4": 0.5, "C4": 0.5}})
    empty_run.diverged(0, None, 0, ["C4"] * 3, step=3)
    numbers = read_numbers(empty_run.write())
    assert numbers.best is None
    assert [point.epoch for point in numbers.trajectory.points] == [0]


def test_a_mixture_whose_candidate_was_never_recorded_is_passed_over(empty_run):
    empty_run.start()
    empty_run.mixture(0, 0, {"head.linear": {"D4": 0.5, "C4": 0.5}})
    assert read_numbers(empty_run.write()).trajectory is None


def test_a_run_without_mixtures_has_no_trajectory(finished):
    assert finished.trajectory is finished.shares is None
    assert finished.has_choice


def test_an_unfinished_run_is_told_up_to_its_last_selection(unfinished):
    assert not unfinished.is_finished
    assert unfinished.last_generation == 1
    assert ids(unfinished.front) == [1, 2]
    assert unfinished.best.id == 2
    assert unfinished.test_error is None
    assert unfinished.test_standard_error is None
    assert unfinished.samples == 400 + 200 + 200 + 100 + 3 * 200
    assert unfinished.wall_seconds == 7 * 1.5


def test_without_a_selection_the_front_is_computed(unfinished_run):
    run = unfinished_run
    run.events = [event for event in run.events if event["event"] != "selection"]
    numbers = read_numbers(run.write())
    assert numbers.last_generation == 2
    assert ids(numbers.front) == [4, 5]
    assert numbers.best.id == 5


def test_a_static_run_is_its_own_front(static_run):
    numbers = read_numbers(static_run.write())
    assert ids(numbers.front) == ids(numbers.lineage) == ids(numbers.candidates) == [0]
    assert numbers.num_architectures == 1
    assert numbers.cost_in_trainings == 1.0
    assert numbers.survivors == {0}


def test_a_run_whose_first_network_diverged_has_no_best(empty_run):
    empty_run.start()
    empty_run.diverged(0, None, 0, ["D4"] * 3, step=3)
    numbers = read_numbers(empty_run.write())
    assert numbers.best is None
    assert numbers.front == numbers.lineage == numbers.spans == numbers.changes == ()
    assert numbers.kept_by_whole is None


def test_a_run_that_has_only_begun_has_nothing(empty_run):
    empty_run.start()
    empty_run.timing.clear()
    numbers = read_numbers(empty_run.write())
    assert numbers.first is None
    assert numbers.best is None
    assert numbers.samples == 0
    assert numbers.wall_seconds is None
