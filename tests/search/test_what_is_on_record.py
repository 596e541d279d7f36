"""The first line says how samples are used, the last how well classes were told apart; and what blinds a search."""

import warnings

import pytest
import torch

import equimorph as em
from equimorph.errors import AugmentationWarning
from equimorph.search import strategy_named
from equimorph.training import METRICS, TrainingSettings
from equimorph.training.metrics import scores

SMALL = "evolutionary:generations=1+population=2+children=4+start=group+selection=pareto"
SEARCHES = [SMALL, "differentiable", "differentiable:result=mixture", "growth"]
OTHERS = ["static:C4", "chain:D4,C4,C1", "from-G:C4", "augmented", "augmented:C4", "narrow", "random-static"]
OTHERS += ["random-steps", SMALL.replace("evolutionary", "random-selection")]


def settings_of(**changes):
    return TrainingSettings(**{"epochs": 2, "batch_size": 32, "device": "cpu"} | changes)


def run(text, network, data, *, metric=None, **changes):
    options = {} if metric is None else {"metric": metric}
    return strategy_named(text).run(network, data, training=settings_of(**changes), **options)


def test_the_usual_way_to_use_samples_is_not_spelled_out(network, data):
    start = run("static:C4", network, data).history[0]
    assert start["event"] == "start" and start["metric"] == "error"
    assert not start.keys() & {"augmentation", "class_weights"}


@pytest.mark.parametrize("name", METRICS)
def test_the_first_line_names_the_metric_and_all_errors_are_its_own(network, data, name):
    result = run("static:C4", network, data, metric=METRICS[name])
    assert result.history[0]["metric"] == name
    with torch.no_grad():
        for split, found in ((data.test, result.test_error), (data.validation, result.candidate.validation_error)):
            assert found == float(METRICS[name](result.best(data.standardize(split.x)), split.y))


def test_a_metric_of_ones_own_is_called_that(network, data):
    result = run("static:C4", network, data, metric=lambda outputs, targets: outputs.mean().abs())
    assert result.history[0]["metric"] == "own"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augment": "shift = 0.1,mirror"}, {"augmentation": "mirror, shift=0.1"}),
        ({"class_weights": "loss"}, {"class_weights": "loss"}),
        ({"class_weights": "sampling", "augment": "turn"}, {"class_weights": "sampling", "augmentation": "turn"}),
    ],
    ids=str,
)
def test_the_first_line_says_how_samples_are_changed_and_weighed(network, data, changes, said):
    start = run("static:C4", network, data, **changes).history[0]
    assert {key: start[key] for key in ("augmentation", "class_weights") if key in start} == said


@pytest.mark.parametrize(
    ("text", "augment", "said"),
    [
        ("augmented", "", "D4"),
        ("augmented:C4", "", "C4"),
        ("augmented:C4", "shift=0.1", "move=C4, shift=0.1"),
        ("augmented", "turn, move=C2", "move=D4, turn"),
    ],
)
def test_the_augmented_network_says_what_moves_its_samples_beside_the_rest(network, data, text, augment, said):
    assert run(text, network, data, augment=augment).history[0]["augmentation"] == said


@pytest.mark.parametrize("text", [SMALL, "static:D4"])
def test_the_last_line_has_the_scores_of_the_best_network_on_the_test_set(network, data, text):
    result = run(text, network, data)
    with torch.no_grad():
        expected = scores(result.best(data.standardize(data.test.x)), data.test.y, data.classes)
    found = result.history[-1]["scores"]
    assert found == expected.record()
    assert found["accuracy"] == pytest.approx(1 - result.test_error)
    assert sum(found["support"]) == len(data.test) == sum(map(sum, found["confusion"]))


def test_outputs_that_are_not_one_for_each_class_have_no_scores(data):
    network = em.models.PaperNetwork(
        group="D4", image_size=12, in_channels=1, num_classes=12, fields=1, depth=2, kernel_size=3, head_units=8
    )
    assert "scores" not in run("static:C4", network, data).history[-1]


@pytest.mark.parametrize("text", SEARCHES)
def test_a_search_on_samples_that_look_more_symmetric_than_they_are_is_warned_of(network, data, text):
    with pytest.warns(AugmentationWarning, match='"turn" moves the images by C4, .*the search cannot tell') as caught:
        run(text, network, data, augment="turn")
    assert len(caught) == 1


def test_the_warning_points_at_the_callers_line(network, data):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        strategy_named("growth").run(network, data, training=settings_of(augment="turn"))
    assert [each.filename for each in caught if each.category is AugmentationWarning] == [__file__]


@pytest.mark.parametrize("text", SEARCHES)
def test_a_search_that_augmentation_leaves_free_is_not_warned_of(network, data, text):
    run(text, network, data, augment="shift=0.1, scale=0.1, intensity=0.1")  # a warning would be an error


@pytest.mark.parametrize("text", OTHERS)
def test_what_does_not_decide_by_the_data_is_not_warned_of(network, data, text):
    run(text, network, data, augment="turn, mirror")


def test_a_search_among_groups_that_all_have_the_turns_is_not_warned_of(network, data):
    strategy = strategy_named("differentiable", groups=["C4", "D4"])
    strategy.run(network, data, training=settings_of(augment="turn"))
