"""How much of a training step is not convolution, norm and pointwise work?

Trains the paper's network by the library's own loop, with everything that a run has (batches drawn from the data on
the device, standardising, the watch over the loss, the optimizer), for a small network and one of the paper's size.
Prints the share of each kind of work in the time of a step, and the time of the loop's step as a ratio to a bare step:
forward, loss, backward and optimizer on one batch that is there already.

Work is told apart by the names of the operations in a profile; what no operation accounts for is Python's.

    python benchmarks/training_loop.py
    python benchmarks/training_loop.py --device cuda --precision bf16-mixed --steps 100 --calls 1
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measuring import parser, ratio, report, seconds_in_turns, synchronize, table
from torch import nn
from torch.profiler import ProfilerActivity, profile

import equimorph as em
from equimorph.search.differentiable import Differentiable
from equimorph.training import Trainer, TrainingSettings

KINDS = {
    "convolution": ("conv", "mkldnn", "cudnn", "gemm", "mm", "linear", "implicit", "wgrad", "dgrad"),
    "norm": ("batch_norm", "bn_fw", "bn_bw", "norm"),
    "pooling": ("pool",),
    "making kernels": ("shuffle", "embedding_bag", "index_select", "embeddingbag", "indexselect"),
}
OPTIMIZER, POINTWISE = "optimizer", "pointwise and copies"
SIZES = {
    "small: fields 4, 8, images of 12², batch 64": {"fields": (4, 8), "image_size": 12, "steps": 40},
    "paper: fields 16, 32, images of 28², batch 64": {"fields": (16, 32), "image_size": 28, "steps": 2},
}


def noise(image_size: int, batch_size: int) -> em.data.ImageData:
    x = torch.randn(64 * batch_size, 1, image_size, image_size)
    train = em.data.Split(x, torch.randint(10, (len(x),)))
    few = train.part(torch.arange(2))
    return em.data.ImageData.from_splits("noise", train, few, few, classes=tuple("0123456789"))


def kind_of(operation: str) -> str:
    name = operation.lower()
    return next((kind for kind, marks in KINDS.items() if any(mark in name for mark in marks)), POINTWISE)


def shares(work: Callable[[], object], device: str) -> dict[str, float]:
    """Of the time of some work, the share of each kind; "Python and waiting" is what no operation accounts for."""
    on_gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, acc_events=True) as found:
        began = time.perf_counter()
        work()
        synchronize(device)
        whole = (time.perf_counter() - began) * 1e6
    taken: Counter[str] = Counter()
    for event in found.key_averages():
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if event.key.startswith(("aten::", "void", "cudnn", "sm", "nvjet", "ampere", "Memcpy", "Memset")) and spent:
            taken[kind_of(event.key)] += spent
        elif event.key.startswith("Optimizer.step"):
            within = event.device_time_total if on_gpu else event.cpu_time_total - event.self_cpu_time_total
            taken[OPTIMIZER] += within
            taken[POINTWISE] -= within  # as which its operations are counted, too
    taken["Python and waiting"] = max(0, whole - sum(taken.values()))
    return {kind: spent / whole for kind, spent in taken.most_common()}


def compared(size: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """For the static network and the search: shares, and the loop's step to a bare one."""
    image_size, steps, device = size["image_size"], arguments.steps or size["steps"], arguments.device
    data = noise(image_size, 64)
    trainer = Trainer(data, TrainingSettings(batch_size=64, device=device, precision=arguments.precision))
    network = em.models.PaperNetwork(
        group="D4", image_size=image_size, in_channels=1, num_classes=10, fields=size["fields"]
    )
    way = Differentiable(batches="same")
    found = {}
    for name, one in {"static D4": network, "mixture, single backward": em.mix(network)}.items():
        state = trainer.start(one)
        how = way.training_of(one, trainer, trainer.total_steps) if name != "static D4" else None
        architecture = how.architecture if how else None

        def loop(state: Any = state, architecture: Any = architecture) -> None:
            trainer.advance(state, state.step + steps, architecture=architecture)

        loop()
        bare = bare_steps(state.network, trainer, steps, arguments)
        works = {"loop": loop, "bare": bare}
        taken = seconds_in_turns(works, rounds=arguments.rounds, device=device, calls=arguments.calls)
        found[name] = {
            "seconds a step": sorted(taken["loop"])[len(taken["loop"]) // 2] / steps,
            "to a bare step": ratio(taken, "loop", "bare"),
            "shares": shares(loop, device),
        }
    return found


def bare_steps(network: nn.Module, trainer: Trainer, steps: int, arguments: argparse.Namespace) -> Callable[[], None]:
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=1e-6, momentum=0.9)
    x, y = trainer.batches.at(0)
    kind = arguments.precision.partition("-")[0]
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(kind)

    def work() -> None:
        network.train()
        for _ in range(steps):
            with torch.autocast(x.device.type, dtype=dtype, enabled=dtype is not None):
                loss = F.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return work


def main() -> None:
    options = parser(__doc__, rounds=9)
    options.add_argument("--precision", default="32", help="32, bf16-mixed or 16-mixed")
    options.add_argument("--steps", type=int, default=None, help="in a turn; 40 of the small network, 2 of the large")
    options.add_argument("--sizes", default=",".join(name.partition(":")[0] for name in SIZES), help="small, paper")
    arguments = options.parse_args()
    chosen = arguments.sizes.split(",")
    figures = {title: compared(size, arguments) for title, size in SIZES.items() if title.partition(":")[0] in chosen}
    kinds = [*KINDS, OPTIMIZER, POINTWISE, "Python and waiting"]
    rows = []
    for title, found in figures.items():
        for name, one in found.items():
            cells = [f"{100 * one['shares'].get(kind, 0):.1f} %" for kind in kinds]
            rows.append([f"{title}; {name}", *cells, f"{one['seconds a step']:.4f}", one["to a bare step"]])
    text = table(["network", *kinds, "seconds a step", "loop to a bare step"], rows)
    report({"Where the time of a training step goes": text}, figures, arguments)


if __name__ == "__main__":
    main()
