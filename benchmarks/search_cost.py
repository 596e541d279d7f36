"""What does the differentiable search cost beside training one static network of the same dense width?

Trains a static network and mixtures over the six subgroups of D4 for the same steps, all in this one process and in
turns, so that a slow moment of the machine meets all alike. Prints, for each way of training the mixture weights, the
ratio of training samples and the median ratio of seconds.

    python benchmarks/search_cost.py
    python benchmarks/search_cost.py --fields 16,32 --steps 4 --device cuda --json cost.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

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


def seconds(trainer: Trainer, state: TrainingState, steps: int, how: How) -> float:
    if trainer.fabric.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    trainer.advance(state, state.step + steps, batches=how.batches, architecture=how.architecture)
    if trainer.fabric.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--fields", default="8,16")
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2, help="training steps between two turns")
    parser.add_argument("--rounds", type=int, default=5, help="turns that count; one more goes before")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    arguments = parser.parse_args()
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
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(arguments.rounds + 1):
        for name, (state, how) in runs.items():
            used = seconds(trainer, state, arguments.steps, how)
            if turn:  # the first turn warms up
                taken[name].append(used / arguments.steps)

    machine = f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}"
    if trainer.fabric.device.type == "cuda":
        machine = torch.cuda.get_device_name()
    rows = []
    for name, (_, how) in runs.items():
        against = {
            static: statistics.median(a / b for a, b in zip(taken[name], taken[static], strict=True))
            for static in ("static D4", "static C1")
        }
        samples = how.samples_per_step(trainer) / trainer.batch_size
        rows.append({"run": name, "samples": samples, "seconds": statistics.median(taken[name]), **against})
    print(f"{machine}, PyTorch {torch.__version__}, fields {arguments.fields}, batch {arguments.batch_size}\n")
    print("| run | samples a step, to static | seconds a step | to static D4 | to static C1 |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        ratios = f"{row['static D4']:.2f} | {row['static C1']:.2f}"
        print(f"| {row['run']} | {row['samples']:.2f} | {row['seconds']:.3f} | {ratios} |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"machine": machine, "torch": torch.__version__, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
