"""How often does a search find the symmetry that a task is known to have?

For each of the six subgroups of D4 there is a task of textures whose label is invariant under exactly that subgroup
(`em.data.make_textures`). Each search is run on each task and seed, and the table says how often the network that it
returns ends at the true subgroup as a whole (the constraint of its last site), how often it ends below it or beside
it, and its test error beside those of static networks. Results go into one JSON line a run, and a run that is there
already is not run again.

    python benchmarks/known_symmetry.py --seeds 5
    python benchmarks/known_symmetry.py --seeds 5 --train 250,1000 --strategies growth,differentiable
    python benchmarks/known_symmetry.py --table
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

import equimorph as em
from equimorph.search import strategy_named

GROUPS = ("C1", "D1@90", "C2", "D2@0", "C4", "D4")
STRATEGIES = (
    "growth",
    "differentiable",
    "evolutionary",
    "static:D4",
    "static:C1",
)


def run(strategy: str, truth: str, num_train: int, seed: int, epochs: float) -> dict[str, object]:
    data = em.data.make_textures(truth, num_train=num_train, seed=seed)
    network = em.models.PaperNetwork(
        group="D4",
        image_size=data.image_size,
        in_channels=1,
        num_classes=2,
        fields=(2, 2),
        depth=3,
        head_units=16,
        generator=torch.Generator().manual_seed(seed),
    )
    # As many steps whatever the size of the training set.
    settings = em.training.TrainingSettings(epochs=epochs * 1000 / num_train, batch_size=50, seed=seed, device="cpu")
    name = strategy.replace("static:truth", f"static:{truth}")
    began = time.perf_counter()
    result = strategy_named(name).run(network, data, training=settings)
    shares = [line["shares"] for line in result.history if line["event"] == "mixture"]
    return {
        "strategy": strategy,
        "truth": truth,
        "train": num_train,
        "seed": seed,
        "constraints": list(result.candidate.constraints),
        "end": result.candidate.constraints[-1],
        "largest_share": max(shares[-1]["head.linear"], key=shares[-1]["head.linear"].get) if shares else None,
        "validation_error": result.candidate.validation_error,
        "test_error": result.test_error,
        "cost": result.history[-1]["samples"] / (settings.epochs * num_train),
        "seconds": time.perf_counter() - began,
    }


def print_table(rows: list[dict[str, object]]) -> None:
    for num_train in sorted({row["train"] for row in rows}):
        print(f"\n{num_train} training images: runs that end at the true subgroup / runs, mean test error %\n")
        print(f"| strategy | {' | '.join(GROUPS)} | all | cost |")
        print(f"| --- |{' --- |' * (len(GROUPS) + 2)}")
        for strategy in dict.fromkeys(row["strategy"] for row in rows):
            of_strategy = [row for row in rows if (row["strategy"], row["train"]) == (strategy, num_train)]
            if not of_strategy:
                continue
            cells = [_cell([row for row in of_strategy if row["truth"] == truth]) for truth in GROUPS]
            cost = statistics.mean(row["cost"] for row in of_strategy)
            print(f"| {strategy} | {' | '.join(cells)} | {_cell(of_strategy)} | {cost:.2f} |")


def _cell(rows: list[dict[str, object]]) -> str:
    if not rows:
        return "–"
    hits = sum(row["end"] == row["truth"] for row in rows)
    return f"{hits}/{len(rows)}, {100 * statistics.mean(row['test_error'] for row in rows):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help='"static:truth" is told the answer')
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train", default="1000", help="sizes of the training set, with commas between")
    parser.add_argument("--epochs", type=float, default=12, help="for 1,000 images; the steps are the same for all")
    parser.add_argument("--out", type=Path, default=Path("runs/known-symmetry.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    rows = [json.loads(line) for line in lines]
    keys = {(row["strategy"], row["truth"], row["train"], row["seed"]) for row in rows}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    wanted = [
        (strategy, truth, int(num_train), seed)
        for seed in range(arguments.seeds)
        for strategy in arguments.strategies.split(",")
        for num_train in arguments.train.split(",")
        for truth in GROUPS
    ]
    for key in [] if arguments.table else wanted:
        if key not in keys:
            row = run(*key, epochs=arguments.epochs)
            rows.append(row)
            print(f"{key}: {'·'.join(row['constraints'])}, test error {row['test_error']:.3f}", flush=True)
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print_table(rows)


if __name__ == "__main__":
    main()
