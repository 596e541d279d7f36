"""What every strategy does alike, tried on each: it repeats, counts its samples, spares the test set, is read back."""

import dataclasses
import json
import runpy
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.errors import EquimorphError
from equimorph.search import RandomSelection, RandomSteps, Result, strategy_named
from equimorph.search.catalog import FORMS
from equimorph.training import Trainer, TrainingSettings

EPOCHS = 2
SETTINGS = TrainingSettings(epochs=EPOCHS, batch_size=32, device="cpu")  # 3 steps an epoch
SMALL_SEARCH = "generations=1+population=2+children=4+start=group+selection=pareto"
PRIOR_RUNS = {"discretised": "differentiable", "mixture": "differentiable:result=mixture"}
STRATEGIES = [
    f"evolutionary:{SMALL_SEARCH}",
    "evolutionary:initial_epochs=0.3",
    "growth",
    "growth:result=continued",
    "differentiable",
    "differentiable:result=mixture",
    "differentiable:result=retrained",
    "differentiable:tied=true",
    "differentiable:skip=true",
    "differentiable:batches=same",
    "differentiable:batches=train",
    "differentiable:batches=held-out",
    "static:C4",
    "chain:D4,C4,C1",
    "from-G:C4",
    "augmented",
    "augmented:C4",
    "narrow",
    "random-static",
    f"random-selection:{SMALL_SEARCH}",
    "random-steps",
    "rpp",
    "rpp:mixture",
    "retrain:discretised",  # the folder of a run of that name
    "retrain:mixture",
]
every_strategy = pytest.mark.parametrize("text", STRATEGIES)


def test_no_strategy_is_left_out():
    assert {text.partition(":")[0] for text in STRATEGIES} == {form.partition(":")[0] for form in FORMS}


def keys_of(x):
    """For each sample what stays of it when it is turned, mirrored: its pixels in order of size."""
    return [sample.flatten().sort().values.numpy().tobytes() for sample in x]


class Watch:
    """Counts which samples reach a network, and how: in training with gradients, or to be looked at."""

    def __init__(self):
        self.trained, self.seen = Counter(), Counter()

    def __call__(self, module, arguments):
        if isinstance(module, em.models.PaperNetwork):
            learns = module.training and torch.is_grad_enabled()
            (self.trained if learns else self.seen).update(keys_of(arguments[0].detach()))


class Run(NamedTuple):
    result: Result
    out: Path
    watch: Watch
    evaluated: list
    given_before: dict
    given: nn.Module
    random_before: torch.Tensor
    random_after: torch.Tensor


def make_network():
    return em.models.PaperNetwork(
        group="D4",
        image_size=12,
        in_channels=1,
        num_classes=10,
        fields=1,
        depth=2,
        kernel_size=3,
        head_units=8,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture(scope="module")
def named(data, tmp_path_factory):
    """From a name to the strategy, where retrain:WHAT stands for the folder of a finished run."""
    folder = tmp_path_factory.mktemp("prior")
    for what, text in PRIOR_RUNS.items():
        strategy_named(text).run(make_network(), data, training=SETTINGS, out=folder / what)

    def make(text):
        kind, _, rest = text.partition(":")
        return strategy_named(f"retrain:{folder / rest}" if kind == "retrain" else text)

    return make


def noting(look, splits):
    """A method of the trainer that also notes which split it looks at."""
    return lambda self, network, split: splits.append(split) or look(self, network, split)


@pytest.fixture(scope="module")
def run_of(data, named, tmp_path_factory):
    """The watched run of a strategy, made when it is first asked for."""
    runs = {}

    def run(text):
        if text not in runs:
            runs[text] = watched(text)
        return runs[text]

    def watched(text):
        network, watch, evaluated = make_network(), Watch(), []
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        out = tmp_path_factory.mktemp("runs") / "run"
        hook = nn.modules.module.register_module_forward_pre_hook(watch)
        torch.manual_seed(11)
        random_before = torch.get_rng_state()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("predict", "losses_in_parts"):
                patch.setattr(Trainer, name, noting(getattr(Trainer, name), evaluated))
            try:
                result = named(text).run(network, data, training=SETTINGS, out=out)
            finally:
                hook.remove()
        return Run(result, out, watch, evaluated, before, network, random_before, torch.get_rng_state())

    return run


@pytest.fixture(scope="module")
def split_keys(data):
    """The keys of the samples of each split, which have none in common."""
    splits = {name: set(keys_of(data.standardize(getattr(data, name).x))) for name in ("train", "validation", "test")}
    assert [len(keys) for keys in splits.values()] == [96, 60, 60] and len(set.union(*splits.values())) == 216
    return splits


def epochs_on_record(history):
    return json.dumps([line for line in history if line["event"] == "epoch"])


def same_state(one, two):
    states = one.state_dict(), two.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(t, states[1][name]) for name, t in states[0].items()
    )


