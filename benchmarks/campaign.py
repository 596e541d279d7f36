"""Everything that we want to know of a GPU, in parts that fit the time for which one is at hand.

The parts are those of `campaign_parts.py`, in order. Those that the ledger has finished are left out, and of the others
the next that fit into the seconds that are left are run, each in a process of its own. After each part a line is added
to the ledger, so that a run that is killed loses one part, and the next one goes on from there. How long parts are
expected to take is corrected by what others of their family took.

    python benchmarks/campaign.py --seconds 420                  # the next parts, on a GPU
    python benchmarks/campaign.py --list                         # what is finished, and what the others would take
    python benchmarks/campaign.py --again "network step"         # once more, whatever the ledger says
    python benchmarks/campaign.py --device cpu --tiny --ledger /tmp/dry.jsonl --seconds 600    # a dry run

A machine without a network: pack what it lacks here, carry the folder along with the checkout, and name it there.

    python benchmarks/campaign.py --pack kit
    python benchmarks/campaign.py --kit kit --seconds 420 --copy-to results
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign_parts import PARTS, Part

HERE = Path(__file__).parent
LEDGER = HERE / "results" / "gpu" / "ledger.jsonl"
LARGEST_KIT_MIB = 60
WHEELS = ("lightning-fabric", "jsonargparse", "rich")  # what a machine with PyTorch and the usual packages still lacks
_TAIL = 4000  # characters of a part's output that are kept where it failed
_SPARE = 1.25  # of its estimate, after which a part is not begun with less time left


@dataclass
class Ledger:
    """One line for each time that a part was run; later lines hold.

    Args:
        path: The file, which need not exist.
        copies: Folders that get a copy after each line.
    """

    path: Path
    copies: Sequence[Path] = ()
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.exists():
            for text in self.path.read_text().splitlines():
                try:
                    self.lines.append(json.loads(text))
                except json.JSONDecodeError:
                    continue  # the end of a line that was cut off

    def add(self, line: dict[str, Any]) -> None:
        """At once, so that it is there whatever happens next."""
        self.lines.append(line)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
        with self.path.open("a") as file:
            file.write(("" if whole else "\n") + json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for folder in self.copies:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.path, folder / self.path.name)

    def last(self, part: Part, status: str | None = None) -> dict[str, Any] | None:
        """The newest line of a part, or of those with a status."""
        found = (line for line in reversed(self.lines) if line["part"] == part.name)
        return next((line for line in found if status in (None, line["status"])), None)

    def finished(self, part: Part) -> bool:
        """Whether there are figures."""
        return self.last(part, "done") is not None

    def failed_at(self, part: Part, commit: str) -> bool:
        """Whether it failed in this very state of the code, so that another try would be wasted."""
        line = self.last(part)
        return line is not None and line["status"] == "failed" and line["commit"] == commit != "unknown"

    def estimate(self, part: Part, parts: Sequence[Part] = PARTS) -> float:
        """Seconds: those measured last; else those expected, corrected by what others of the family took."""
        measured = self.last(part, "done")
        if measured is not None:
            return float(measured["seconds"])
        corrections = [
            line["seconds"] / other.seconds
            for other in parts
            if other.family == part.family and (line := self.last(other, "done")) is not None
        ]
        expected = part.seconds * (statistics.median(corrections) if corrections else 1.0)
        stopped = self.last(part, "stopped")
        return expected if stopped is None else max(expected, 1.5 * stopped["seconds"])


def next_part(
    ledger: Ledger,
    seconds: float,
    *,
    commit: str,
    again: Sequence[str] = (),
    tried: Sequence[str] = (),
    data: Path | None,
) -> Part | None:
    """The first part that is not finished, was not tried in this run, and fits into the time; None without one."""
    for part in PARTS:
        wanted = any(part.name.startswith(name) for name in again) or not (
            again or ledger.finished(part) or ledger.failed_at(part, commit)
        )
        has_data = all(data is not None and (data / name).exists() for name in part.data)
        if wanted and part.name not in tried and has_data and _SPARE * ledger.estimate(part) <= seconds:
            return part
    return None


def run_part(part: Part, arguments: argparse.Namespace, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run one in a process of its own; the line for the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "part.json"
        command = [
            *(sys.executable, str(HERE / part.script), "--device", arguments.device),
            *(*part.arguments, *(part.tiny if arguments.tiny else ()), "--json", str(written)),
        ]
        began = time.monotonic()
        output, status = _output_of(command, seconds, environment)
        used = time.monotonic() - began
        content = json.loads(written.read_text()) if written.exists() else {}
    if status == "done" and not content:
        status = "failed"
    line = {
        "part": part.name,
        "status": status,
        "seconds": round(used, 1),
        "device": content.get("machine", arguments.device),
        "torch": content.get("torch"),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": arguments.commit,
        "command": shlex.join(["python", f"benchmarks/{part.script}", "--device", arguments.device, *part.arguments]),
    }
    if arguments.tiny:
        line["tiny"] = True
    if content:
        line |= {"tables": content["tables"], "figures": content["figures"]}
    if status != "done":
        line["tail"] = output[-_TAIL:]
    return line


def _output_of(command: list[str], seconds: float, environment: dict[str, str]) -> tuple[str, str]:
    """What a command printed, and whether it was done, failed, or stopped as its time was over."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,  # so that its own children can be stopped with it
    ) as process:
        try:
            output, _ = process.communicate(timeout=max(seconds, 1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return output, "stopped"
        except BaseException:  # as when the run itself is interrupted
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return output, "done" if process.returncode == 0 else "failed"


def run(arguments: argparse.Namespace) -> int:
    """The next parts that fit; how many failed."""
    ends = time.monotonic() + arguments.seconds
    environment = _environment(arguments)
    ledger = Ledger(arguments.ledger, [arguments.copy_to] if arguments.copy_to else [])
    named = environment.get("EQUIMORPH_DATA")
    data = Path(named) if named else None
    tried: list[str] = []
    failed = 0
    while True:
        left = ends - time.monotonic()
        part = next_part(ledger, left, commit=arguments.commit, again=arguments.again, tried=tried, data=data)
        if part is None:
            break
        tried.append(part.name)
        print(f"{part.name}: about {ledger.estimate(part):.0f} s; {left:.0f} s are left", flush=True)
        line = run_part(part, arguments, left, environment)
        ledger.add(line)
        failed += line["status"] == "failed"
        print(f"  {line['status']} in {line['seconds']:.0f} s on {line['device']}", flush=True)
        shown = list(line.get("tables", {}).values()) if line["status"] == "done" else [line["tail"]]
        print("\n".join(f"  {row}" for text in shown for row in text.splitlines()), flush=True)
    print(f"{len(tried)} parts were run, {failed} of them failed; {_counts(ledger)}")
    return failed


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """What the parts run in: the checkout first, then the wheels and the data of the kit."""
    environment = dict(os.environ)
    paths = [str(HERE.parent)]
    if arguments.kit is not None:
        wheels = sorted(str(path) for path in arguments.kit.glob("*.whl"))
        target = Path(tempfile.mkdtemp(prefix="campaign-"))
        if wheels:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
            subprocess.run([*install, "--target", str(target), *wheels], check=True)
        paths.append(str(target))
        environment["EQUIMORPH_DATA"] = str(arguments.kit.resolve())
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _counts(ledger: Ledger) -> str:
    return f"{sum(map(ledger.finished, PARTS))} of {len(PARTS)} are finished"


def listed(ledger: Ledger) -> str:
    """Each part with its state, and the files that it needs."""
    lines = []
    for part in PARTS:
        line = ledger.last(part)
        state = "has never run"
        if line is not None:
            state = f"{line['status']} on {line['date']}, {line['device']}, {line['commit']}"
        needs = f"; needs {', '.join(part.data)}" if part.data else ""
        lines.append(f"{part.name}: {state}; about {ledger.estimate(part):.0f} s{needs}")
    return "\n".join([*lines, _counts(ledger)])


def pack(folder: Path, data: Path | None, python: str) -> None:
    """Put the wheels and data files into a folder that a machine without a network lacks.

    Raises:
        SystemExit: A file is not there, or the folder would be too large to travel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    constraints = HERE.parent / "constraints.txt"
    pinned = [line for line in constraints.read_text().splitlines() if line.partition("==")[0] in WHEELS]
    subprocess.run([*wanted, "--python-version", python, "-d", str(folder), *pinned], check=True)
    for name in sorted({name for part in PARTS for name in part.data}):
        if data is None or not (data / name).exists():
            raise SystemExit(f"campaign: there is no {name}; name the folder that has it in EQUIMORPH_DATA.")
        shutil.copy(data / name, folder / name)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=HERE.parent, capture_output=True, text=True, check=True)
    code = sum((HERE.parent / name).stat().st_size for name in tracked.stdout.split("\0") if name) / 2**20
    kit = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    print(f"{folder}: {kit:.1f} MiB; with the checkout's {code:.1f} MiB {kit + code:.1f} MiB travel.")
    if kit + code > LARGEST_KIT_MIB:
        raise SystemExit(f"campaign: that is more than {LARGEST_KIT_MIB} MiB.")


def commit_of_checkout() -> str:
    """The short name of the commit, with a plus sign where files differ from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=HERE,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=420, help="that the run may take")
    options.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    options.add_argument("--ledger", type=Path, default=LEDGER, help="where figures are, and go to")
    options.add_argument("--copy-to", type=Path, default=None, help="a folder for a copy of the ledger after each part")
    options.add_argument("--again", action="append", default=[], help="run parts whose names begin so, and only those")
    options.add_argument("--tiny", action="store_true", help="a dry run: the smallest sizes; the page leaves it out")
    options.add_argument("--list", action="store_true", help="say what is finished, and run nothing")
    options.add_argument("--pack", type=Path, default=None, help="make a kit for a machine without a network in here")
    options.add_argument("--kit", type=Path, default=None, help="a folder that --pack made")
    options.add_argument("--python", default="3.12", help="the other machine's, for --pack")
    options.add_argument("--commit", default=None, help="of the code, where there is no git to ask")
    arguments = options.parse_args(words)
    arguments.commit = arguments.commit or commit_of_checkout()
    return arguments


def main() -> int:
    arguments = parsed()
    named = os.environ.get("EQUIMORPH_DATA")
    if arguments.list:
        print(listed(Ledger(arguments.ledger)))
        return 0
    if arguments.pack is not None:
        pack(arguments.pack, Path(named) if named else None, arguments.python)
        return 0
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
