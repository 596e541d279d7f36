"""What is said of a run."""

import pytest

from equimorph.groups import group
from equimorph.reports import read_numbers, words

SITES = [*(f"block{index}.conv" for index in range(1, 7)), "head.linear"]


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        ("D4 D4 D4 D4 C4 C4 C1", "Layers 1 to 4 keep D4, layers 5 and 6 keep C4, and the head keeps C1."),
        ("D4 D4 D4 D4 D4 D4 C1", "Layers 1 to 6 keep D4, and the head keeps C1."),
        ("D4 C4 C4 C4 C4 C4 C4", "Layer 1 keeps D4, and layers 2 to 6 and the head keep C4."),
        ("D4 D4 D4 D4 C4 C4 C4", "Layers 1 to 4 keep D4, and layers 5, 6 and the head keep C4."),
        ("D4 D4 D4 D4 D4 C4 C4", "Layers 1 to 5 keep D4, and layer 6 and the head keep C4."),
        ("C4 C4 C4 C4 C4 C4 C4", "Every layer keeps C4."),
    ],
)
def test_an_architecture_is_one_sentence(constraints, said):
    assert words.describe_architecture(SITES, constraints.split()) == said


def test_a_network_of_one_layer_is_told_in_the_singular():
    assert words.describe_architecture(["conv"], ["C4"]) == "The only layer keeps C4."


def test_two_heads_with_different_groups_have_their_own_names():
    said = words.describe_architecture(["conv", "head.hidden", "head.classes"], ["D4", "C4", "C1"])
    assert said == "Layer 1 keeps D4, head.hidden keeps C4, and head.classes keeps C1."


def test_two_heads_with_one_group_are_the_head():
    said = words.describe_architecture(["conv", "head.hidden", "head.classes"], ["D4", "C1", "C1"])
    assert said == "Layer 1 keeps D4, and the head keeps C1."


@pytest.mark.parametrize("name", ["C1", "C2", "C4", "D1@0", "D1@45", "D1@90", "D1@135", "D2@0", "D2@45", "D4"])
def test_every_planar_group_has_a_meaning(name):
    assert "elements" not in words.explain(name, group("D4").subgroup(name))


def test_short_names_mean_what_they_stand_for():
    D4 = group("D4")
    assert words.explain("D1", D4.subgroup("D1")) == words.explain("D1@90", D4.subgroup("D1@90")) == "left-right flip"


def test_spatial_groups_tell_their_elements():
    Oh = group("Oh")
    assert words.explain("C4@z", Oh.subgroup("C4@z")) == "4 elements"
    assert words.explain("Oh", Oh.whole) == "48 elements"
    assert words.explain("C1", Oh.trivial) == "no symmetry"


def test_a_name_without_a_group_is_not_explained():
    assert words.explain("mixed", None) == ""


@pytest.mark.parametrize(
    ("constraints", "said"),
    [
        (["D4", "D4", "C4"], "The network as a whole is C4-equivariant (quarter turns): every layer keeps that."),
        (["D4", "D4", "C1"], "The network as a whole is held to no symmetry, since its layers have none in common."),
        (["C1", "C1", "C1"], "Nothing holds the network to a symmetry."),
        (["D4", "mixed", "C1"], ""),
    ],
)
def test_the_whole_network_is_one_sentence(static_run, constraints, said):
    static_run.events[-2]["constraints"] = constraints
    assert words.describe_whole(read_numbers(static_run.write())) == said


@pytest.mark.parametrize(
    ("ambient", "names", "said"),
    [("Z2", ["C1", "Z2"], "signals"), ("D4", ["C1", "D4"], "images"), ("Oh", ["C1", "Oh"], "volumes")],
)
def test_inputs_are_named_by_their_dimension(empty_run, ambient, names, said):
    empty_run.start(group=ambient, subgroups=names)
    assert words.describe_inputs(read_numbers(empty_run.write())) == said


def test_inputs_of_an_unknown_group_are_samples(empty_run):
    empty_run.start(group="E8", subgroups=["E8"])
    assert words.describe_inputs(read_numbers(empty_run.write())) == "samples"


def test_a_first_network_that_diverged_is_the_reason(empty_run):
    empty_run.start()
    empty_run.diverged(0, None, 0, ["D4"] * 3, step=1234)
    assert "first network diverged at step 1,235" in words.explain_missing_result(read_numbers(empty_run.write()))


def test_a_generation_that_diverged_whole_is_the_reason(unfinished_run):
    unfinished_run.diverged(7, 5, 3, ["C4"] * 3, step=5)
    unfinished_run.diverged(8, 5, 3, ["C1"] * 3, step=5)
    reason = words.explain_missing_result(read_numbers(unfinished_run.write()))
    assert reason.startswith("Every candidate of generation 3 diverged")