@every_strategy
def test_the_same_seed_gives_the_same_history_to_the_byte_and_the_same_weights(text, data, named, run_of, tmp_path):
    first = run_of(text)
    torch.manual_seed(99)  # which must not matter
    again = named(text).run(make_network(), data, training=SETTINGS, out=tmp_path / "again")
    assert (tmp_path / "again" / "history.jsonl").read_bytes() == (first.out / "history.jsonl").read_bytes()
    assert again.history == first.result.history and again.candidate == first.result.candidate
    assert same_state(again.best, first.result.best)


@every_strategy
def test_another_seed_gives_another_history(text, data, named, run_of):
    other = named(text).run(make_network(), data, training=dataclasses.replace(SETTINGS, seed=1))
    assert epochs_on_record(other.history) != epochs_on_record(run_of(text).result.history)
    assert not same_state(other.best, run_of(text).result.best)


@every_strategy
def test_the_network_given_is_left_as_it_was(text, run_of):
    run = run_of(text)
    assert all(torch.equal(tensor, run.given_before[name]) for name, tensor in run.given.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in run.given.parameters())
    assert all(module.training for module in run.given.modules())
    assert set(em.sites(run.given).values()) == {em.group("D4").whole}


@every_strategy
def test_torchs_global_generator_is_left_as_it_was(text, run_of):
    assert torch.equal(run_of(text).random_before, run_of(text).random_after)


@every_strategy
def test_the_samples_on_record_are_those_that_the_networks_were_trained_on(text, run_of):
    run = run_of(text)
    history = run.result.history
    assert history[-1]["event"] == "result" and history[-1]["samples"] == run.watch.trained.total()
    candidates = [line for line in history if line["event"] == "candidate"]
    assert sum(line["samples"] for line in candidates) == run.watch.trained.total()


@every_strategy
def test_training_sees_the_training_set_alone(text, run_of, split_keys):
    trained = run_of(text).watch.trained
    assert set(trained) <= split_keys["train"]
    if text not in ("differentiable:batches=held-out",):  # 77 samples in batches of 32 leave some out
        assert len(set(trained)) > 90


@every_strategy
def test_the_test_set_is_used_once_by_one_network_at_the_end(text, run_of, split_keys):
    run = run_of(text)
    assert {run.watch.seen[key] for key in split_keys["test"]} == {1}
    assert not set(run.watch.trained) & split_keys["test"]
    assert run.evaluated[-1] == "test" and run.evaluated.count("test") == 1


@every_strategy
def test_the_validation_set_is_looked_at_once_a_report_and_never_trained_on(text, run_of, split_keys):
    run = run_of(text)
    reports = sum(line["event"] == "epoch" for line in run.result.history)
    assert {run.watch.seen[key] for key in split_keys["validation"]} == {reports + run.evaluated.count("validation")}
    assert not set(run.watch.trained) & split_keys["validation"]


@every_strategy
def test_what_is_chosen_does_not_depend_on_the_test_set(text, data, named, run_of):
    spoilt = dataclasses.replace(data, test=dataclasses.replace(data.test, y=(data.test.y + 1) % 10))
    other = named(text).run(make_network(), spoilt, training=SETTINGS)
    assert other.history[:-1] == run_of(text).result.history[:-1]
    assert same_state(other.best, run_of(text).result.best)


@every_strategy
def test_the_test_error_is_that_of_the_returned_network(text, data, run_of):
    run = run_of(text)
    assert not run.result.best.training
    with torch.no_grad():
        outputs = run.result.best(data.standardize(data.test.x))
    assert run.result.test_error == (outputs.argmax(1) != data.test.y).double().mean().item()
    assert run.result.history[-1]["test_error"] == run.result.test_error
    loss = nn.functional.cross_entropy(outputs, data.test.y).item()
    assert run.result.history[-1]["test_loss"] == pytest.approx(loss, rel=1e-6)  # measured: 1e-8


