"""How long until the first batch of many small files, how busy are the cores while decoding, how much memory is used?

Writes the files once (in --folder), then measures each way of reading in a process of its own: from the start of Python
to the first batch, the listing alone, how busy all cores are while batches are decoded and nothing is trained, and the
peak of the memory of the process and its workers together (proportional set size, sampled).

    python benchmarks/data_reading.py --folder /tmp/many
    python benchmarks/data_reading.py --folder /tmp/few --files 4000 --side 256 --image-size 96 --json reading.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from equimorph import data
from equimorph.data.readers import READERS
from equimorph.data.stream import AheadOfSteps, Stream, cores
from equimorph.training import Trainer, TrainingSettings

_BATCH = 64
WAYS = {"in memory": 64.0, "streamed": 0.0}  # GiB that samples may take when decoded


def make_files(folder: Path, count: int, side: int) -> None:
    """So many images in 100 class folders, JPEG and PNG by turns; 200 different ones, copied."""
    if folder.exists():
        return
    random = np.random.RandomState(0)
    contents = []
    for number in range(200):
        coarse = Image.fromarray(random.randint(0, 256, (8, 8, 3), dtype=np.uint8))
        path = folder.with_suffix(".jpg" if number % 2 else ".png")
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path)
        contents.append((path.suffix, path.read_bytes()))
        path.unlink()
    for number in range(count):
        suffix, content = contents[number % len(contents)]
        path = folder / f"class{number % 100:02d}" / f"{number:06d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def measure(
    folder: Path, image_size: int | None, memory_gib: float, num_batches: int, began: float
) -> dict[str, float]:
    """In a fresh process: read, take the first batch, then decode batches as fast as it goes."""
    imported = time.time()  # of Python, torch and this package
    watch = MemoryWatch()
    options = data.ReadOptions(image_size=image_size, memory_gib=memory_gib)
    listing_began = time.time()
    reader = next(reader for reader in READERS if reader.recognises(str(folder)))
    listed = len(reader.read(str(folder), options).ids)
    listing = time.time() - listing_began
    samples = data.load(folder, options=options)
    Trainer(samples, TrainingSettings(batch_size=_BATCH, device="cpu")).batches.at(0)
    found = {"files": listed, "import_seconds": imported - began, "listing_seconds": listing}
    found["first_batch_seconds"] = time.time() - began
    if isinstance(samples.train.x, Stream):
        found |= busy(samples.train.x, num_batches, cores())
    found["peak_memory_mib"] = watch.stop()
    return found


def busy(stream: Stream, num_batches: int, num_cores: int) -> dict[str, float]:
    """The share of all cores' time that this process and its workers use while they decode."""
    order = torch.randperm(len(stream), generator=torch.Generator().manual_seed(0))
    batches = AheadOfSteps(stream, lambda step: order[torch.arange(step * _BATCH, (step + 1) * _BATCH) % len(order)])
    batches.at(0)  # starts the workers
    began, used = time.time(), cpu_seconds()
    for step in range(1, num_batches + 1):
        batches.at(step)
    wall, used = time.time() - began, cpu_seconds() - used
    return {
        "cores_busy": used / (wall * num_cores),
        "images_per_second": _BATCH * num_batches / wall,
    }


def cpu_seconds() -> float:
    """Of this process and its live children."""
    tick = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for pid in family():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / tick
    return total


def family() -> list[int]:
    """This process and its children."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    return [own, *map(int, children)]


class MemoryWatch:
    """Samples the memory of the process and its children, in MiB."""

    def __init__(self) -> None:
        self._peak, self._stopped = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.2):
            total = 0
            for pid in family():
                try:
                    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                except OSError:  # it ended
                    continue
                total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
            self._peak = max(self._peak, total / 1024)

    def stop(self) -> float:
        """The peak so far."""
        self._stopped.set()
        self._thread.join()
        return self._peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--batches", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--measure", type=float, nargs=2, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        memory_gib, began = options.measure
        print(json.dumps(measure(options.folder, options.image_size, memory_gib, options.batches, began)))
        return
    make_files(options.folder, options.files, options.side)
    found = []
    for round_number in range(options.rounds):
        for way, memory_gib in WAYS.items():
            command = [sys.executable, __file__, "--folder", str(options.folder), "--batches", str(options.batches)]
            command += [] if options.image_size is None else ["--image-size", str(options.image_size)]
            command += ["--measure", str(memory_gib), str(time.time())]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append({"round": round_number, "way": way, **json.loads(done.stdout.splitlines()[-1])})
            print(found[-1], flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
