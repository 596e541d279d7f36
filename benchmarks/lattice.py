"""How long does it take to find all subgroups of a group, with their names? Median of several, each from nothing.

python benchmarks/lattice.py
"""

from __future__ import annotations

import statistics
import time

from equimorph.groups import Group, group


def main() -> None:
    for name in ("D4", "O", "Oh"):
        elements = group(name).elements
        seconds = []
        for _ in range(7):
            began = time.perf_counter()
            count = len(Group(elements).subgroups())
            seconds.append(time.perf_counter() - began)
        print(f"{name}: {count} subgroups, median {statistics.median(seconds):.3f} s")


if __name__ == "__main__":
    main()
