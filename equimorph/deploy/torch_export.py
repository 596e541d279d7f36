"""The program that `torch.export` traces, in torch's own archive, which holds a pickle.

torch puts the traced program's example inputs into the archive as a pickle, and reading the file runs whatever code a
pickle says. So we write this format and never read it: what is verified is the program in memory, and of the file only
that the archive is whole and the card in it is ours. Load it only from where you would run a program from.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import torch
from torch import Tensor, nn

from equimorph.deploy._base import Card, Format, Runner
from equimorph.errors import ExportError
from equimorph.morphisms.exported_program import exported

_CARD = "card.json"


class TorchExport(Format):
    """`network.pt2`, for `torch.export.load`, AOTInductor and ExecuTorch; the card is its extra file `card.json`."""

    name = "torch-export"
    holds_pickle = True

    def write(self, network: nn.Module, example: Tensor, card: Card, folder: Path) -> Runner:
        """Write the file; the function returned is the program in memory, since reading the file runs a pickle."""
        program = exported(network, example)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths on the machine that exported
        path = folder / "network.pt2"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec")
            torch.export.save(program, path, extra_files={_CARD: card.text()})
        _check_archive(path, card)
        runner: Runner = program.module()
        return runner


def _check_archive(path: Path, card: Card) -> None:
    """Raise unless the archive is whole and holds the card; nothing in it is unpickled."""
    with zipfile.ZipFile(path) as archive:
        cards = [name for name in archive.namelist() if name.endswith(f"extra/{_CARD}")]
        if archive.testzip() is not None or [archive.read(name).decode() for name in cards] != [card.text()]:
            raise ExportError(f"export: {path.name} was not written whole; is the disk full?")
