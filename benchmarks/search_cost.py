"""What does the differentiable search cost beside training one static network of the same dense width?

Trains a static network and mixtures over the six subgroups of D4 for the same steps, all in this one process and in
turns, so that a slow moment of the machine meets all alike. Prints, for each way of training the mixture weights, the
ratio of training samples and the median ratio of seconds.

    python benchmarks/search_cost.py
    python benchmarks/search_cost.py --fields 16,32 --steps 4 --device cuda --json cost.json
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from measuring import parser, ratio, report, seconds_in_turns, table

import equimorph as em
from equimorph.search.differentiable import Differentiable
from equimorph.search.session import How
from equimorph.training import Trainer, TrainingSettings, TrainingState, architecture_parameters

WAYS = {
    "single backward": Differentiable(batches="same"),
    "single backward, tied": Differentiable(batches="same", tied=True),
    "two batches": Differentiable(batches="train"),
    "two batches, held out": Differentiable(batches="held-out"),
    "two batches, held out, tied": Differentiable(batches="held-out", tied=True),
}


def prepared(way: Differentiable, network: torch.nn.Module, trainer: Trainer) -> tuple[TrainingState, How]:
    mixture = em.mix(network, start=way.start, tied=way.tied)
    for logits in architecture_parameters(mixture):
        logits.requires_grad_(False)
    state = trainer.start(mixture)
    return state, way.training_of(mixture, trainer, trainer.total_steps)


def stretch(trainer: Trainer, state: TrainingState, steps: int, how: How) -> Callable[[], object]:
    """So many steps of a training, from where it is."""
    return lambda: trainer.advance(state, state.step + steps, batches=how.batches, architecture=how.architecture)


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("--image-size", type=int, default=28)
    options.add_argument("--fields", default="8,16")
    options.add_argument("--depth", type=int, default=8)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--steps", type=int, default=2, help="training steps between two turns")
    arguments = options.parse_args()
    fields = tuple(int(number) for number in arguments.fields.split(","))

    noise = torch.randn(20 * arguments.batch_size, 1, arguments.image_size, arguments.image_size)
    train = em.data.Split(noise, torch.randint(10, (len(noise),)))
    few = em.data.Split(train.x[:2], train.y[:2])  # looked at in each turn
    data = em.data.ImageData.from_splits("noise", train, few, few, classes=tuple("0123456789"))
    trainer = Trainer(data, TrainingSettings(batch_size=arguments.batch_size, device=arguments.device))
    network = em.models.PaperNetwork(
        group="D4",
        image_size=arguments.image_size,
        in_channels=1,
        num_classes=10,
        fields=fields,
        depth=arguments.depth,
    )
    runs = {"static D4": (trainer.start(em.relax(network, "D4")), How())}
    runs |= {"static C1": (trainer.start(em.relax(network, "C1")), How())}
    runs |= {name: prepared(way, network, trainer) for name, way in WAYS.items()}
    works = {name: stretch(trainer, state, arguments.steps, how) for name, (state, how) in runs.items()}
    taken = seconds_in_turns(works, rounds=arguments.rounds, device=arguments.device, warm_up=1, calls=arguments.calls)
    rows, figures = [], {}
    for name, (_, how) in runs.items():
        against = {static: ratio(taken, name, static) for static in ("static D4", "static C1")}
        samples = how.samples_per_step(trainer) / trainer.batch_size
        used = statistics.median(taken[name]) / arguments.steps
        figures[name] = {"samples": samples, "seconds": used, **against}
        rows.append([name, f"{samples:.2f}", f"{used:.3f}", *against.values()])
    head = ["run", "samples a step, to static", "seconds a step", "to static D4", "to static C1"]
    title = f"Cost of the differentiable search: fields {arguments.fields}, batch {arguments.batch_size}"
    report({title: table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
