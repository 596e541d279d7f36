"""Weights and the Python source that builds their network, for torch and safetensors alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from equimorph.deploy._base import CARD_KEY, Card, Format, Runner
from equimorph.morphisms import plain_source


class TorchFolder(Format):
    """`weights.safetensors`, with the card in its metadata, and `network.py`, whose `load()` gives the network."""

    name = "torch"

    def write(self, network: nn.Module, example: Tensor, card: Card, folder: Path) -> Runner:
        """Write both files, and load the network from them."""
        source = plain_source(network, example)
        (folder / "network.py").write_text(source, encoding="utf-8")
        # Clones, since the format knows no tensor under two names.
        state = {
            name: value.detach().clone(memory_format=torch.contiguous_format)
            for name, value in network.state_dict().items()
        }
        weights = safetensors.torch.save(state, metadata={CARD_KEY: card.text()})
        (folder / "weights.safetensors").write_bytes(weights)  # save_file would let nobody else read it
        path = folder / "network.py"
        written: dict[str, Any] = {"__file__": str(path), "__name__": "network"}
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), written)  # an import would leave a cache
        runner: Runner = written["load"](folder)
        return runner
