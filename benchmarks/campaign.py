"""Everything that we want to know of a GPU, in parts that fit the time for which one is at hand.

The parts are those of `campaign_parts.py`, in order. Those that the ledger has finished are left out, and of the others
the next that fit into the seconds that are left are run, each in a process of its own. After each part a line is added
to the ledger, so that a run that is killed loses one part, and the next one goes on from there. How long parts are
expected to take is corrected by what others of their family took. Parts whose figures are no times, as trainings, run
several at once, since one network of the paper's size leaves most of a large GPU idle.

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
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign_parts import PARTS, Part

HERE = Path(__file__).parent
LEDGER = HERE / "results" / "gpu" / "ledger.jsonl"
LARGEST_KIT_MIB = 60
WHEELS = ("lightning-fabric", "jsonargparse", "rich")  # what a machine with PyTorch and the usual packages still lacks
_FOLDERS = re.compile(r"(?<![\w.:/~])~?(?:/[\w.+@-]+)+/(?=[\w.+@-])")
_TAIL = 4000  # characters of a part's output that are kept where it failed
_RUNNING: set[int] = set()  # the processes of parts
_SPARE = 1.25  # of its estimate, after which a part is not begun with less time left


@dataclass
class Ledger:
    """One line for each time that a part was run; later lines hold.

    Args:
        path: The file, which need not exist.
        copies: Folders that get a copy after each line.
        tiny: Whether dry runs are what is asked for. Neither they nor real runs count for the other.
    """

    path: Path
    copies: Sequence[Path] = ()
    tiny: bool = False
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
        of_part = (line for line in reversed(self.lines) if line["part"] == part.name)
        found = (line for line in of_part if line.get("tiny", False) == self.tiny)
        return next((line for line in found if status in (None, line["status"])), None)

    def finished(self, part: Part) -> bool:
        """Whether there are figures."""
        return self.last(part, "done") is not None

    def failed_at(self, part: Part, commit: str) -> bool:
        """Whether it failed in this very state of the code, so that another try would be wasted.

        Where files differ from the commit, its name does not tell in which state they are.
        """
        line = self.last(part)
        known = commit != "unknown" and not commit.endswith("+")
        return known and line is not None and line["status"] == "failed" and line["commit"] == commit

    def estimate(self, part: Part) -> float:
        """Seconds: those measured last; else those expected, corrected by what others of the family took."""
        measured = self.last(part, "done")
        if measured is not None:
            return float(measured["seconds"])
        corrections = [
            line["seconds"] / other.seconds
            for other in PARTS
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
    """The first part that is not finished, was not tried in this run, and fits into the time; None without one.

    Args:
        ledger: What was run so far.
        seconds: That are left.
        commit: The state of the code; what failed in it is left out.
        again: Names or their beginnings: these parts are wanted, whatever the ledger says, and no others.
        tried: Names of the parts that this run has had.
        data: The folder with data files. A part is left out when one that it reads is not there; a dry run reads none.
    """
    asked = {part.name for name in again for part in named(name)}
    for part in PARTS:
        wanted = part.name in asked if again else not (ledger.finished(part) or ledger.failed_at(part, commit))
        has_data = ledger.tiny or all(data is not None and (data / name).exists() for name in part.data)
        if wanted and part.name not in tried and has_data and _SPARE * ledger.estimate(part) <= seconds:
            return part
    return None


def named(name: str) -> list[Part]:
    """The part of this name, or else those whose names begin so.

    Raises:
        SystemExit: There is none.
    """
    found = [part for part in PARTS if part.name == name] or [part for part in PARTS if part.name.startswith(name)]
    if not found:
        raise SystemExit(f'campaign: no part is named "{name}" or begins so; --list shows all of them.')
    return found


def run_part(part: Part, arguments: argparse.Namespace, seconds: float, environment: dict[str, str]) -> dict[str, Any]:
    """Run one in a process of its own; the line for the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        written, printed = Path(folder) / "part.json", Path(folder) / "printed.txt"
        command = [
            *(sys.executable, str(HERE / part.script), "--device", arguments.device),
            *(*part.arguments, *(part.tiny if arguments.tiny else ()), "--json", str(written)),
        ]
        began = time.monotonic()
        status = _run_command(command, seconds, environment, printed)
        used = time.monotonic() - began
        output = printed.read_text(errors="replace")
        content = _content_of(written)
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
        line["tail"] = without_folders(output)[-_TAIL:]
    return line


def without_folders(text: str) -> str:
    """The names of files alone: folders are the machine's own."""
    return _FOLDERS.sub("", text)


