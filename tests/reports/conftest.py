"""A small run with everything in it: three generations, a diverged candidate, a front of two."""

import json

import pytest

from equimorph.reports.comparison import Row

SITES = ["block1.conv", "block2.conv", "head.linear"]
HOSTILE = "<img src=https://evil.example onerror=alert(1)></script><!--&\"'%{x}"


class RunFolder:
    """The files of a run folder as lists of objects, to be changed before `write` puts them down."""

    def __init__(self, path):
        self.path = path
        self.events = []
        self.timing = []
        self.config = "strategy: evolutionary\n"
        self.environment = {"torch": "2.11.0", "machine": {"cores": 2}, "command": ["equimorph", "search"]}

    def start(self, **changes):
        data = {"name": "digits", "classes": 10, "train": 100, "validation": 20, "test": 100}
        subgroups = ["C1", "C2", "C4", "D4"]
        event = {"event": "start", "strategy": "evolutionary", "group": "D4", "subgroups": subgroups, "sites": SITES}
        self.events.append(event | {"epochs": 8, "generations": 2, "data": data} | changes)

    def candidate(self, number, parent, generation, constraints, *, parameters, epochs, error, **changes):
        first, last = epochs
        event = {"event": "candidate", "candidate": number, "parent": parent, "generation": generation}
        event |= {"move": f"move {number}", "constraints": constraints, "parameters": parameters}
        event |= {"first_epoch": first, "last_epoch": last, "samples": 100 * (last - first)}
        event |= {"status": "trained", "diverged_at_step": None, "validation_loss": error, "validation_error": error}
        self.events.append(event | changes)
        self.timing.append({"event": "candidate", "candidate": number, "wall_seconds": 1.5})

    def diverged(self, number, parent, generation, constraints, *, step, **changes):
        failed = {"status": "diverged", "diverged_at_step": step, "validation_loss": None} | changes
        self.candidate(number, parent, generation, constraints, parameters=160, epochs=(4, 5), error=None, **failed)

    def epoch(self, candidate, epoch, loss, error):
        event = {"event": "epoch", "candidate": candidate, "epoch": epoch, "learning_rate": 0.1}
        self.events.append(event | {"train_loss": loss, "validation_loss": loss, "validation_error": error})

    def mixture(self, candidate, epoch, shares, weights=None):
        self.events.append(
            {"event": "mixture", "candidate": candidate, "epoch": epoch, "shares": shares, "weights": weights or {}}
        )

    def selection(self, generation, parents, front):
        self.events.append({"event": "selection", "generation": generation, "parents": parents, "front": front})

    def result(self, best, front, *, samples, **changes):
        event = {"event": "result", "best": best, "front": front, "test_error": 0.12, "test_loss": 0.4}
        self.events.append(event | {"samples": samples} | changes)

    def write(self):
        self.path.mkdir(exist_ok=True)
        (self.path / "history.jsonl").write_text("".join(json.dumps(event) + "\n" for event in self.events))
        (self.path / "timing.jsonl").write_text("".join(json.dumps(event) + "\n" for event in self.timing))
        (self.path / "config.yaml").write_text(self.config)
        (self.path / "environment.json").write_text(json.dumps(self.environment))
        return self.path


