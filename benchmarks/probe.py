"""How often does the probe find the symmetry that a data set is known to have?

`em.probe` tells which subgroup H of G the labels of a data set are invariant to. It is run on real sets whose symmetry
is known, on random subsets of their training samples, of several sizes; on textures whose label is invariant under
exactly one subgroup of D4 (`em.data.make_textures`), for all ten; and on galaxies some of whose labels were redrawn at
random. The table says how often the verdict is the truth, and how often the truth was ruled out, which is the graver
error. Results go into one JSON line a run, and a run that is there already is not run again; a subset with too few
samples of a class is on record as refused.

    EQUIMORPH_DATA=DATA python benchmarks/probe.py --draws 2
    python benchmarks/probe.py --kinds textures --seeds 3
    python benchmarks/probe.py --table
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

import equimorph as em
from equimorph.data import ImageData
from equimorph.data.tasks.catalog import load_named
from equimorph.errors import DataError


class RealSet(NamedTuple):
    """A real set: the symmetry of its labels, the side it is reduced to, how many samples are taken, and G."""

    truth: str
    side: int
    sizes: tuple[int, ...]
    group: str = "D4"


class Task(NamedTuple):
    """What tells a run from all others; `noise` is the share of the labels that are redrawn."""

    kind: str
    data: str
    n: int
    draw: int
    noise: float = 0.0


# The last size is all training samples, up to 3,000. The poses of ModelNet10 are those of its catalogue.
SETS = {
    "rotmnist": RealSet("C4", 28, (200, 400, 800, 1600, 3000)),
    "mnist": RealSet("C1", 28, (200, 400, 800, 1600, 3000)),
    "digits": RealSet("C4", 12, (200, 400, 800, 1000)),
    "galaxies": RealSet("C4", 24, (200, 400, 800, 1600, 2214)),
    "galaxies-winding": RealSet("C4", 24, (200, 400, 595)),
    "galaxies-merged": RealSet("D4", 24, (200, 400, 800, 1600, 2214)),
    "skin": RealSet("D4", 24, (200, 400, 800, 1600, 3000)),
    "modelnet10": RealSet("C1", 24, (400, 1000), "Oh"),
}
TEXTURES = ("C1", "C2", "D1@0", "D1@45", "D1@90", "D1@135", "C4", "D2@0", "D2@45", "D4")
TEXTURE_SIZES = (150, 375)
NOISE, NOISE_SIZE, NOISE_DRAWS = (0.1, 0.3), 1600, 2
KINDS = ("textures", "noise", "sets")  # in the order in which they are run


def tasks(kinds: list[str], draws: int, seeds: int) -> Iterator[Task]:
    """All runs, the first draw of everything before the second of anything."""
    for draw in range(max(draws, seeds)):
        if "textures" in kinds and draw < seeds:
            yield from (Task("textures", truth, n, draw) for n in TEXTURE_SIZES for truth in TEXTURES)
        if "noise" in kinds and draw < min(draws, NOISE_DRAWS):
            yield from (Task("noise", "galaxies", NOISE_SIZE, draw, share) for share in NOISE)
        if "sets" in kinds and draw < draws:
            yield from (Task("sets", name, n, draw) for name, real in SETS.items() for n in real.sizes)


@cache
def loaded(name: str) -> ImageData:
    data = load_named(name)
    return data if data.image_size == SETS[name].side else data.resized(SETS[name].side)


def samples_of(task: Task) -> ImageData:
    """The data of a run: a random subset of the training samples, with some labels redrawn where that is wanted."""
    if task.kind == "textures":
        return em.data.make_textures(task.data, num_train=task.n, seed=task.draw)
    data = loaded(task.data)
    generator = torch.Generator().manual_seed(task.draw)
    train = data.train.part(torch.randperm(len(data.train), generator=generator)[: task.n])
    if len(train) != task.n:
        raise ValueError(f"{task.data} has {len(train)} training samples, and {task.n} were wanted.")
    if task.noise:
        y = train.y.clone()
        redrawn = torch.randperm(task.n, generator=generator)[: round(task.noise * task.n)]
        y[redrawn] = torch.randint(len(data.classes), (len(redrawn),), generator=generator)
        train = replace(train, y=y)
    return replace(data, train=train)


def run(task: Task) -> dict[str, object]:
    truth, group = (task.data, "D4") if task.kind == "textures" else (SETS[task.data].truth, SETS[task.data].group)
    data = samples_of(task)
    row: dict[str, object] = {**task._asdict(), "truth": truth}
    try:
        found = em.probe(data, group, num_samples=None, seed=task.draw)
    except DataError as error:
        return row | {"refused": str(error)}
    left = [H.name for H in found.left]
    best = None if found.best is None else found.best.name
    return row | {
        "samples": found.num_samples,  # fewer than n where the features would take too much memory
        "best": best,
        "left": left,
        "true_left": truth in left,
        "z_next": min(one.z for one in found.subgroups if one.name != best),
        "z_truth": found[truth].z,
        "error_c1": found["C1"].error,
        "error_best": None if best is None else found[best].error,
        "seconds": found.seconds,
    }


def print_table(rows: list[dict]) -> None:
    real = [row for row in rows if row["kind"] != "textures"]
    if real:
        verdicts = "best is the truth | truth ruled out | says nothing | refused"
        print(f"\n| data | truth | samples | {verdicts} | left | error at C1 | error at verdict | seconds |")
        print(f"|{' --- |' * 11}")
    order = [*((name, 0.0) for name in SETS), *(("galaxies", share) for share in NOISE)]
    for name, share in order:
        of_set = [row for row in real if (row["data"], row["noise"]) == (name, share)]
        for n in sorted({row["n"] for row in of_set}):
            of_size = [row for row in of_set if row["n"] == n]
            title = name + (f", {share:.0%} of labels redrawn" if share else "")
            ran = [row for row in of_size if "refused" not in row]
            told = [row for row in ran if row["best"] is not None]
            cells = [
                *(title, SETS[name].truth, str(n), *_counts(ran), str(len(of_size) - len(ran))),
                _of(told, lambda row: len(row["left"]), "{:.1f}"),
                _of(told, lambda row: 100 * row["error_c1"], "{:.1f} %"),
                _of(told, lambda row: 100 * row["error_best"], "{:.1f} %"),
                _of(ran, lambda row: row["seconds"], "{:.1f}", statistics.median),
            ]
            print(f"| {' | '.join(cells)} |")
    textures = [row for row in rows if row["kind"] == "textures" and "refused" not in row]
    if textures:
        print("\n| textures: samples | best is the truth | truth ruled out | says nothing | left | seconds |")
        print(f"|{' --- |' * 6}")
    for n in sorted({row["n"] for row in textures}):
        ran = [row for row in textures if row["n"] == n]
        told = [row for row in ran if row["best"] is not None]
        left = _of(told, lambda row: len(row["left"]), "{:.1f}")
        seconds = _of(ran, lambda row: row["seconds"], "{:.1f}", statistics.median)
        print(f"| {' | '.join([str(n), *_counts(ran), left, seconds])} |")


def _counts(ran: list[dict]) -> tuple[str, str, str]:
    """How often the verdict is the truth, how often the truth is ruled out, and how often there is no verdict."""
    if not ran:
        return "–", "–", "–"
    right = sum(row["best"] == row["truth"] for row in ran)
    ruled_out = sum(row["best"] is not None and not row["true_left"] for row in ran)
    return f"{right} of {len(ran)}", str(ruled_out), str(sum(row["best"] is None for row in ran))


def _of(rows: list[dict], number: Callable[[dict], float], form: str, summary: Callable = statistics.mean) -> str:
    return form.format(summary(number(row) for row in rows)) if rows else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS), help="with commas between")
    parser.add_argument("--draws", type=int, default=8, help="of the real sets; label noise has two at most")
    parser.add_argument("--seeds", type=int, default=10, help="of the textures")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "probe.jsonl")
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--kinds: there is no {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}.")
    lines = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {Task(*(row[field] for field in Task._fields)) for row in rows}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for task in [] if arguments.table else tasks(kinds, arguments.draws, arguments.seeds):
        if task in done:
            continue
        row = run(task)
        rows.append(row)
        told = row["refused"] if "refused" in row else f"{row['best']}, left {row['left']}, truth {row['truth']}"
        print(f"{tuple(task)}: {told}", flush=True)
        with arguments.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print_table(rows)


if __name__ == "__main__":
    main()
