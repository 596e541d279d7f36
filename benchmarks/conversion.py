"""How long does it take to convert a network as large as ResNet-18, and what does the plain export cost to run?

Builds ResNet-18 with random values, converts it to a group, exports it as ordinary torch, and runs the export and the
ordinary network of the same dense shapes in turns, all in this one process. Prints the seconds of the conversion and of
the export (medians), and the median ratio of a forward pass.

    python benchmarks/conversion.py
    python benchmarks/conversion.py --device cuda --batch-size 256 --json conversion.json
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import warnings
from pathlib import Path

import torch
from measuring import machine, seconds
from torch import nn

import equimorph as em
from equimorph.errors import EquivarianceWarning


class Block(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or entering != leaving:
            self.downsample = nn.Sequential(
                nn.Conv2d(entering, leaving, 1, stride, bias=False), nn.BatchNorm2d(leaving)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the two."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def resnet18(num_classes: int = 1000) -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    parts.append(nn.MaxPool2d(3, 2, 1))
    entering = 64
    for leaving, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        parts += [Block(entering, leaving, stride), Block(leaving, leaving, 1)]
        entering = leaving
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_classes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", default="D4")
    parser.add_argument("--image-size", type=int, default=225, help="225 keeps the grid at every stride, 224 does not")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--conversions", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=15, help="turns of the forward passes; one more goes before")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    arguments = parser.parse_args()
    device = arguments.device

    ordinary = resnet18().eval().to(device)
    example = torch.randn(1, 3, arguments.image_size, arguments.image_size, device=device)
    found: list[nn.Module] = []

    def convert() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EquivarianceWarning)
            found.append(em.equivariantize(ordinary, arguments.group, example))

    converting = statistics.median(seconds(convert, device) for _ in range(arguments.conversions))
    network = found[-1]
    exporting = statistics.median(seconds(lambda: em.plain(network, example), device) for _ in range(3))
    runs = {
        "plain": em.plain(network, example),
        "folded": em.plain(network, example, fold_norms=True),
        "ordinary": copy.deepcopy(ordinary),
    }
    batch = torch.randn(arguments.batch_size, *example.shape[1:], device=device)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    with torch.no_grad():
        for turn in range(arguments.rounds + 1):
            for name, run in runs.items():
                used = seconds(lambda run=run: run(batch), device)  # type: ignore[misc]
                if turn:  # the first turn warms up
                    taken[name].append(used)
    ratios = {
        name: statistics.median(a / b for a, b in zip(taken[name], taken["ordinary"], strict=True)) for name in runs
    }
    told = machine(device)
    sizes = {name: sum(p.numel() for p in one.parameters()) for name, one in (("before", ordinary), ("after", network))}
    print(f"{told}, PyTorch {torch.__version__}, ResNet-18 -> {arguments.group} at {arguments.image_size}")
    print(f"parameters          {sizes['before']:,} -> {sizes['after']:,}")
    print(f"equivariance error  {network.conversion.error:.1e} (exact: {network.conversion.exact})")
    print(f"conversion          {converting:.2f} s")
    print(f"plain export        {exporting:.2f} s")
    print(
        f"forward, plain      {ratios['plain']:.3f} of the ordinary network ({ratios['folded']:.3f} with norms folded)"
    )
    if arguments.json is not None:
        figures = {
            "machine": told,
            "torch": torch.__version__,
            "group": arguments.group,
            "image_size": arguments.image_size,
            "batch_size": arguments.batch_size,
            "conversion_seconds": converting,
            "plain_seconds": exporting,
            "error": network.conversion.error,
            "exact": network.conversion.exact,
            "parameters": sizes,
            "forward_ratio": ratios,
        }
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