@pytest.fixture
def empty_run(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def static_run(empty_run):
    """One candidate, trained from start to end."""
    run = empty_run
    run.start(strategy="static:D4", generations=None)
    run.epoch(0, 4, 1.0, 0.3)
    run.epoch(0, 8, 0.5, 0.2)
    run.candidate(0, None, 0, ["D4"] * 3, parameters=100, epochs=(0, 8), error=0.2)
    run.result(0, [0], samples=800)
    return run


@pytest.fixture
def unfinished_run(empty_run):
    """Killed after the candidates of generation 2 were trained and before they were selected from."""
    run = empty_run
    run.start()
    run.epoch(0, 2, 2.0, 0.5)
    run.epoch(0, 4, 1.0, 0.3)
    run.candidate(0, None, 0, ["D4", "D4", "D4"], parameters=100, epochs=(0, 4), error=0.30)
    run.selection(0, [0], [0])
    run.candidate(1, 0, 1, ["D4", "D4", "D4"], parameters=100, epochs=(4, 6), error=0.25)
    run.epoch(2, 6, 0.8, 0.2)
    run.candidate(2, 0, 1, ["D4", "D4", "C1"], parameters=150, epochs=(4, 6), error=0.20)
    run.epoch(3, 5, float("nan"), None)
    run.diverged(3, 0, 1, ["D4", "C4", "C4"], step=17)
    run.selection(1, [1, 2], [1, 2])
    run.candidate(4, 2, 2, ["D4", "D4", "C1"], parameters=150, epochs=(6, 8), error=0.15)
    run.epoch(5, 8, 0.4, 0.1)
    run.candidate(5, 2, 2, ["D4", "C4", "C1"], parameters=200, epochs=(6, 8), error=0.10)
    run.candidate(6, 1, 2, ["C4", "C4", "C4"], parameters=250, epochs=(6, 8), error=0.30)
    return run


@pytest.fixture
def finished_run(unfinished_run):
    unfinished_run.selection(2, [4, 5], [4, 5])
    unfinished_run.result(5, [5, 4], samples=1600)
    unfinished_run.timing.append({"event": "run", "wall_seconds": 90.0})
    return unfinished_run


@pytest.fixture
def hostile_run(empty_run):
    """Labels that would break out of a page, a script or a figure."""
    run = empty_run
    run.config = f"data: {HOSTILE}\n"
    run.environment = {HOSTILE: HOSTILE}
    data = {"name": HOSTILE, "classes": 2, "train": 100, "validation": 20, "test": 100}
    sites = [f"block1.{HOSTILE}", "block2.conv", f"head.{HOSTILE}"]
    run.start(strategy=HOSTILE, subgroups=["C1", HOSTILE, "D4"], sites=sites, data=data)
    run.epoch(0, 4, 1.0, 0.3)
    run.candidate(0, None, 0, ["D4", "D4", "D4"], parameters=100, epochs=(0, 4), error=0.3, move=HOSTILE)
    run.epoch(1, 8, 0.5, 0.2)
    run.candidate(2, 0, 1, ["D4", HOSTILE, HOSTILE], parameters=150, epochs=(4, 8), error=0.4, move=HOSTILE)
    run.candidate(1, 0, 1, ["D4", HOSTILE, "C1"], parameters=150, epochs=(4, 8), error=0.2, move=HOSTILE)
    run.result(1, [0, 1], samples=800)
    return run


def shares_of(*largest):
    """The shares of `SITES` over D4, C4 and C1: at each site what D4 and C4 have."""
    return {
        site: {"D4": whole, "C4": turns, "C1": 1 - whole - turns}
        for site, (whole, turns) in zip(SITES, largest, strict=True)
    }


def begin_mixture(run, last, **changes):
    run.start(strategy="differentiable", subgroups=["C1", "C4", "D4"], **({"generations": 0} | changes))
    run.mixture(0, 0, shares_of((0.5, 0.25), (0.5, 0.25), (0.5, 0.25)))
    run.epoch(0, last, 1.0, 0.5)
    run.mixture(0, last, shares_of((0.75, 0.125), (0.625, 0.25), (0.25, 0.5)))
    run.candidate(0, None, 0, ["C1"] * 3, parameters=400, epochs=(0, last), error=0.5, move="mixture")
    run.selection(0, [0], [0])


@pytest.fixture
def mixture_run(empty_run):
    """The best network is a mixture: mostly D4 in two layers, half C4 in the head."""
    begin_mixture(empty_run, 8)
    empty_run.result(0, [0], samples=800)
    return empty_run


@pytest.fixture
def discretised_run(empty_run):
    """The same mixture until epoch 4, then D4, D4, C4."""
    begin_mixture(empty_run, 4, generations=1)
    empty_run.epoch(1, 8, 0.5, 0.2)
    empty_run.candidate(1, 0, 1, ["D4", "D4", "C4"], parameters=100, epochs=(4, 8), error=0.2, move="discretise")
    empty_run.selection(1, [1], [1])
    empty_run.result(1, [1], samples=800)
    return empty_run


@pytest.fixture
def retrained_run(empty_run):
    """The same mixture, trained once more from its beginning with frozen weights."""
    begin_mixture(empty_run, 8, generations=1)
    for epoch in (0, 8):
        empty_run.mixture(1, epoch, shares_of((0.75, 0.125), (0.625, 0.25), (0.25, 0.5)))
    empty_run.epoch(1, 8, 0.5, 0.2)
    move = "retrain with z frozen"
    empty_run.candidate(1, 0, 1, ["C1"] * 3, parameters=400, epochs=(0, 8), error=0.2, move=move)
    empty_run.selection(1, [1], [1])
    empty_run.result(1, [1], samples=1600)
    return empty_run


def comparison_row(strategy, seed, test_error, **changes):
    """A row of a comparison in which only what matters was said."""
    values = {"data": "digits", "group": "D4", "network": "8 convolutions", "split": seed, "architecture": "D4 ×8"}
    values |= {"epochs": 30.0, "parameters": 1000, "samples": 6000, "seconds": 10.0, "validation_error": test_error}
    return Row(
        **(values | {"test_samples": 1000, "strategy": strategy, "seed": seed, "test_error": test_error} | changes)
    )


@pytest.fixture
def row():
    return comparison_row


@pytest.fixture
def compared():
    """Five seeds of two fixed architectures and a search that wins against one and not clearly against the other."""
    errors = {
        "static:C1": [0.080, 0.085, 0.090, 0.095, 0.100],
        "static:C4": [0.050, 0.052, 0.048, 0.051, 0.049],
        "evolutionary": [0.049, 0.053, 0.046, 0.052, 0.047],
    }
    changes = {"evolutionary": {"samples": 24000, "seconds": 90.0, "parameters": 1500, "architecture": "D4, C4 ×7"}}
    return [
        comparison_row(strategy, seed, error, **changes.get(strategy, {}))
        for strategy, of_seed in errors.items()
        for seed, error in enumerate(of_seed)
    ]
