"""A finished run as later commands take it up: its best network, labels, preprocessing, and how its data were read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equimorph.cli.networks import OWN_FORM, own_network
from equimorph.data.sources import ChannelAxis
from equimorph.errors import RunFolderError
from equimorph.search import load


@dataclass(frozen=True)
class FinishedRun:
    """What the folder of a finished run holds.

    Attributes:
        folder: The folder.
        network: The best network, in evaluation mode.
        labels: The names of the classes, if there are any.
        preprocessing: What is done to a raw sample.
    """

    folder: Path
    network: nn.Module
    labels: list[str]
    preprocessing: dict[str, Any]

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's parameters."""
        return next(self.network.parameters()).dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample: channels and sides."""
        return (self.preprocessing["channels"], *self.preprocessing["sides"])

    def start(self) -> dict[str, Any]:
        """The first line of the history, which says what was asked for; nothing where it cannot be read."""
        try:
            with (self.folder / "history.jsonl").open(encoding="utf-8") as file:
                line = json.loads(file.readline())
        except (OSError, ValueError):
            return {}
        return line if isinstance(line, dict) else {}

    def channel_axis(self) -> ChannelAxis:
        """Which axis of arrays counted channels when it was trained."""
        import yaml

        try:
            config = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return "auto"
        given = config.get("channel_axis") if isinstance(config, dict) else None
        return "first" if given == "first" else "last" if given == "last" else "auto"


def add_run_arguments(add: Callable[..., Any]) -> None:
    """Which run, and where the user's own network comes from."""
    add("run", type=str, help="the run folder")
    add(
        "--network",
        type=str | None,
        default=None,
        help=f"of a run with a network of your own, {OWN_FORM} as it was given to the search; code that a run folder "
        "names is never run by itself",
    )


def open_run(run: str | Path, network: str | None) -> FinishedRun:
    """The best network of a run, one of ours or the user's own, and what stands beside it.

    Raises:
        RunFolderError: Not the folder of a finished run, a file is missing or damaged, or `network` is needed.
        ConfigurationError: The user's own network cannot be made.
    """
    folder = Path(run)
    found = None if network is not None else load(folder)
    labels, preprocessing = _read_best(folder, "labels.json"), _read_best(folder, "preprocessing.json")
    if found is None:
        sides = preprocessing["sides"]
        known = {"in_channels": preprocessing["channels"], "num_classes": len(labels), "image_size": min(sides)}
        model = own_network(str(network), **known)
        found = load(folder, network=model, example=torch.zeros(2, preprocessing["channels"], *sides))
    return FinishedRun(folder, found, labels, preprocessing)


def _read_best(folder: Path, name: str) -> Any:
    path = folder / "best" / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunFolderError(f"{path} is missing; it is part of a finished run.") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is damaged: {error}.") from None
