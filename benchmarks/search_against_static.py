"""Does the search beat every static symmetry, at a width and length that two cores can afford?

Runs the evolutionary search beside static D4, C4 and C1 for the same epochs, and prints a Markdown table. Each run has
its own folder under --out; one that is there already is not run again, so the benchmark can be interrupted, and
several processes can share it with different --strategies.

    python benchmarks/search_against_static.py --data digits --epochs 18 --generations 3 --children 8 --seeds 0,1,2
    python benchmarks/search_against_static.py --data rotmnist --data-dir DATA
    python benchmarks/search_against_static.py --data rotmnist --table
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from equimorph.cli import main as equimorph
from equimorph.reports import read_numbers
from equimorph.reports.words import compact

STRATEGIES = ("evolutionary", "static:D4", "static:C4", "static:C1")


def run(strategy: str, seed: int, arguments: argparse.Namespace) -> None:
    folder = arguments.out / f"{strategy.replace(':', '-')}-seed{seed}"
    if (folder / "best").exists() and read_numbers(folder).is_finished:
        return
    if folder.exists():
        shutil.rmtree(folder)  # an interrupted run
    options = {
        "data": arguments.data,
        "group": "D4",
        "subgroups": "C1,C4,D4",
        "strategy": strategy,
        "fields": arguments.fields,
        "epochs": arguments.epochs,
        "initial-epochs": arguments.epochs / 3,
        "generations": arguments.generations,
        "children": arguments.children,
        "population": 3,
        "seed": seed,
        "out": folder,
    }
    if arguments.data_dir is not None:
        options["data-dir"] = arguments.data_dir
    status = equimorph(["search", *(f"--{name}={value}" for name, value in options.items())])
    if status:
        raise SystemExit(status)


def print_table(folder: Path) -> None:
    print("| strategy | seed | architecture | parameters | validation error % | test error % | samples | minutes |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for run_folder in sorted(path for path in folder.iterdir() if (path / "history.jsonl").exists()):
        numbers = read_numbers(run_folder)
        result, best = numbers.records.result, numbers.best
        if result is None or best is None:
            continue
        seed = run_folder.name.rpartition("seed")[2]
        timing = [json.loads(line) for line in (run_folder / "timing.jsonl").read_text().splitlines()]
        minutes = next(line["wall_seconds"] for line in timing if line["event"] == "run") / 60
        print(
            f"| {numbers.start.strategy} | {seed} | {compact(best.constraints)} | {best.parameters:,} "
            f"| {100 * (best.error or 0):.2f} | {100 * result.test_error:.2f} | {result.samples:,} | {minutes:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="rotmnist")
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--out", type=Path, default=None, help="default: runs/against-static-DATA")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--fields", default="4,8")
    parser.add_argument("--epochs", type=float, default=12)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--children", type=int, default=6)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--table", action="store_true", help="only print the table of finished runs")
    arguments = parser.parse_args()
    if arguments.out is None:
        arguments.out = Path("runs") / f"against-static-{arguments.data}"
    if not arguments.table:
        for seed in map(int, arguments.seeds.split(",")):
            for strategy in arguments.strategies.split(","):
                run(strategy, seed, arguments)
    print_table(arguments.out)


if __name__ == "__main__":
    main()
