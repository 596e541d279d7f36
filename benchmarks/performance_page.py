"""Puts the tables of benchmarks/results into docs/performance.md, each after the marker that names where it is from.

<!-- layers.json -->
... replaced by machine, date, command and tables ...
<!-- end -->

<!-- gpu campaign -->
... replaced by what the campaign on a GPU has found so far, from results/gpu/ledger.jsonl ...
<!-- end -->

python benchmarks/performance_page.py
python benchmarks/performance_page.py --check    # say whether the page is as it would be written
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from campaign import Ledger, without_folders
from campaign_parts import PARTS, Part

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
LONGEST = 6  # operations of a step that are shown
_PART = re.compile(r"<!-- (?P<name>[\w-]+\.json) -->\n.*?<!-- end -->", re.DOTALL)
_CAMPAIGN = re.compile(r"<!-- gpu campaign -->\n.*?<!-- end -->", re.DOTALL)
_PROBLEM = re.compile(r"^(?:E +)?((?:\w+\.)*(?=[A-Z])\w*(?:Error|Exception|Failed|Unsupported)\b.*)$", re.MULTILINE)
_LONGEST_REASON = 200  # characters


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with every part made anew."""
    page = _PART.sub(lambda found: _part(found["name"], results), page)
    return _CAMPAIGN.sub(lambda found: _campaign(Ledger(results / "gpu" / "ledger.jsonl")), page)


def _part(name: str, results: Path) -> str:
    content = json.loads((results / name).read_text())
    about = f"`{content['command']}`, {content['machine']}, PyTorch {content['torch']}, {content['date']}."
    tables = "\n\n".join(content["tables"].values())
    return f"<!-- {name} -->\n{about}\n\n{tables}\n<!-- end -->"


# The campaign on a GPU


def _campaign(ledger: Ledger) -> str:
    """What has figures, by kinds in the order of the parts, and what has none."""
    kinds: dict[str, list[Part]] = {}
    for part in PARTS:
        kinds.setdefault(_kind(part), []).append(part)
    sections = [_section(kind, parts, ledger) for kind, parts in kinds.items()]
    text = "\n\n".join(filter(None, [*sections, _without_figures(kinds, ledger)]))
    return f"<!-- gpu campaign -->\n{text}\n<!-- end -->"


def _kind(part: Part) -> str:
    return part.name.partition(":")[0]


def _variant(part: Part) -> str:
    return part.name.partition(":")[2].strip()


def _line(part: Part, ledger: Ledger) -> dict[str, Any] | None:
    """The newest line with figures. Tests that fail have figures, too: how many."""
    newest = ledger.last(part)
    if part.script == "cuda_tests.py" and newest is not None and "figures" in newest:
        return newest
    return ledger.last(part, "done")


def _section(kind: str, parts: Sequence[Part], ledger: Ledger) -> str:
    found = [(part, line) for part in parts if (line := _line(part, ledger)) is not None]
    if not found:
        return ""
    if parts[0].script == "training_run.py":
        texts = [_trainings([line for _, line in found])]
    else:
        texts = [f"{_about(part, line)}\n\n{_tables(part, line)}" for part, line in found]
    return "\n\n".join([f"### {kind[:1].upper()}{kind[1:]}", *texts])


def _about(part: Part, line: dict[str, Any]) -> str:
    variant = f"**{_variant(part)}**: " if _variant(part) else ""
    return f"{variant}`{line['command']}`, {_where_and_when([line])}."


def _where_and_when(lines: Sequence[dict[str, Any]]) -> str:
    cards, versions, dates, commits = (
        " and ".join(_distinct(line[key] for line in lines)) for key in ("device", "torch", "date", "commit")
    )
    return f"{cards}, PyTorch {versions}, {dates}, commit {commits}"


def _distinct(words: Iterable[object]) -> list[str]:
    return list(dict.fromkeys(map(str, words)))


def _tables(part: Part, line: dict[str, Any]) -> str:
    if part.script == "cuda_tests.py":
        return _tests(line["figures"])
    if part.script == "kernel_times.py":
        return _operations(line["figures"])
    return "\n\n".join(line["tables"].values())


def _tests(figures: dict[str, Any]) -> str:
    """How many, and the names of those that failed."""
    names = [name.rpartition("::")[2] for name in figures["failed"]]
    counts = f"{figures['tests']} tests: {len(names)} failed, {figures['skipped']} were skipped."
    return counts + ("\n\n" + "\n".join(f"- `{name}`" for name in names) if names else "")


