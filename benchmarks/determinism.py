"""Do two runs give the same bits?

Trains the same network twice, from the same seed, by the library's own loop, and compares all parameters and statistics
of norms; for static networks and mixtures, in float32 and mixed precision. "As it comes" leaves PyTorch's settings
alone; "deterministic" trains with `TrainingSettings(deterministic=True)`, whose price in seconds is told beside it.

    python benchmarks/determinism.py
    python benchmarks/determinism.py --device cuda --fields 16,32
"""

from __future__ import annotations

import argparse
import itertools
import statistics

import torch
from measuring import parser, ratio, report, seconds_in_turns, table
from torch import Tensor, nn

import equimorph as em
from equimorph.training import Trainer, TrainingSettings

BATCH = 64
NETWORKS = ("static D4", "static C1", "mixture of six")


def data_of(image_size: int) -> em.data.ImageData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16 * BATCH, 1, image_size, image_size, generator=generator)
    train = em.data.Split(x, torch.randint(10, (len(x),), generator=generator))
    few = train.part(torch.arange(BATCH))
    return em.data.ImageData.from_splits("noise", train, few, few, classes=tuple("0123456789"))


def network_of(kind: str, fields: tuple[int, int], image_size: int) -> nn.Module:
    network = em.models.PaperNetwork(
        group="D4",
        image_size=image_size,
        in_channels=1,
        num_classes=10,
        fields=fields,
        generator=torch.Generator().manual_seed(0),
    )
    return em.mix(network) if kind == "mixture of six" else em.relax(network, kind.removeprefix("static "))


def trained(kind: str, trainer: Trainer, steps: int, fields: tuple[int, int], image_size: int) -> dict[str, Tensor]:
    state = trainer.start(network_of(kind, fields, image_size))
    trainer.advance(state, steps)
    return {name: tensor.detach().cpu() for name, tensor in state.network.state_dict().items()}


def compared(arguments: argparse.Namespace) -> list[dict[str, object]]:
    """For each network, precision and way: whether the bits agree, and the largest difference."""
    first, second = (int(number) for number in arguments.fields.split(","))
    size, found = arguments.image_size, []
    data = data_of(size)
    for precision, kind in itertools.product(arguments.precisions.split(","), NETWORKS):
        for deterministic in (False, True):
            settings = TrainingSettings(
                batch_size=BATCH, device=arguments.device, precision=precision, deterministic=deterministic
            )
            trainer = Trainer(data, settings)
            runs = [trained(kind, trainer, arguments.steps, (first, second), size) for _ in range(2)]
            different = [name for name in runs[0] if not torch.equal(runs[0][name], runs[1][name])]
            gap = max(float((runs[0][name].double() - runs[1][name].double()).abs().max()) for name in runs[0])
            found.append(
                {
                    "network": kind,
                    "precision": precision,
                    "deterministic": deterministic,
                    "equal": not different,
                    "differ": different[:4],
                    "largest": gap,
                }
            )
    return found


def price(arguments: argparse.Namespace) -> dict[str, object]:
    """What being deterministic costs: seconds of a stretch of training, to one as it comes."""
    first, second = (int(number) for number in arguments.fields.split(","))
    data = data_of(arguments.image_size)
    costs: dict[str, object] = {}
    for precision in arguments.precisions.split(","):
        works = {}
        for name, deterministic in (("as it comes", False), ("deterministic", True)):
            settings = TrainingSettings(
                batch_size=BATCH, device=arguments.device, precision=precision, deterministic=deterministic
            )
            trainer = Trainer(data, settings)
            state = trainer.start(network_of("static D4", (first, second), arguments.image_size))
            works[name] = lambda trainer=trainer, state=state: trainer.advance(state, state.step + arguments.steps)
        taken = seconds_in_turns(works, rounds=arguments.rounds, device=arguments.device, warm_up=1, calls=1)
        costs[precision] = ratio(taken, "deterministic", "as it comes")
        costs[f"{precision}, ms a step"] = 1e3 * statistics.median(taken["as it comes"]) / arguments.steps
    return costs


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("--fields", default="4,8")
    options.add_argument("--image-size", type=int, default=28)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--precisions", default="32,bf16-mixed")
    arguments = options.parse_args()
    found = compared(arguments)
    costs = price(arguments)
    rows = []
    for plain, told in zip(found[::2], found[1::2], strict=True):
        words = ["equal" if one["equal"] else f"differ by up to {one['largest']:.1e}" for one in (plain, told)]
        rows.append([plain["network"], plain["precision"], *words, costs[str(plain["precision"])]])
    head = ["network", "precision", "two runs as they come", "two deterministic runs", "seconds, to as they come"]
    title = f"Two runs of {arguments.steps} steps, fields {arguments.fields}, images of {arguments.image_size}²"
    report({title: table(head, rows)}, {"runs": found, "price": costs}, arguments)


if __name__ == "__main__":
    main()
