"""The folder of a run: settings, history, weights. Its format is described in docs/run-folder.md."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import sys
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from equimorph.data import ImageData
from equimorph.errors import EquivarianceWarning, MorphismError, RunFolderError
from equimorph.inspection import sites
from equimorph.models import MODELS, rebuild_model
from equimorph.morphisms import Conversion, equivariantize, plain, plain_source
from equimorph.morphisms.describe import describe_spaces, rebuild_spaces
from equimorph.morphisms.reinitialize import seeded
from equimorph.search.candidate import Candidate

_PACKAGES = ("equimorph", "torch", "numpy", "lightning-fabric", "safetensors")


class RunFolder:
    """Writes a run folder, line by line as the run goes on.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def check_absent(path: str | Path) -> None:
        """Raise RunFolderError when there is something at that path already; nothing in it is touched."""
        if not str(path).strip():
            raise RunFolderError("search: --out is empty; name the folder to make.")
        if Path(path).exists() or Path(path).is_symlink():
            raise RunFolderError(f"search: {path} exists already; name another folder with --out, or remove it.")

    @classmethod
    def create(cls, path: str | Path, *, config: Mapping[str, Any], device: torch.device) -> RunFolder:
        """Make the folder, with config.yaml and environment.json in it.

        Raises:
            RunFolderError: It exists, or cannot be made.
        """
        import yaml

        cls.check_absent(path)
        folder = cls(Path(path))
        try:
            (folder.path / "candidates").mkdir(parents=True)
        except OSError as error:
            raise RunFolderError(f"search: {path} cannot be made: {error.strerror}.") from None
        (folder.path / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
        folder._write_json("environment.json", _environment(device))
        return folder

    def write_splits(self, data: ImageData) -> None:
        """Write splits.csv: which sample is in which part, and of which class; of none where targets are no classes."""
        with (self.path / "splits.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["sample", "class", "split"])
            for part, split in (("train", data.train), ("validation", data.validation), ("test", data.test)):
                labels = [data.classes[label] for label in split.y.tolist()] if split.targets == "classes" else None
                for sample, label in zip(split.ids or (), labels or [""] * len(split), strict=False):
                    rows.writerow([sample, label, part])

    def append_history(self, line: Mapping[str, Any]) -> None:
        """Add a line to history.jsonl."""
        self._append("history.jsonl", line)

    def append_timing(self, line: Mapping[str, Any]) -> None:
        """Add a line to timing.jsonl."""
        self._append("timing.jsonl", line)

    def keep_weights(self, networks: Mapping[int, nn.Module]) -> None:
        """Save the weights of these candidates, and remove those of all others."""
        wanted = {_weights_name(number): network for number, network in networks.items()}
        folder = self.path / "candidates"
        for name, network in wanted.items():
            if not (folder / name).exists():
                _save(network, folder / name)
        for path in folder.glob("*.safetensors"):
            if path.name not in wanted:
                path.unlink()

    def write_best(self, network: nn.Module, candidate: Candidate, data: ImageData) -> None:
        """Write best/: weights for torch alone, how to build the network, labels and preprocessing."""
        best = self.path / "best"
        best.mkdir()
        model = next((name for name, known in MODELS.items() if type(network) is known), None)
        conversion = getattr(network, "conversion", None)
        architecture = {
            "candidate": candidate.number,
            "constraints": {name: subgroup.name for name, subgroup in sites(network).items()},
            "spaces": describe_spaces(network),
            "model": model,
            "arguments": None if model is None else network.arguments,
            "conversion": conversion.options() if isinstance(conversion, Conversion) else None,
        }
        self._write_json("best/architecture.json", architecture)
        self._write_json("best/labels.json", list(data.classes))
        self._write_json("best/preprocessing.json", data.preprocessing())
        parameter = next(network.parameters())
        example = data.standardize(data.train.x[:1], parameter.dtype).to(parameter.device)
        try:
            ordinary = plain(network, example)
        except MorphismError as error:  # the run is not lost for it: em.load still reads the network
            warnings.warn(f"search: no plain weights were written to {best}: {error}", stacklevel=2)
            return
        _save(ordinary, best / "weights.safetensors")
        try:
            source = plain_source(ordinary, example)
        except MorphismError:
            return  # torch cannot trace it: em.load still reads it, with the user's own code
        (best / "network.py").write_text(source)

    def _append(self, name: str, line: Mapping[str, Any]) -> None:
        with (self.path / name).open("a") as file:
            file.write(json.dumps(_without_nan(line), allow_nan=False) + "\n")

    def _write_json(self, name: str, content: Any) -> None:
        (self.path / name).write_text(json.dumps(content, indent=2) + "\n")


def load(run: str | Path, *, network: nn.Module | None = None, example: Tensor | None = None) -> nn.Module:
    """The best network of a run folder, with its weights, in evaluation mode.

    Args:
        run: The folder.
        network: The network that the search was started with, where it is not one of `em.models`; or the ordinary one
            that this was converted from.
        example: An input, for an ordinary network, which is converted for it as it was for the search.
    Returns:
        A new network.
    Raises:
        RunFolderError: Not the folder of a finished run, a file in it is damaged, or `network` is needed.
    """
    architecture, weights = _read_best(Path(run))
    if network is None and architecture.get("model") not in MODELS:
        raise RunFolderError(
            f"load: {run} holds a network of your own; pass the one the search began with, network= (--network)."
        )
    with seeded(0):  # initial values, which are overwritten
        found = rebuild_spaces(_start(run, architecture, network, example), architecture["spaces"])
    found.to(next(iter(weights.values())).dtype)
    try:
        found.load_state_dict(weights)
    except RuntimeError as error:
        raise RunFolderError(f"load: the weights in {run} do not fit the network: {error}.") from None
    return found.eval()


def _start(
    run: str | Path, architecture: Mapping[str, Any], network: nn.Module | None, example: Tensor | None
) -> nn.Module:
    """A network of the shape of the one that a search was started with."""
    if network is None:
        return rebuild_model(architecture["model"], architecture["arguments"])
    if sites(network):
        return network
    conversion = architecture.get("conversion")
    if conversion is None or example is None:
        raise RunFolderError(
            f"load: {type(network).__name__} has no sites; pass the network that the search in {run} began with, or "
            "the ordinary one that it was converted from and an example=."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EquivarianceWarning)  # the search has said it
        options = {key: value for key, value in conversion.items() if key != "group"}
        return equivariantize(network, conversion["group"], example, **options)


def load_architecture(run: str | Path, network: nn.Module) -> nn.Module:
    """A network with the weight spaces that a run found, mixture weights included, and values of no meaning.

    Args:
        run: The folder of a finished run.
        network: A network with the sites of the one that the search was started with; it may be of another width.
    Raises:
        RunFolderError: Not the folder of a finished run, or a file in it is damaged.
        SiteError: The sites differ.
    """
    architecture, weights = _read_best(Path(run))
    found = rebuild_spaces(network, architecture["spaces"])
    kept = {name: tensor for name, tensor in weights.items() if name.rpartition(".")[2] in ("logits", "temperature")}
    found.load_state_dict(kept, strict=False)
    return found


def _read_best(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a finished run says of its best network, and its weights."""
    path = folder / "best" / "architecture.json"
    try:
        architecture = json.loads(path.read_text())
        number = architecture["candidate"]
        if not isinstance(architecture["spaces"], dict):
            raise TypeError("spaces are no mapping")
        path = folder / "candidates" / _weights_name(number)
        return architecture, safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise RunFolderError(f"load: {folder} is not the folder of a finished run: no {path}.") from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunFolderError(f"load: {folder} is damaged: {error}.") from None


def _without_nan(line: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no word for infinity: a test loss that overflowed, say, is null, and so are shares within a mapping."""
    return {key: _finite_or_none(value) for key, value in line.items()}


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _without_nan(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _weights_name(number: int) -> str:
    return f"{number:04d}.safetensors"


def _save(network: nn.Module, path: Path) -> None:
    """Write to a temporary name first, so that a file of the final name is whole."""
    temporary = path.with_suffix(".partial")
    # Clones, since the format knows no tensor under two names, which is what a layer used twice has.
    state = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    safetensors.torch.save_file(state, temporary)
    temporary.replace(path)


def _environment(device: torch.device) -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": versions,
        "system": platform.platform(),
        "device": str(device),
        "device_name": name,
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
