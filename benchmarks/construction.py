"""How long does it take to build wide and deep networks, and how much memory do they hold?

Each is built in a process of its own, after everything is imported: seconds until it exists, the seconds again for a
second one in the same process (when index tables and subgroups are known already), and the memory that the process has
taken at most and holds at the end, as ratios to an ordinary network of the same dense width.

    python benchmarks/construction.py
    python benchmarks/construction.py --only wide --with-escnn
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
from measuring import parser, peak_bytes, report, table
from torch import nn

import equimorph as em

WIDE = {"image_size": 32, "in_channels": 3, "num_classes": 10, "fields": (20, 40, 80), "blocks": 4}
VOLUME = {"image_size": 16, "in_channels": 1, "num_classes": 10, "fields": (2, 4), "depth": 4, "kernel_size": 3}
DEEP = {"image_size": 32, "in_channels": 3, "num_classes": 10, "fields": (2, 4, 8), "blocks": 18}


def ordinary(fields: tuple[int, ...], blocks: int, order: int = 8) -> nn.Module:
    """The convolutions and norms of a residual network of that dense width, in torch's own classes."""
    parts: list[nn.Module] = []
    entering = 3
    for number, stage in enumerate(fields):
        width = stage * order
        if number == 0:
            parts.append(nn.Conv2d(entering, width, 3, padding=1, bias=False))
            entering = width
        for _ in range(blocks):
            if entering != width:
                parts.append(nn.Conv2d(entering, width, 1, bias=False))
            for leaving in (width, width):
                parts += [nn.Conv2d(entering, leaving, 3, padding=1, bias=False), nn.BatchNorm2d(leaving)]
                entering = leaving
    return nn.Sequential(*parts, nn.Linear(entering, 10))


def ordinary_volume() -> nn.Module:
    """Likewise, of the network for volumes."""
    parts: list[nn.Module] = []
    entering = 1
    for width in (96, 96, 192, 192):
        parts += [nn.Conv3d(entering, width, 3, padding=1, bias=False), nn.BatchNorm3d(width)]
        entering = width
    return nn.Sequential(*parts, nn.Linear(entering, 64), nn.Linear(64, 10))


def with_escnn() -> nn.Module:
    """The convolutions and norms of the wide network, by escnn."""
    from escnn import gspaces
    from escnn import nn as enn

    space = gspaces.flipRot2dOnR2(N=4)
    parts: list[nn.Module] = []
    entering = enn.FieldType(space, 3 * [space.trivial_repr])
    for stage in WIDE["fields"]:
        for _ in range(2 * WIDE["blocks"] + (stage == WIDE["fields"][0])):
            leaving = enn.FieldType(space, stage * [space.regular_repr])
            parts += [enn.R2Conv(entering, leaving, 3, padding=1, bias=False), enn.InnerBatchNorm(leaving)]
            entering = leaving
    return nn.ModuleList(parts)


def mixture() -> nn.Module:
    return em.mix(em.models.ResNet(group="D4", **WIDE))


BUILDS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "wide: ordinary, as wide as WideResNet-28-10": ("wide", lambda: ordinary((20, 40, 80), 4)),
    "wide: static D4": ("wide", lambda: em.models.ResNet(group="D4", **WIDE)),
    "wide: static C4": ("wide", lambda: em.models.ResNet(group="D4", constraints="C4", **WIDE)),
    "wide: mixture of six": ("wide", mixture),
    "deep: ordinary, 109 convolutions": ("deep", lambda: ordinary((2, 4, 8), 18)),
    "deep: static D4": ("deep", lambda: em.models.ResNet(group="D4", **DEEP)),
    "volume: ordinary": ("volume", ordinary_volume),
    "volume: static Oh": ("volume", lambda: em.models.PaperNetwork(group="Oh", **VOLUME)),
    "volume: static O": ("volume", lambda: em.models.PaperNetwork(group="Oh", constraints="O", **VOLUME)),
}
ESCNN = "wide: escnn, D4"


def measured(build: Callable[[], nn.Module]) -> dict[str, float]:
    """In this process, which has built nothing yet."""
    torch.zeros(1)
    gc.collect()
    before = peak_bytes()
    began = time.perf_counter()
    network = build()
    first = time.perf_counter() - began
    peak = peak_bytes() - before
    held = sum(one.numel() * one.element_size() for one in network.parameters())
    tables = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in network.buffers()}
    began = time.perf_counter()
    build()
    return {
        "seconds": first,
        "seconds again": time.perf_counter() - began,
        "peak bytes": peak,
        "parameter bytes": held,
        "buffer bytes": sum(tables.values()),
    }


def in_a_process(name: str, most_seconds: float | None = None) -> dict[str, float] | None:
    """None where it takes too long."""
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--child", name],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=most_seconds,
        )
    except subprocess.TimeoutExpired:
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    options = parser(__doc__, rounds=3)
    options.add_argument("--only", default="wide,deep,volume", help="which of these, with commas")
    options.add_argument("--with-escnn", action="store_true", help="also escnn's, which takes minutes")
    options.add_argument("--escnn-seconds", type=float, default=900.0, help="the most that this may take")
    options.add_argument("--child", default=None, help="build this one and print what it took")
    arguments = options.parse_args()
    if arguments.child:
        warnings.simplefilter("ignore")
        build = with_escnn if arguments.child == ESCNN else BUILDS[arguments.child][1]
        print(json.dumps(measured(build)))
        return

    figures: dict[str, dict[str, float] | None] = {}
    chosen = [name for name, (kind, _) in BUILDS.items() if kind in arguments.only.split(",")]
    for name in chosen:
        runs = [found for _ in range(arguments.rounds) if (found := in_a_process(name)) is not None]
        figures[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]} if runs else None
    if arguments.with_escnn:
        figures[ESCNN] = in_a_process(ESCNN, arguments.escnn_seconds)

    rows = []
    for name, found in figures.items():
        beside = next(one for other, one in figures.items() if other.split(":")[0] == name.split(":")[0])
        if found is None or beside is None:
            rows.append([name, f"more than {arguments.escnn_seconds:.0f}", *["-"] * 4])
            continue
        rows.append(
            [
                name,
                f"{found['seconds']:.2f}",
                f"{found['seconds again']:.2f}",
                f"{found['peak bytes'] / 2**20:.0f} MiB",
                f"{found['peak bytes'] / beside['peak bytes']:.2f}",
                f"{(found['parameter bytes'] + found['buffer bytes']) / 2**20:.0f} MiB",
            ]
        )
    head = [
        "network",
        "seconds",
        "seconds, a second one",
        "memory taken at most",
        "to ordinary",
        "parameters and tables",
    ]
    report({"Building networks": table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
