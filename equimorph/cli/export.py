"""Write the best network of a run so that it can be used without equimorph.

Formats: torch (weights and a Python file), onnx, torch-export (holds a pickle). What was written is run beside the
network before it gets its name, and comes with a script that predicts.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jsonargparse import ArgumentParser

from equimorph.cli.runs import add_run_arguments, open_run
from equimorph.deploy import Export, export

_Name = Literal["torch", "torch-export", "onnx"]
_USE = {
    "torch": "from network import load; network = load()   # with network.py and weights.safetensors",
    "torch-export": 'torch.export.load("network.pt2").module()   # it holds a pickle, which can run any code in it',
    "onnx": 'onnxruntime.InferenceSession("network.onnx").run(None, {"image": samples})',
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    add = parser.add_argument
    add_run_arguments(add)
    add("--format", type=_Name, default="torch", help="torch, torch-export (holds a pickle), or onnx")
    add("--out", type=str | None, default=None, help="the folder to make (default: RUN/export-FORMAT)")
    add("--fold-norms", action="store_true", help="put batch norms into the convolutions before them")
    add("--fourier", action="store_true", help="wide pointwise layers that commute with all of G as smaller blocks")
    add("--debug", action="store_true", help="show the trace of an error")


def run(options: Any) -> int:
    """Export, and say what was written."""
    run = open_run(options.run, options.network)
    done = export(
        run.network,
        options.out or run.folder / f"export-{options.format}",
        format=options.format,
        example=torch.zeros((1, *run.shape), dtype=run.dtype),
        labels=run.labels,
        preprocessing=run.preprocessing,
        fold_norms=options.fold_norms,
        fourier=options.fourier,
    )
    print(_summary(done))
    return 0


def _summary(done: Export) -> str:
    differ = f"outputs differ by {done.largest_difference:.1e} of the largest (allowed: {done.tolerance:.0e})"
    lines = [
        f"folder          {done.folder}",
        f"files           {', '.join(done.files)}",
        f"verified        {differ}",
        f"predict         python {done.folder / 'predict.py'} IMAGE...",
        f"use             {_USE[done.format]}",
    ]
    if done.holds_pickle:
        lines.append("note            network.pt2 holds a pickle: load it only from where you would run a program from")
    return "\n".join(lines)
