"""How much symmetry should an ordinary residual network of one's own keep on turned digits?

Converts a network of torch's layers, prints what became of it, searches, audits the result and exports it as ONNX or as
plain torch. About half a minute on two cores; writes the folder given by --out, when it is given. `--epochs 1` for a
quick look.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import equimorph as em
from equimorph.reports.words import describe_architecture


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(leaving)
        self.shortcut = nn.Conv2d(entering, leaving, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the two branches."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def ordinary_network(in_channels: int, num_classes: int) -> nn.Module:
    """Nothing here knows of equimorph."""
    return nn.Sequential(
        Block(in_channels, 32),
        nn.MaxPool2d(2),
        Block(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=20)
    parser.add_argument("--out", default=None, help="the folder to export to")
    parser.add_argument("--format", default="torch", help="torch, onnx or torch-export")
    options = parser.parse_args(arguments)
    data = em.data.load("digits")
    example = data.standardize(data.train.x[:2])

    torch.manual_seed(0)
    network = em.equivariantize(ordinary_network(data.in_channels, data.num_classes), "D4", example)
    print(network.conversion)

    settings = em.training.TrainingSettings(epochs=options.epochs, optimizer="adam", lr=3e-3)
    result = em.search.Growth(groups=["C1", "C4", "D4"]).run(network, data, training=settings)
    print(describe_architecture(list(em.sites(result.best)), result.candidate.constraints))
    print(f"Test error {100 * result.test_error:.1f} %.")
    first = em.audit(result.best, example).first
    print("It commutes with all of D4." if first is None else f"First without all of D4: {first.name}, {first.reason}.")
    if options.out is not None:
        done = em.export(result.best, options.out, format=options.format, example=example[:1], labels=data.classes)
        print(f"Wrote {', '.join(done.files)}; outputs differ by {done.largest_difference:.0e}.")


if __name__ == "__main__":
    main()
