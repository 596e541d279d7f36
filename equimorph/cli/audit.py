"""Measure where the best network of a run keeps the group, and where it does not: layer by layer, element by element.

Writes a page, and says whether what is lost is lost only where the search relaxed layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from equimorph.cli.runs import FinishedRun, add_run_arguments, open_run
from equimorph.deploy.samples import find_images, read_images
from equimorph.inspection import Audit, audit, sites
from equimorph.reports import equivariance
from equimorph.reports.equivariance.words import tell_reason, tell_relative, tell_unknown

_MOST_IMAGES = 16
_SEED = 0
_GIVEN = ("static", "chain", "from-G", "augmented")  # strategies that are told what each layer keeps


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    add = parser.add_argument
    add_run_arguments(add)
    add("--out", type=str | None, default=None, help="the page to write (default: RUN/audit.html)")
    add("--images", type=str | None, default=None, help=f"try {_MOST_IMAGES} images of a folder, and not noise")
    add("--group", type=str | None, default=None, help="try only this subgroup of the network's group (default: all)")
    add("--debug", action="store_true", help="show the trace of an error")


def run(options: Any) -> int:
    """Audit, write the page, and say what was found."""
    run = open_run(options.run, options.network)
    example, about = _example(options.images, run)
    ambient = next(iter(sites(run.network).values())).group
    tried = ambient.whole if options.group is None else ambient.subgroup(options.group)
    found = audit(run.network, example, ambient, elements=[int(index) for index in tried.indices])
    name, chosen = run.folder.resolve().name, not run.start().get("strategy", "").startswith(_GIVEN)
    page = equivariance.write(
        found, options.out or run.folder / "audit.html", title=f"{name}: the best network", about=about, chosen=chosen
    )
    print(_summary(found, run.network, page, chosen=chosen))
    return 0


def _example(given: str | None, run: FinishedRun) -> tuple[Tensor, str]:
    """What the network is tried on, and that in words."""
    if given is not None:
        images = find_images([given], speaker="audit")[:_MOST_IMAGES]
        options: dict[str, Any] = {"channel_axis": run.channel_axis(), "dtype": run.dtype, "speaker": "audit"}
        read = read_images(images, run.preprocessing, **options)
        return read, f"{len(images)} image{'s' if len(images) > 1 else ''} of {given}"
    noise = torch.randn((2, *run.shape), generator=torch.Generator().manual_seed(_SEED), dtype=run.dtype)
    return noise, f"noise of {' x '.join(map(str, run.shape))}"


def _summary(found: Audit, network: nn.Module, page: Path, *, chosen: bool) -> str:
    numbers = equivariance.read_audit(found)
    told = [equivariance.tell_headline(numbers)]
    told += filter(None, [equivariance.tell_rest(numbers, chosen=chosen), tell_unknown(numbers)])
    calls = {call.row.path: call for call in numbers.calls}
    constraints = sites(network)
    width = max(14, *(len(name) for name in constraints)) + 2
    kept = max((len(constraint.name) for constraint in constraints.values()), default=0) + 2
    for name, constraint in constraints.items():
        call = calls.get(name)
        error = "not measured" if call is None else f"error {tell_relative(call.error)}"
        reason = "" if call is None or call.kind == "exact" else f"  {tell_reason(call, chosen=chosen)}"
        told.append(f"{name:<{width}}{constraint.name:<{kept}}{error}{reason}")
    told.append(f"{'page':<{width}}{page}")
    return "\n".join(told)
