"""Does a small network of one's own, too, find the symmetry of turned digits?

Builds three convolutions and a head from equimorph's layers, searches with both sets of moves, and prints what each
found. About a minute on two cores; writes nothing. `--epochs 1` for a quick look.
"""

from __future__ import annotations

import argparse

from torch import nn

import equimorph as em
from equimorph.reports.words import describe_architecture


def make_network(group: str, fields: int, num_classes: int) -> nn.Sequential:
    layers = em.layers
    return nn.Sequential(
        layers.Conv2d(1, fields, 5, group=group, source="trivial", padding="same", bias=False),
        layers.BatchNorm(fields, group=group),
        nn.ReLU(),
        layers.AvgPool(2),
        layers.Conv2d(fields, 2 * fields, 5, group=group, padding="same", bias=False),
        layers.BatchNorm(2 * fields, group=group),
        nn.ReLU(),
        layers.AvgPool(2),
        layers.Conv2d(2 * fields, 2 * fields, 3, group=group, bias=False),
        layers.BatchNorm(2 * fields, group=group),
        nn.ReLU(),
        layers.GlobalAvgPool(),
        layers.Linear(2 * fields, num_classes, group=group),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=20)
    options = parser.parse_args(arguments)
    data = em.data.load("digits")
    settings = em.training.TrainingSettings(epochs=options.epochs, optimizer="adam", lr=3e-3)
    for moves in ("paper", "tails"):
        search = em.search.Evolutionary(
            groups=["C1", "C4", "D4"],
            generations=2,
            population=2,
            children=None,
            start="group",
            selection="pareto",
            moves=moves,
        )
        network = make_network("D4", 4, data.num_classes)
        result = search.run(network, data, training=settings)
        words = describe_architecture(list(em.sites(result.best)), result.candidate.constraints)
        print(f"moves {moves}: {words} Test error {100 * result.test_error:.1f} %.")


if __name__ == "__main__":
    main()