def _operations(figures: dict[str, Any]) -> str:
    """A table for each network: the operations that took longest, those of one short name together."""
    texts = []
    for network, found in figures.items():
        taken: Counter[str] = Counter()
        for operation, microseconds in found["longest"].items():
            taken[short_name(operation)] += microseconds
        wall, busy = 1e3 * found["wall seconds"], 1e3 * found["busy seconds"]
        rows = [
            [f"`{name}`", f"{used / 1e3:.3f}", f"{used / busy / 10:.1f} %"] for name, used in taken.most_common(LONGEST)
        ]
        table = _table(["operation", "ms a step", "share of the device's time"], rows)
        texts.append(f"{network}: {wall:.2f} ms a step, of which the device was at work {busy:.2f}.\n\n{table}")
    return "\n\n".join(texts)


def short_name(operation: str) -> str:
    """The bare name of an operation of the device: no namespaces, template arguments, parameters, sizes of tiles."""
    if operation.startswith(("Memcpy", "Memset")):
        return operation.partition(" (")[0]
    text, before = operation.replace("(anonymous namespace)::", ""), ""
    while text != before:  # from the innermost template arguments outwards
        text, before = re.sub(r"<[^<>]*>", "", text), text
    qualified = (re.split(r"[<(]", text)[0].split() or [operation])[-1]
    name = qualified.rpartition("::")[2]
    if name.lower() in ("kernel", "kernel2"):  # which says nothing: what is launched is an argument, or the namespace
        launched = re.search(r"<(?:\w+::)*(\w{9,})[<>,]", operation)
        name = launched[1] if launched else "::".join(qualified.split("::")[-2:])
    name = re.sub(r"(?<=_gemm)_.*|_\d+x\d+.*", "", name)
    return name if len(name) <= 60 else name[:59] + "…"


def _trainings(lines: Sequence[dict[str, Any]]) -> str:
    """One table over seeds."""
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for line in lines:
        figures = line["figures"]
        groups.setdefault((figures["strategy"], figures["epochs"]), []).append(figures)
    fields, precisions = (
        " and ".join(_distinct(line["figures"][key] for line in lines)) for key in ("fields", "precision")
    )
    about = (
        f"Fields {fields}, precision {precisions}; {_where_and_when(lines)}. Test error, seconds and cost are means "
        "over the seeds, the error with the standard deviation where there are several. The cost is in trainings "
        "of so many epochs."
    )
    head = ["strategy", "seeds", "epochs", "test error, %", "ends at", "seconds", "cost"]
    return f"{about}\n\n" + _table(head, [_training_row(runs) for runs in groups.values()])


def _training_row(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Of one strategy and length, over its seeds."""
    errors = [100 * run["test_error"] for run in runs]
    spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    seconds, cost = (statistics.mean(run[key] for run in runs) for key in ("wall_seconds", "cost"))
    return [
        runs[0]["strategy"],
        ", ".join(str(run["seed"]) for run in runs),
        f"{runs[0]['epochs']:g}",
        f"{statistics.mean(errors):.2f}{spread}",
        "; ".join(_distinct("·".join(_distinct(run["constraints"])) for run in runs)),
        f"{seconds:.0f}",
        f"{cost:.2f}",
    ]


def _without_figures(kinds: dict[str, list[Part]], ledger: Ledger) -> str:
    """The parts that have never run, or whose last run failed or was stopped."""
    bullets = []
    for kind, parts in kinds.items():
        states: dict[str, list[str]] = {}
        for part in parts:
            if state := _state(ledger.last(part)):
                states.setdefault(state, []).append(_variant(part))
        for state, variants in states.items():
            which = f"all {len(parts)}" if len(variants) == len(parts) > 1 else "; ".join(variants)
            bullets.append(f"- {kind}{f' ({which})' if which else ''}: {state}")
    return "\n".join(["### Not run yet, failed or stopped", "", *bullets]) if bullets else ""


def _state(line: dict[str, Any] | None) -> str:
    """In words; none where the last run was done."""
    if line is None:
        return "has never run."
    if line["status"] == "done":
        return ""
    how = f"stopped after {line['seconds']:.0f} s" if line["status"] == "stopped" else "failed"
    reason = f": `{found}`" if (found := reason_in(line.get("tail", ""))) else "."
    return f"{how} on {line['date']} at commit {line['commit']}{reason}"


def reason_in(tail: str) -> str:
    """The first line of an output that names an error, or else its last; paths without their folders."""
    named = _PROBLEM.search(tail)
    whole = [text for text in tail.splitlines() if text.strip() and not text.startswith((" ", "Traceback"))]
    line = named[1] if named else (whole or [""])[-1]
    line = without_folders(line).replace("`", "'").strip()
    return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page is out of date")
    arguments = parser.parse_args()
    present = PAGE.read_text()
    wanted = filled(present)
    if arguments.check:
        return int(wanted != present)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