def test_the_one_network_of_a_generation_that_diverged_is_the_reason(discretised_run):
    discretised_run.events = discretised_run.events[:6]
    discretised_run.diverged(1, 0, 1, ["D4", "D4", "C4"], step=5, move="discretise")
    reason = words.explain_missing_result(read_numbers(discretised_run.write()))
    assert reason.startswith("The network after its last move (discretise) diverged")


def test_a_run_that_stopped_after_its_mixture_says_so(discretised_run):
    discretised_run.events = discretised_run.events[:6]
    assert "after its mixture was trained" in words.explain_missing_result(read_numbers(discretised_run.write()))


def test_a_run_of_one_network_that_was_not_tested_says_so(static_run):
    static_run.events = [static_run.events[0] | {"generations": 0}, *static_run.events[1:-1]]
    reason = words.explain_missing_result(read_numbers(static_run.write()))
    assert reason.endswith("after its network was trained and before it was tested.")


@pytest.mark.parametrize(
    ("largest", "said"),
    [
        ("D4 D4 D4 D4 D4 D4 D4", "Every layer is mostly D4 (0.60 to 0.72)."),
        (
            "D4 D4 D4 D4 C4 C4 C1",
            "Layers 1 to 4 are mostly D4 (0.60 to 0.66), layers 5 and 6 are mostly C4 (0.68 to "
            "0.70), and the head is mostly C1 (0.72).",
        ),
        ("D4 C4 D4 C4 D4 C4 C4", "Of 7 layers, 4 lean to C4 (0.62 to 0.72), and 3 to D4 (0.60 to 0.68)."),
        (
            "D4 C1 C4 C1 D4 A B",
            "Of 7 layers, 2 lean to D4 (0.60 to 0.68), 2 to C1 (0.62 to 0.66), 1 to C4 (0.64), "
            "and 2 to 2 other groups.",
        ),
    ],
)
def test_a_mixture_is_one_sentence(largest, said):
    shares = {
        site: {name: 0.6 + 0.02 * depth, "rest": 0.4 - 0.02 * depth}
        for depth, (site, name) in enumerate(zip(SITES, largest.split(), strict=True))
    }
    assert words.describe_mixture(shares) == said


def test_a_layer_without_a_majority_leans():
    halves = {"D4": 0.5, "C4": 0.3, "C1": 0.2}
    most = {"D4": 0.6, "C4": 0.3, "C1": 0.1}
    assert words.describe_mixture({"conv": halves}) == "The only layer leans to D4 (0.50)."
    assert words.describe_mixture({"a": halves, "b": most}) == "Every layer leans to D4 (0.50 to 0.60)."
    said = words.describe_mixture({"a": halves, "b": most, "head": {"D4": 0.3, "C4": 0.7}})
    assert said == "Layers 1 and 2 lean to D4 (0.50 to 0.60), and the head is mostly C4 (0.70)."


def test_a_share_never_rounds_up_to_everything():
    assert words.describe_mixture({"conv": {"D4": 0.9999, "C1": 0.0001}}) == "The only layer is mostly D4 (over 0.99)."
    assert words.describe_mixture({"conv": {"D4": 1.0, "C1": 0.0}}) == "The only layer is mostly D4 (1.00)."


def test_a_mixture_whose_members_share_a_group_is_held_to_that(mixture_run):
    for event in mixture_run.events:
        if event["event"] == "candidate":
            event["constraints"] = ["C4"] * 3
        elif event["event"] == "mixture":
            event["shares"] = {site: {"D4": 0.75, "C4": 0.25} for site in event["shares"]}
    assert words.describe_whole(read_numbers(mixture_run.write())) == (
        "The mixture as a whole is held to C4 (quarter turns), which all its members share; it leans to D4, whose mean "
        "share is 0.75."
    )


def test_a_layer_that_could_not_take_its_dominant_group_is_told(discretised_run):
    yielded = "not every layer could take the group that it leaned to"
    assert yielded not in words.describe_trajectory(read_numbers(discretised_run.write()))
    discretised_run.events[-3]["constraints"] = ["D4", "C4", "C4"]
    assert yielded in words.describe_trajectory(read_numbers(discretised_run.write()))


def test_an_augmented_run_tells_what_moved_its_images(static_run):
    static_run.events[0]["augmentation"] = "C4"
    static_run.events[-2]["constraints"] = ["C1"] * 3
    assert words.describe_whole(read_numbers(static_run.write())) == (
        "Nothing holds the network to a symmetry. Its training images were moved at random by C4 (quarter turns)."
    )


def test_an_interrupted_run_says_how_far_it_came(unfinished_run):
    assert "in generation 2 of 2" in words.explain_missing_result(read_numbers(unfinished_run.write()))


def test_a_run_that_has_only_begun_says_so(empty_run):
    empty_run.start()
    assert "before its first network" in words.explain_missing_result(read_numbers(empty_run.write()))
