"""One training from beginning to end, at the paper's size: what it took and how well the network does.

The network is the paper's, on rotated MNIST of 28² with 16 and 32 fields. The paper's two searches are also there, by
the names `paper-E` and `paper-D`, with the settings of its section 5 as far as the length allows.

    EQUIMORPH_DATA=DATA python benchmarks/training_run.py --device cuda --strategy static:C4 --epochs 20
"""

from __future__ import annotations

import argparse
import time

import torch
from measuring import parser, report, table

import equimorph as em
from equimorph.search import strategy_named
from equimorph.training import TrainingSettings

PAPER = {
    # SGD; moves of one site, one network at G to begin with, Pareto selection of five.
    "paper-E": "evolutionary:start=group+selection=pareto+moves=paper+population=5+children=none",
    # Adam on both at 1e-3, alternating batches of the training set, and the mixture is the result.
    "paper-D": "differentiable:batches=train+start=uniform+result=mixture+architecture_lr=0.001",
}
ADAM = ("paper-D",)


def settings_of(arguments: argparse.Namespace) -> TrainingSettings:
    optimizer = "adam" if arguments.strategy in ADAM else "sgd"
    return TrainingSettings(
        epochs=arguments.epochs,
        optimizer=optimizer,
        batch_size=arguments.batch_size,
        device=arguments.device,
        precision=arguments.precision,
        seed=arguments.seed,
    )


def main() -> None:
    options = parser(__doc__, rounds=1)
    options.add_argument("--strategy", default="static:D4", help="as `equimorph search` has them, or paper-D, paper-E")
    options.add_argument("--data", default="rotmnist")
    options.add_argument("--fields", default="16,32")
    options.add_argument("--epochs", type=float, default=20)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--precision", default="bf16-mixed")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    first, second = (int(number) for number in arguments.fields.split(","))
    data = em.data.load(arguments.data)
    network = em.models.PaperNetwork(
        group="D4",
        image_size=data.image_size,
        in_channels=data.in_channels,
        num_classes=data.num_classes,
        fields=(first, second),
        generator=torch.Generator().manual_seed(arguments.seed),
    )
    options_of_search = {"generations": 6, "initial_epochs": 0.4 * arguments.epochs, "children": 8}
    name = PAPER.get(arguments.strategy, arguments.strategy)
    strategy = strategy_named(name, evolutionary=options_of_search if arguments.strategy == "paper-E" else None)
    began = time.perf_counter()
    result = strategy.run(network, data, training=settings_of(arguments))
    wall = time.perf_counter() - began
    epochs = [line for line in result.history if line["event"] == "epoch"]
    figures = {
        "strategy": arguments.strategy,
        "seed": arguments.seed,
        "epochs": arguments.epochs,
        "fields": arguments.fields,
        "precision": arguments.precision,
        "test_error": result.test_error,
        "validation_error": result.candidate.validation_error,
        "constraints": list(result.candidate.constraints),
        "wall_seconds": wall,
        "cost": result.history[-1]["samples"] / (arguments.epochs * len(data.train)),
        "curve": [[line["epoch"], line["train_loss"], line["validation_error"]] for line in epochs],
    }
    head = ["strategy", "seed", "epochs", "test error, %", "ends at", "seconds", "trainings"]
    ends = "·".join(dict.fromkeys(result.candidate.constraints))
    error = f"{100 * result.test_error:.2f}"
    row = [arguments.strategy, arguments.seed, arguments.epochs, error, ends, f"{wall:.0f}", f"{figures['cost']:.2f}"]
    report({"A training at the paper's size": table(head, [row])}, figures, arguments)


if __name__ == "__main__":
    main()