@every_strategy
def test_the_validation_error_is_that_of_the_returned_network(text, data, run_of):
    run = run_of(text)
    with torch.no_grad():
        outputs = run.result.best(data.standardize(data.validation.x))
    error = (outputs.argmax(1) != data.validation.y).double().mean().item()
    assert run.result.candidate.validation_error == error


@every_strategy
def test_the_returned_network_was_trained_for_the_whole_lineage(text, run_of):
    result = run_of(text).result
    candidates = {line["candidate"]: line for line in result.history if line["event"] == "candidate"}
    line = candidates[result.candidate.number]
    assert line["last_epoch"] == result.candidate.last_epoch == EPOCHS
    while line["first_epoch"] > 0:
        parent = candidates[line["parent"]]
        assert parent["last_epoch"] == line["first_epoch"]
        line = parent
    assert all(member.last_epoch == EPOCHS for member in result.front)
    rates = [line["learning_rate"] for line in result.history if line["event"] == "epoch"]
    steps = EPOCHS * 3
    assert rates[-1] == pytest.approx(SETTINGS.learning_rate * SETTINGS.rate_factor(steps - 1, steps))


@every_strategy
def test_the_run_folder_gives_the_network_back_to_the_bit(text, data, run_of):
    run = run_of(text)
    loaded = em.load(run.out)
    assert em.sites(loaded) == em.sites(run.result.best) and not loaded.training
    x = data.standardize(data.test.x)
    assert torch.equal(loaded(x), run.result.best(x))


@every_strategy
def test_the_plain_weights_give_the_same_outputs(text, data, run_of):
    run = run_of(text)
    load = runpy.run_path(str(run.out / "best" / "network.py"))["load"]
    x = data.standardize(data.test.x)
    expected = run.result.best(x)
    assert (load()(x) - expected).abs().max() < em.testing.TOLERANCES[torch.float32] * expected.abs().max()


@every_strategy
def test_a_page_is_made_of_the_run(text, run_of):
    out = run_of(text).out
    page = em.reports.write(out).read_text()
    assert page.startswith("<!DOCTYPE html>") and page.rstrip().endswith("</html>")
    numbers = em.reports.read_numbers(out)
    assert numbers.is_finished and f"{100 * run_of(text).result.test_error:.1f}" in page


@every_strategy
def test_the_history_begins_with_the_strategy_and_ends_with_the_result(text, run_of):
    history = run_of(text).result.history
    assert [line["event"] for line in history].count("start") == 1 and history[0]["event"] == "start"
    assert [line["event"] for line in history].count("result") == 1 and history[-1]["event"] == "result"
    assert history[0]["strategy"].partition(":")[0] == text.partition(":")[0] or text.startswith("chain")
    assert history[0]["epochs"] == EPOCHS
    numbers = [line["candidate"] for line in history if line["event"] == "candidate"]
    assert numbers == list(range(len(numbers))) and history[-1]["best"] in numbers


@every_strategy
def test_a_network_that_starts_freer_is_trained_all_the_same(text, data, named, tmp_path):
    start = em.relax(make_network(), "C4")
    settings = dataclasses.replace(SETTINGS, epochs=1)
    result = named(text).run(start, data, training=settings, out=tmp_path / "run")
    assert result.candidate.last_epoch == 1 and em.reports.read_numbers(result.out).is_finished


