"""What the benchmarks of speed share: works timed in turns, ratios with their spread, and the files they are put in.

Machines are noisy, so nothing here compares a time with one that was taken at another moment. All that is compared is
run in turns, in an order drawn anew for each turn, and a ratio is the median over the turns, between its quartiles. On
a GPU a work is done several times in a turn, since only so the program runs ahead of the device, as in a training.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import random
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

RESULTS = Path(__file__).parent / "results"
_Work = TypeVar("_Work")


@dataclass(frozen=True)
class Ratio:
    """How long one work takes beside another: the median over turns, and the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.2f}–{self.high:.2f})"


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """With the options that all have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", type=_present, default="cpu", help="cpu, cuda, cuda:1")
    made.add_argument("--rounds", type=int, default=rounds, help="turns that count; some more go before")
    made.add_argument("--calls", type=int, default=None, help="of each work in a turn; 10 on a GPU, 1 on a CPU")
    made.add_argument("--json", type=Path, default=None, help="also write figures and tables here")
    return made


def chosen(works: Mapping[str, _Work], only: str, *, always: str) -> dict[str, _Work]:
    """Those whose names are given with semicolons between, and the one that all are compared with; all for none."""
    if not only:
        return dict(works)
    wanted = {always, *(name.strip() for name in only.split(";"))}
    if unknown := wanted - set(works):
        raise SystemExit(f"There is no {', '.join(sorted(unknown))}; there are {'; '.join(works)}.")
    return {name: work for name, work in works.items() if name in wanted}


def seconds_in_turns(
    works: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    device: str,
    warm_up: int = 2,
    calls: int | None = None,
) -> dict[str, list[float]]:
    """The seconds of one call of each work in each turn, the mean over so many calls in a row."""
    calls = calls or (10 if device.startswith("cuda") else 1)
    taken: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    for turn in range(rounds + warm_up):
        random.shuffle(order)
        for name in order:
            used = seconds(works[name], device, calls)
            if turn >= warm_up:
                taken[name].append(used)
    return taken


def seconds(work: Callable[[], object], device: str, calls: int = 1) -> float:
    """The seconds of one call, the device's work included; the mean over calls in a row."""
    synchronize(device)
    began = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return (time.perf_counter() - began) / calls


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def ratio(taken: Mapping[str, Sequence[float]], name: str, to: str) -> Ratio:
    """Of the seconds of two works, turn by turn."""
    ratios = [a / b for a, b in zip(taken[name], taken[to], strict=True)]
    if len(ratios) < 2:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


def peak_bytes() -> int:
    """The most memory that this process has held so far, on the CPU."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine(device: str) -> str:
    """In words."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"{torch.get_num_threads()} threads of {_processor()}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """In Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def report(tables: Mapping[str, str], figures: Any, arguments: argparse.Namespace) -> None:
    """Print tables by their titles; write them with the figures where the arguments say."""
    about = {
        "machine": machine(arguments.device),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
    }
    print(f"{about['machine']}, PyTorch {about['torch']}, {about['date']}")
    for title, text in tables.items():
        print(f"\n{title}\n\n{text}")
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        content = {**about, "tables": dict(tables), "figures": figures}
        arguments.json.write_text(json.dumps(content, indent=1, default=_plain) + "\n")


def _present(device: str) -> str:
    """The name of a device that is there."""
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise argparse.ArgumentTypeError(f'there is no device "{device}" here; try cpu')
    return device


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Ratio) else str(value)


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        for line in cpus.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
