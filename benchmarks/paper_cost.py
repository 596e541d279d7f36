"""What would the paper's setting at full size cost on this machine?

RotMNIST: 10,800 training images of 28², the paper's network of 16 and 32 fields, batches of 64. The seconds of a step
are measured by the library's own loop, for a static network and for the mixture with one and with two batches a step;
everything else is counted. Evaluating is left out, about a tenth of an epoch's training on 1,200 validation images.

How many candidates the evolutionary search trains depends on what it selects. They are counted for parents drawn at
random, five a generation, each with all its moves: for the paper's setting, and for the library's defaults.

    python benchmarks/paper_cost.py
    python benchmarks/paper_cost.py --device cuda --precision bf16-mixed
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import torch
from measuring import parser, ratio, report, seconds_in_turns, table
from search_cost import prepared

import equimorph as em
from equimorph.search.differentiable import Differentiable
from equimorph.search.moves import Chain, relaxations
from equimorph.training import Trainer, TrainingSettings

IMAGES, BATCH, EPOCHS, SITES = 10_800, 64, 100, 9
STATIC, SINGLE, DOUBLE = "static D4", "mixture, single backward", "mixture, two batches"


def steps_of(trainer: Trainer, fields: tuple[int, int], steps: int) -> dict[str, Callable[[], object]]:
    """A few steps of each way of training."""
    network = em.models.PaperNetwork(group="D4", image_size=28, in_channels=1, num_classes=10, fields=fields)
    runs = {STATIC: (trainer.start(em.relax(network, "D4")), None)}
    for name, way in ((SINGLE, Differentiable(batches="same")), (DOUBLE, Differentiable(batches="train"))):
        state, how = prepared(way, network, trainer)
        runs[name] = state, how.architecture

    def work(name: str) -> Callable[[], object]:
        state, architecture = runs[name]
        return lambda: trainer.advance(state, state.step + steps, architecture=architecture)

    return {name: work(name) for name in runs}


def candidates(generations: int, population: int, moves: str, children: int | None, turns: int = 20) -> list[float]:
    """The mean number of candidates in each generation, for parents that are drawn at random."""
    members = em.search_groups("D4")
    draw = random.Random(0)
    counts = []
    for _ in range(turns):
        parents: list[Chain] = [(em.group("D4").whole,) * SITES]
        found = []
        for _ in range(generations):
            born = dict.fromkeys(parents)
            for parent in parents:
                born.update(dict.fromkeys(relaxations(parent, members, moves)))  # type: ignore[arg-type]
            trained = list(born)[: children or None] if children else list(born)
            found.append(len(trained))
            parents = draw.sample(trained, min(population, len(trained)))
        counts.append(found)
    return [statistics.mean(column) for column in zip(*counts, strict=True)]


def in_words(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("--fields", default="16,32")
    options.add_argument("--steps", type=int, default=2, help="training steps between two turns")
    options.add_argument("--precision", default="32", help="32, bf16-mixed or 16-mixed")
    arguments = options.parse_args()
    first, second = (int(number) for number in arguments.fields.split(","))
    noise = torch.randn(20 * BATCH, 1, 28, 28)
    train = em.data.Split(noise, torch.randint(10, (len(noise),)))
    few = train.part(torch.arange(2))
    data = em.data.ImageData.from_splits("noise", train, few, few, classes=tuple("0123456789"))
    settings = TrainingSettings(batch_size=BATCH, device=arguments.device, precision=arguments.precision)
    trainer = Trainer(data, settings)
    works = steps_of(trainer, (first, second), arguments.steps)
    taken = seconds_in_turns(works, rounds=arguments.rounds, device=arguments.device, warm_up=1, calls=arguments.calls)
    step = {name: statistics.median(found) / arguments.steps for name, found in taken.items()}

    per_epoch = math.ceil(IMAGES / BATCH)
    rows, figures = [], {"seconds a step": step, "ratios": {name: ratio(taken, name, STATIC) for name in step}}
    for name in (STATIC, SINGLE, DOUBLE):
        runs = f"{EPOCHS} epochs"
        rows.append([name, runs, f"{step[name]:.3f}", f"{EPOCHS:.0f}", in_words(EPOCHS * per_epoch * step[name])])
    # A third of the lineage before the first move, as the library has it; the rest shared out over the generations.
    paper = candidates(50, 5, "paper", None)
    ours = candidates(2, 2, "tails", 3)
    for name, counts, begun, of_one in (
        ("evolutionary, the paper's setting", paper, EPOCHS / 3, 2 / 3 * EPOCHS / len(paper)),
        ("evolutionary, the library's defaults", ours, 6 * 0.6 * EPOCHS, 0.4 * EPOCHS / len(ours)),
    ):
        epochs = begun + sum(counts) * of_one
        told = f"{len(counts)} generations, {statistics.mean(counts):.0f} candidates each"
        rows.append([name, told, f"{step[STATIC]:.3f}", f"{epochs:.0f}", in_words(epochs * per_epoch * step[STATIC])])
        figures[name] = {"candidates": counts, "epochs": epochs}
    head = ["method", "runs", "seconds a step", "epochs trained in all", "cost"]
    report({f"RotMNIST at full size, fields {arguments.fields}": table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