@pytest.mark.parametrize("text", ["static:D4", "chain:D4,D4,C4", "random-static", "from-G:D4", "rpp", "differentiable"])
@pytest.mark.parametrize("start", ["C1", "D1"])
def test_where_a_training_from_scratch_starts_does_not_matter(text, start, data, named):
    one, two = (
        named(text).run(network, data, training=SETTINGS)
        for network in (make_network(), em.relax(make_network(), start))
    )
    assert one.history == two.history and same_state(one.best, two.best)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evolutionary:generations=0", "generations is 0"),
        ("evolutionary:generations=9", "leave no step"),
        ("evolutionary:moves=all", 'moves is "all"'),
        ("random-selection:population=0", "population is 0"),
        ("random-selection:initial_epochs=5", "leave no step"),
        ("differentiable:result=best", 'result is "best"'),
        ("differentiable:batches=other", 'batches is "other"'),
        ("differentiable:held_out=1", "held_out is 1"),
        ("differentiable:held_out=0.001", "leaves 0 held out"),
        ("differentiable:search_epochs=2", "search_epochs leave none"),
        ("differentiable:temperature=0", "temperature is 0"),
        ("random-steps:start=middle", 'start is "middle"'),
        ("random-steps:held_out=0.99", "1 to train on|both parts need at least two"),
        ("static:C3", 'no subgroup "C3"'),
        ("chain:D4,C4", "2 subgroups for 3 sites"),
        ("chain:C4,D4,D4", "grow with depth"),
        ("chain:D4,C3,C1", 'no subgroup "C3"'),
        ("from-G:C3", 'no subgroup "C3"'),
        ("augmented:C3", 'no subgroup "C3"'),
        ("narrow:C3", 'no subgroup "C3"'),
        ("random-static:C4", 'no strategy "random-static:C4"'),
        ("rpp:soft", 'form is "soft"'),
        ("retrain:", 'no strategy "retrain:"'),
        ("retrain:nowhere", "nowhere is not the folder of a finished run"),
    ],
)
def test_wrong_options_are_refused_in_one_line_before_anything_is_written(text, said, data, network, tmp_path):
    with pytest.raises(EquimorphError, match=said) as caught:
        strategy_named(text).run(network, data, training=SETTINGS, out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["random-static", f"evolutionary:{SMALL_SEARCH}", "differentiable", "random-steps"])
def test_subgroups_that_do_not_exist_are_refused_before_anything_is_written(text, data, network, tmp_path):
    with pytest.raises(EquimorphError, match='no subgroup "C3"'):
        strategy_named(text, groups=["C3"]).run(network, data, training=SETTINGS, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_prior_run_with_other_sites_is_refused_before_anything_is_written(data, named, tmp_path):
    deeper = em.models.PaperNetwork(group="D4", image_size=12, in_channels=1, num_classes=10, fields=1, depth=3)
    with pytest.raises(EquimorphError, match=r"block3.conv.*and spaces are given for"):
        named("retrain:discretised").run(deeper, data, training=SETTINGS, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [RandomSelection, RandomSteps])
def test_subgroups_may_be_objects_and_are_written_by_name(kind, data, network, tmp_path):
    options = {"generations": 1, "children": 2} if kind is RandomSelection else {}
    groups = [em.group("D4").subgroup("C4")]
    result = kind(groups=groups, **options).run(network, data, training=SETTINGS, out=tmp_path / "run")
    assert result.history[0]["subgroups"] == ["C4", "D4"]
    assert "C4" in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize("what", list(PRIOR_RUNS))
def test_retraining_takes_the_architecture_of_the_run_and_nothing_else(what, named, run_of, data):
    prior = em.load(named(f"retrain:{what}").run_folder)
    result = run_of(f"retrain:{what}").result
    assert em.mixture_shares(result.best) == em.mixture_shares(prior)
    assert em.sites(result.best) == em.sites(prior)
    kernels = [dict(network.named_parameters()) for network in (prior, result.best)]
    moved = [name for name in kernels[0] if not torch.equal(kernels[0][name], kernels[1][name])]
    assert moved == [name for name in kernels[0] if not name.endswith("logits")]


def test_what_each_strategy_is_about_shows_in_its_result(run_of, split_keys):
    def constraints(text):
        return list(run_of(text).result.candidate.constraints)

    assert constraints("static:C4") == constraints("from-G:C4") == ["C4"] * 3
    assert constraints("chain:D4,C4,C1") == ["D4", "C4", "C1"]
    assert constraints("augmented") == constraints("rpp") == ["C1"] * 3
    parameters = {text: run_of(text).result.candidate.parameters for text in ("narrow", "augmented")}
    assert parameters["narrow"] < parameters["augmented"] / 4
    mixtures = {text for text in STRATEGIES if em.mixture_shares(run_of(text).result.best)}
    assert mixtures == {
        "differentiable:result=mixture",
        "differentiable:result=retrained",
        "rpp",
        "rpp:mixture",
        "retrain:mixture",
    }