def _run_command(command: list[str], seconds: float, environment: dict[str, str], printed: Path) -> str:
    """Run it with all that it prints in a file: done, failed, or stopped as its time was over.

    A file, and not a pipe: a child of the command may outlive it, and a pipe is at its end only when all let go of it.
    """
    with (
        printed.open("wb") as file,
        subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # so that its own children can be stopped with it
        ) as process,
    ):
        _RUNNING.add(process.pid)
        try:
            return "failed" if process.wait(max(seconds, 1)) else "done"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "stopped"
        finally:
            _RUNNING.discard(process.pid)


def _content_of(written: Path) -> dict[str, Any]:
    """What a part wrote; nothing when it did not come to its end."""
    try:
        return dict(json.loads(written.read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def run(arguments: argparse.Namespace) -> int:
    """The next parts that fit; how many failed."""
    ends = time.monotonic() + arguments.seconds
    environment = _environment(arguments)
    ledger = Ledger(arguments.ledger, [arguments.copy_to] if arguments.copy_to else [], arguments.tiny)
    data = _data_folder(environment)
    tried: list[str] = []
    failed = 0

    def following() -> Part | None:
        left = ends - time.monotonic()
        return next_part(ledger, left, commit=arguments.commit, again=arguments.again, tried=tried, data=data)

    while (part := following()) is not None:
        together = [part]
        tried.append(part.name)
        while not part.timed and len(together) < arguments.at_once:
            other = following()
            if other is None or other.timed:
                break
            together.append(other)
            tried.append(other.name)
        left = ends - time.monotonic()
        for one in together:
            print(f"{one.name}: about {ledger.estimate(one):.0f} s; {left:.0f} s are left", flush=True)
        with ThreadPoolExecutor(len(together)) as pool:
            jobs = [pool.submit(run_part, one, arguments, left, environment) for one in together]
            try:
                for job in as_completed(jobs):
                    line = job.result()
                    ledger.add(line)
                    failed += line["status"] == "failed"
                    print(_told(line), flush=True)
            except BaseException:  # as when the run itself is interrupted: the parts in progress end with it
                for process in list(_RUNNING):
                    os.killpg(process, signal.SIGKILL)
                raise
    print(f"{len(tried)} parts were run, {failed} of them failed; {_counts(ledger)}")
    return failed


def _told(line: Mapping[str, Any]) -> str:
    """A line of the ledger, to be read while the campaign goes on."""
    shown = list(line.get("tables", {}).values()) if line["status"] == "done" else [line["tail"]]
    said = f"{line['part']}: {line['status']} in {line['seconds']:.0f} s on {line['device']}"
    return "\n".join([said, *(f"  {row}" for text in shown for row in text.splitlines())])


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """What the parts run in: the checkout first, then the wheels and the data of the kit.

    Raises:
        SystemExit: There is no such kit.
    """
    environment = dict(os.environ)
    paths = [str(HERE.parent)]
    if arguments.kit is not None:
        if not arguments.kit.is_dir():
            raise SystemExit(f"campaign: there is no folder {arguments.kit}; make it with --pack.")
        wheels = sorted(str(path) for path in arguments.kit.glob("*.whl"))
        target = Path(tempfile.mkdtemp(prefix="campaign-"))
        if wheels:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
            subprocess.run([*install, "--target", str(target), *wheels], check=True)
        paths.append(str(target))
        environment["EQUIMORPH_DATA"] = str(arguments.kit.resolve())
    environment["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _data_folder(environment: Mapping[str, str]) -> Path | None:
    named = environment.get("EQUIMORPH_DATA")
    return Path(named) if named else None


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
    files = sorted({name for part in PARTS for name in part.data})
    for name in files:
        if data is None or not (data / name).exists():
            raise SystemExit(f"campaign: there is no {name}; name the folder that has it in EQUIMORPH_DATA.")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    constraints = HERE.parent / "constraints.txt"
    pinned = [line for line in constraints.read_text().splitlines() if line.partition("==")[0] in WHEELS]
    subprocess.run([*wanted, "--python-version", python, "-d", str(folder), *pinned], check=True)
    for name in files:
        shutil.copy(data / name, folder / name)
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=HERE.parent, capture_output=True, text=True, check=True)
    paths = [HERE.parent / name for name in tracked.stdout.split("\0") if name]
    code = sum(path.stat().st_size for path in paths if path.is_file()) / 2**20
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
    options.add_argument("--at-once", type=int, default=7, help="trainings beside one another; timed parts run alone")
    options.add_argument("--again", action="append", default=[], help="only this part, or those whose names begin so")
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
    if arguments.list:
        print(listed(Ledger(arguments.ledger, tiny=arguments.tiny)))
        return 0
    if arguments.pack is not None:
        pack(arguments.pack, _data_folder(os.environ), arguments.python)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the part in progress ends, too
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
