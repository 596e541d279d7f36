"""What all strategies do alike: the best by validation error is returned, tested and written."""

import dataclasses

from evolving import from_group

import equimorph as em
from equimorph.search import Strategy


class Prepared(Strategy):
    """Returns networks with given validation errors and parameter counts."""

    name = "prepared"

    def __init__(self, numbers):
        self.numbers = numbers

    def plan(self, network, trainer):
        return {"subgroups": ["D4"], "generations": 0}

    def search(self, session):
        members = []
        for error, parameters in self.numbers:
            member = session.train_first(em.relax(session.network, "D4"), 1, move="start")
            candidate = dataclasses.replace(member.candidate, validation_error=error, parameters=parameters)
            members.append(dataclasses.replace(member, candidate=candidate))
        session.record_selection(0, 0, members, members)
        return members


def test_the_best_is_the_front_member_of_least_error_whatever_its_size(data, network, settings, tmp_path):
    numbers = [(0.5, 10), (0.3, 20), (0.1, 30), (0.2, 40)]
    result = Prepared(numbers).run(network, data, training=settings, out=tmp_path / "run")
    assert result.candidate.number == 2
    assert [candidate.number for candidate in result.front] == [2, 1, 0]
    assert result.history[-1]["best"] == 2 and result.history[-1]["front"] == [2, 1, 0]
    assert '"candidate": 2' in (tmp_path / "run" / "best" / "architecture.json").read_text()


def test_of_equal_errors_the_smaller_network_is_the_best(data, network, settings):
    result = Prepared([(0.1, 30), (0.1, 20)]).run(network, data, training=settings)
    assert result.candidate.number == 1 and len(result.front) == 1


def test_without_a_folder_nothing_is_written(data, network, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = Prepared([(0.1, 30)]).run(network, data, training=settings)
    assert result.out is None and list(tmp_path.iterdir()) == []


def test_an_observer_hears_of_every_line_step_and_selection(data, network, settings):
    class Notes(em.search.Observer):
        def __init__(self):
            self.lines, self.steps, self.planned_steps, self.generations = [], 0, [], []

        def recorded(self, line):
            self.lines.append(line)

        def stepped(self, steps):
            self.steps += steps

        def planned(self, total_steps):
            self.planned_steps.append(total_steps)

        def selected(self, generation, generations, parents, front):
            self.generations.append((generation, generations, len(parents), len(front)))

    notes = Notes()
    search = from_group(generations=2, children=3, population=2)
    result = search.run(network, data, training=settings, observer=notes)
    assert tuple(notes.lines) == result.history
    assert notes.steps == notes.planned_steps[-1] == result.history[-1]["samples"] // 32
    assert [g for g, *_ in notes.generations] == [0, 1, 2]
