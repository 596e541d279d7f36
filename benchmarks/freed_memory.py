"""What does it bring on a CPU that the command keeps freed memory for the next step?

Runs the same training steps in processes of their own, in turns, with and without
`equimorph.cli.process.keep_freed_memory`, and prints the ratio of the seconds and the most memory that each has held.

    python benchmarks/freed_memory.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import torch
from measuring import parser, peak_bytes, ratio, report, table
from network_step import stepper

import equimorph as em
from equimorph.cli.process import keep_freed_memory

SIZES = {"digits: fields 4, 8, 12²": ((4, 8), 12, 40), "fields 8, 16, 28²": ((8, 16), 28, 6)}
SIZES["paper: fields 16, 32, 28²"] = ((16, 32), 28, 3)
AS_IT_COMES, KEPT = "as it comes", "kept"


def measured(size: str, keeps: bool) -> dict[str, float]:
    """In this process, which has allocated little yet."""
    if keeps:
        assert keep_freed_memory()
    fields, side, steps = SIZES[size]
    network = em.models.PaperNetwork(group="D4", image_size=side, in_channels=1, num_classes=10, fields=fields)
    step = stepper(network, torch.randn(64, 1, side, side), torch.randint(10, (64,)), None)
    step()
    taken = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return {"seconds": statistics.median(taken), "bytes": peak_bytes()}


def in_a_process(size: str, way: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", size, *(["--keep"] if way == KEPT else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--child", default=None, help="run this size and print what it took")
    options.add_argument("--keep", action="store_true", help="in the child: keep freed memory")
    arguments = options.parse_args()
    if arguments.child:
        print(json.dumps(measured(arguments.child, arguments.keep)))
        return
    rows, figures = [], {}
    for size in SIZES:
        runs: dict[str, list[dict[str, float]]] = {AS_IT_COMES: [], KEPT: []}
        for turn in range(arguments.rounds):
            for way in sorted(runs, reverse=bool(turn % 2)):
                runs[way].append(in_a_process(size, way))
        taken = {way: [run["seconds"] for run in found] for way, found in runs.items()}
        held = {way: statistics.median(run["bytes"] for run in found) for way, found in runs.items()}
        found_ratio = ratio(taken, KEPT, AS_IT_COMES)
        figures[size] = {"seconds": taken, "bytes": held, "ratio": found_ratio}
        rows.append(
            [size, f"{statistics.median(taken[AS_IT_COMES]):.3f}", found_ratio, f"{held[KEPT] / held[AS_IT_COMES]:.2f}"]
        )
    head = ["network", "seconds a step, as it comes", "kept, to as it comes", "memory, to as it comes"]
    report({"Keeping freed memory, static D4 on a CPU": table(head, rows)}, figures, arguments)


if __name__ == "__main__":
    main()
