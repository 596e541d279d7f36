"""The evolutionary search: what it trains, what it keeps, what it puts on record."""

import dataclasses
import json

import pytest
import torch
from evolving import from_group

import equimorph as em
from equimorph.errors import ConfigurationError, DivergedError, SiteError
from equimorph.search import Evolutionary, Static
from equimorph.search.candidate import Member
from equimorph.search.session import Task, train, train_task
from equimorph.training import Trainer


def lines(result, event):
    return [line for line in result.history if line["event"] == event]


@pytest.fixture(scope="module")
def result(data):
    network = em.models.PaperNetwork(
        group="D4", image_size=12, in_channels=1, num_classes=10, fields=1, depth=2, kernel_size=3, head_units=8
    )
    settings = em.training.TrainingSettings(epochs=3, batch_size=32, device="cpu")
    return from_group(groups=["C1", "C4", "D4"], generations=2, population=2).run(network, data, training=settings)


def test_the_same_seed_gives_the_same_history_byte_for_byte(data, network, settings, tmp_path):
    for name in ("one", "two"):
        from_group(generations=2, population=2, children=4).run(network, data, training=settings, out=tmp_path / name)
    one, two = ((tmp_path / name / "history.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two
    other = dataclasses.replace(settings, seed=1)
    from_group(generations=2, population=2, children=4).run(network, data, training=other, out=tmp_path / "three")
    assert (tmp_path / "three" / "history.jsonl").read_bytes() != one


def test_nothing_in_the_history_is_a_time(result):
    keys = {key for line in result.history for key in line}
    assert not {key for key in keys if "seconds" in key or "time" in key}


def test_every_candidate_of_every_generation_is_on_record_with_its_parent(result):
    candidates = lines(result, "candidate")
    assert [line["candidate"] for line in candidates] == list(range(len(candidates)))
    first, *rest = candidates
    assert first["parent"] is None and set(first["constraints"]) == {"D4"}
    by_number = {line["candidate"]: line for line in candidates}
    selected = {line["generation"]: line["parents"] for line in lines(result, "selection")}
    for line in rest:
        parent = by_number[line["parent"]]
        assert parent["generation"] == line["generation"] - 1
        assert line["parent"] in selected[parent["generation"]]
        assert line["first_epoch"] == parent["last_epoch"]
        order = {"C1": 1, "C4": 4, "D4": 8}
        assert all(order[k] <= order[h] for h, k in zip(parent["constraints"], line["constraints"], strict=True))
        assert (line["move"] == "continue") == (line["constraints"] == parent["constraints"])


def test_no_architecture_is_trained_twice_in_a_generation(result):
    for generation in (1, 2):
        chains = [tuple(c["constraints"]) for c in lines(result, "candidate") if c["generation"] == generation]
        assert len(chains) == len(set(chains))


def test_the_first_generation_holds_the_start_and_all_its_relaxations(result):
    chains = {tuple(line["constraints"]) for line in lines(result, "candidate") if line["generation"] == 1}
    expected = {("D4",) * 3}
    expected |= {("D4",) * i + (H,) * (3 - i) for i in range(3) for H in ("C1", "C4")}
    assert chains == expected


def test_every_lineage_has_the_same_length_and_samples_add_up(result):
    candidates = lines(result, "candidate")
    assert {line["last_epoch"] for line in candidates if line["generation"] == 2} == {3.0}
    assert lines(result, "result")[0]["samples"] == sum(line["samples"] for line in candidates)
    for line in candidates:
        assert line["samples"] == round((line["last_epoch"] - line["first_epoch"]) * 96)


def test_the_best_has_the_least_validation_error_of_the_last_generation(result):
    last = [line for line in lines(result, "candidate") if line["generation"] == 2]
    assert result.candidate.validation_error == min(line["validation_error"] for line in last)
    assert result.front[0] == result.candidate
    assert [H.name for H in em.sites(result.best).values()] == list(result.candidate.constraints)


def test_epochs_of_a_lineage_follow_each_other(result):
    for candidate in lines(result, "candidate"):
        epochs = [e["epoch"] for e in lines(result, "epoch") if e["candidate"] == candidate["candidate"]]
        assert epochs == sorted(set(epochs))
        assert epochs[-1] == candidate["last_epoch"]
        assert all(candidate["first_epoch"] < epoch for epoch in epochs)


def test_the_network_that_was_given_is_left_as_it_was(data, network, settings):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    from_group(generations=1, children=2).run(network, data, training=settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_child_begins_where_its_parent_stands(data, network, settings):
    trainer = Trainer(data, settings)
    outcome = train(trainer, 0, None, trainer.start(network), "start", 0, 5, em.search.Observer())
    parent = Member(outcome.candidate, outcome.state)
    chain = {name: network.block1.conv.constraint.group.subgroup("C4") for name in em.sites(network)}
    state = train_task(trainer, 1, Task(parent, chain, "all sites to C4", 1, 6), em.search.Observer()).state
    assert state.step == 6
    begun = em.relax(parent.state.network, "C4")
    assert trainer.evaluate(begun, "validation") == trainer.evaluate(parent.state.network, "validation")
    assert parent.state.step == 5


def test_going_on_as_a_child_is_going_on_without_a_break(data, network, settings):
    trainer = Trainer(data, settings)
    start = em.relax(network, "D4")  # a copy
    outcome = train(trainer, 0, None, trainer.start(network), "start", 0, 5, em.search.Observer())
    parent = Member(outcome.candidate, outcome.state)
    same = dict(em.sites(network))
    child = train_task(trainer, 1, Task(parent, same, "continue", 1, 8), em.search.Observer())
    straight = trainer.start(start)
    trainer.advance(straight, 8)
    child_weights, weights = child.state.network.state_dict(), straight.network.state_dict()
    assert all(torch.equal(child_weights[name], weights[name]) for name in weights)


def test_the_number_of_children_can_be_bounded_and_parents_come_first(data, network, settings):
    result = from_group(generations=2, population=2, children=3).run(network, data, training=settings)
    selections = {line["generation"]: line["parents"] for line in lines(result, "selection")}
    for generation in (1, 2):
        children = [line for line in lines(result, "candidate") if line["generation"] == generation]
        parents = selections[generation - 1]
        assert len(children) == max(3, len(parents))
        assert [line["parent"] for line in children[: len(parents)]] == parents
        assert all(line["move"] == "continue" for line in children[: len(parents)])


def test_the_test_set_is_used_once_at_the_end(data, network, settings, monkeypatch):
    used = []
    predict = Trainer.predict
    monkeypatch.setattr(Trainer, "predict", lambda self, net, split: used.append(split) or predict(self, net, split))
    result = from_group(generations=1, children=2).run(network, data, training=settings)
    assert used.count("test") == 1 and used[-1] == "test"
    assert result.test_error == lines(result, "result")[0]["test_error"]


def test_choices_do_not_depend_on_the_test_set(data, network, settings):
    spoilt = dataclasses.replace(data, test=dataclasses.replace(data.test, y=(data.test.y + 1) % 10))
    one, other = (from_group(generations=1, children=3).run(network, d, training=settings) for d in (data, spoilt))
    assert one.history[:-1] == other.history[:-1]
    assert one.candidate == other.candidate


def test_a_candidate_that_diverges_is_dropped_and_marked_and_the_run_goes_on(data, network, settings, tmp_path):
    calls = []

    def loss(outputs, targets):
        # 3 steps of the first network and its report, then 3 of each child: spoil the second child's second step.
        calls.append(outputs.requires_grad)
        value = torch.nn.functional.cross_entropy(outputs, targets)
        return value * float("nan") if sum(calls) == 3 + 3 + 2 and outputs.requires_grad else value

    search = from_group(groups=["C4", "D4"], generations=2, initial_epochs=1, population=9)
    result = search.run(network, data, training=settings, loss=loss, out=tmp_path / "run")
    diverged = [line for line in lines(result, "candidate") if line["status"] == "diverged"]
    assert [(line["candidate"], line["diverged_at_step"]) for line in diverged] == [(2, 4)]
    assert diverged[0]["validation_error"] is None
    assert 2 not in lines(result, "selection")[1]["parents"]
    assert not [line for line in lines(result, "candidate") if line["parent"] == 2]
    assert len(lines(result, "result")) == 1
    assert "NaN" not in (tmp_path / "run" / "history.jsonl").read_text()
    assert em.reports.read_numbers(tmp_path / "run").is_finished


def test_a_first_network_that_diverges_ends_the_run_with_its_step(data, network, settings, tmp_path):
    wild = dataclasses.replace(settings, lr=1e30)
    with pytest.raises(DivergedError, match=r"first network.*at step \d+.*--lr"):
        from_group(generations=1).run(network, data, training=wild, out=tmp_path / "run")
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert history[-1]["status"] == "diverged"


def test_other_losses_and_metrics_are_taken(data, network, settings):
    def top3_error(outputs, targets):
        return 1 - (outputs.topk(3).indices == targets[:, None]).any(1).double().mean()

    search = from_group(generations=1, children=2)
    usual = search.run(network, data, training=settings)
    lenient = search.run(network, data, training=settings, metric=top3_error)
    assert lenient.candidate.validation_error < usual.candidate.validation_error


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"generations": 0}, "generations is 0"),
        ({"population": 0}, "population is 0"),
        ({"children": 0}, "children is 0"),
        ({"initial_epochs": 0.0}, "initial_epochs is 0"),
        ({"moves": "all"}, 'moves is "all"'),
        ({"start": "all"}, 'start is "all"; it is one of group, members'),
        ({"selection": "all"}, 'selection is "all"; it is one of halving, pareto'),
        ({"groups": ["C3"]}, 'no subgroup "C3"'),
        ({"initial_epochs": 3.0}, "leave no step"),
        ({"generations": 40}, "leave no step"),
        ({"groups": []}, "list of members is empty"),
        ({"groups": ["D4"]}, "nothing to search"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(options, needed, data, network, settings, tmp_path):
    with pytest.raises(em.EquimorphError, match=needed):
        from_group(**options).run(network, data, training=settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_networks_that_cannot_be_searched_are_refused(data, network, settings):
    with pytest.raises(SiteError, match="no sites"):
        from_group().run(torch.nn.Sequential(torch.nn.Flatten()), data, training=settings)
    growing = em.relax(network, {"block1.conv": "C1"})
    with pytest.raises(ConfigurationError, match="grow with depth"):
        from_group().run(growing, data, training=settings)
    odd = em.relax(network, "D2@45")
    with pytest.raises(ConfigurationError, match="starts at D2@45"):
        from_group().run(odd, data, training=settings)


HALVING = {"start": "members", "selection": "halving", "initial_epochs": 1.0, "generations": 2}


def test_from_every_member_the_first_epochs_are_those_of_the_static_networks(data, network, settings):
    result = Evolutionary(groups=["C1", "C4", "D4"], population=3, children=3, **HALVING).run(
        network, data, training=settings
    )
    begun = [line for line in result.history if line["event"] == "candidate" and line["generation"] == 0]
    assert [line["constraints"][0] for line in begun] == ["D4", "C4", "C1"]
    for line in begun:
        static = Static(line["constraints"][0]).run(network, data, training=settings)
        first = next(one for one in static.history if one["event"] == "epoch")
        assert first["validation_loss"] == line["validation_loss"]


def test_halving_trains_half_as_many_children_of_half_as_many_parents_each_time(data, network, settings):
    search = Evolutionary(groups=["C1", "C4", "D4"], population=4, children=4, **HALVING)
    result = search.run(network, data, training=settings)
    generations = [line["generation"] for line in result.history if line["event"] == "candidate"]
    assert [generations.count(generation) for generation in range(3)] == [3, 4, 2]
    parents = [len(line["parents"]) for line in result.history if line["event"] == "selection"]
    assert parents == [3, 2, 1]


def test_from_every_member_a_network_may_be_given_at_any_constraint(data, network, settings):
    given = em.relax(network, "C2")
    result = Evolutionary(groups=["C4", "D4"], population=1, children=1, **HALVING).run(given, data, training=settings)
    assert set(result.candidate.constraints) <= {"C4", "D4"}
