"""A network out of the library: written, compared with itself, and only then given its name."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.deploy._base import Card, Runner
from equimorph.deploy.catalog import format_named
from equimorph.deploy.manifest import write_manifest
from equimorph.errors import ConfigurationError, ExportError
from equimorph.inspection import sites
from equimorph.morphisms import plain

TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-10,  # measured: 7e-16 for networks of two blocks in all dimensions, 0 with residual additions
    torch.float32: 1e-4,  # measured: 6.3e-7 for the same, and 1.6e-6 for the worst of 22 usual architectures as ONNX
}
"""Largest difference of outputs, relative to the largest output, that counts as rounding, by dtype."""

BATCHES = (1, 2, 5)
_SEED = 0


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: Where it lies.
        format: The format's name.
        files: The names of all files in it.
        largest_difference: Between its outputs and the network's, relative to the largest output.
        tolerance: What was allowed.
        holds_pickle: Whether reading it runs a pickle.
    """

    folder: Path
    format: str
    files: tuple[str, ...]
    largest_difference: float
    tolerance: float
    holds_pickle: bool


def export(
    network: nn.Module,
    folder: str | Path,
    *,
    format: str = "onnx",
    example: Tensor,
    labels: Sequence[str] = (),
    preprocessing: Mapping[str, Any] | None = None,
    fold_norms: bool = False,
    fourier: bool = False,
) -> Export:
    """Write a network so that it can be used without the library.

    What was written is run beside the network on random inputs, in batches of 1, 2 and 5; the folder gets its name
    only when their outputs agree up to rounding.

    Args:
        network: Of the library or of torch; left as it was.
        folder: To be made; it must not exist.
        format: "onnx", "torch", or "torch-export", which holds a pickle.
        example: An input, shape (batch, channels, *spatial). The export is for its size and dtype, and any batch.
        labels: The name of each class, or of each value.
        preprocessing: As in `best/preprocessing.json` of a run; when left out, samples are taken as they are. With
            `targets`, "values" or "maps", the outputs are not taken for those of classes.
        fold_norms: Put batch norms into the convolutions before them.
        fourier: Put wide pointwise layers that commute with all of G in the Fourier basis, where that is faster.
    Returns:
        What was written, with the largest difference measured.
    Raises:
        ConfigurationError: No such format or a package is missing; labels or preprocessing do not fit the network.
        MorphismError: torch cannot trace the network.
        ExportError: The folder exists; the outputs differ; or the format cannot express the network.
    Example:
        >>> import tempfile
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     done = export(network, Path(parent) / "out", format="torch", example=torch.zeros(1, 1, 4, 4))
        >>> done.files
        ('labels.json', 'manifest.json', 'network.py', 'predict.py', 'preprocessing.json', 'weights.safetensors')
    """
    form, folder = format_named(format), Path(folder)
    if folder.exists() or folder.is_symlink():
        raise ExportError(f"export: {folder} exists already; name another folder, or remove it.")
    if example.dtype not in TOLERANCES:
        raise ConfigurationError(f"export: inputs are {example.dtype}; convert the network to float32 with .float().")
    original = copy.deepcopy(network).eval()
    ordinary = plain(original, example, fold_norms=fold_norms, fourier=fourier).cpu()
    expected = _output(original, example)
    card = Card(_checked_labels(labels, expected), _checked_preprocessing(preprocessing, example), _provenance(network))
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    try:
        _make(partial)
        runner = form.write(ordinary, example[:1].cpu(), card, partial)
        difference = _largest_difference(original, runner, example)
        tolerance = TOLERANCES[example.dtype]
        if not difference <= tolerance:
            raise ExportError(
                f"export: what was written as {format} differs from the network by {difference:.1e} of its largest "
                f"output, and {tolerance:.0e} is rounding; nothing was kept. Try another format."
            )
        _write_beside(partial, card)
        about = {
            "format": format,
            "holds_pickle": form.holds_pickle,
            "input": {"dtype": _name(example.dtype), "shape": ["batch", *example.shape[1:]]},
            "output": {"dtype": _name(expected.dtype), "shape": ["batch", *expected.shape[1:]]},
            "verified": {"batches": BATCHES, "largest_difference": difference, "tolerance": tolerance},
        }
        write_manifest(partial, about)
        files = tuple(sorted(path.name for path in partial.iterdir()))
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Export(folder, format, files, difference, tolerance, form.holds_pickle)


def _make(partial: Path) -> None:
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"export: {partial.parent} cannot be written: {error.strerror}.") from None


def _output(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        output = network(x)
    if not isinstance(output, Tensor):
        raise ExportError(
            f"export: the network returns a {type(output).__name__}, and one tensor is needed; wrap it in a module "
            "that returns the part you want."
        )
    return output


def _largest_difference(original: nn.Module, runner: Runner, example: Tensor) -> float:
    """max |written - original| / max |original|, over standard normal inputs of the example's shape."""
    generator = torch.Generator().manual_seed(_SEED)
    worst = 0.0
    for batch in BATCHES:
        x = torch.randn((batch, *example.shape[1:]), generator=generator, dtype=example.dtype)
        expected = _output(original, x.to(example.device)).cpu()
        with torch.no_grad():
            found = runner(x)
        if found.shape != expected.shape or found.dtype != expected.dtype:
            raise ExportError(
                f"export: for a batch of {batch} the network gives {tuple(expected.shape)} {expected.dtype}, and what "
                f"was written {tuple(found.shape)} {found.dtype}; nothing was kept."
            )
        scale = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
        difference = float((found - expected).abs().max() / scale)
        worst = max(worst, difference) if difference == difference else float("nan")
        if worst != worst:
            break
    return worst


def _checked_labels(labels: Sequence[str], output: Tensor) -> tuple[str, ...]:
    if isinstance(labels, str):
        raise ConfigurationError(f'export: labels are the text "{labels}"; give a list with one name for each class.')
    if labels and (output.ndim < 2 or output.shape[1] != len(labels)):
        raise ConfigurationError(
            f"export: {len(labels)} labels, and the network's output has shape {tuple(output.shape)}; "
            "give one name for each class, or none."
        )
    return tuple(labels)


def _checked_preprocessing(given: Mapping[str, Any] | None, example: Tensor) -> dict[str, Any]:
    channels, sides = example.shape[1], list(example.shape[2:])
    known: dict[str, Any] = {"channels": channels, "image_size": min(sides, default=1), "sides": sides}
    if given is None:
        return {**known, "mean": [0.0] * channels, "std": [1.0] * channels}
    wanted = {**given, **{key: list(given[key]) for key in ("mean", "std", "sides") if key in given}}
    missing = [key for key in ("mean", "std") if key not in wanted]
    if missing:
        raise ConfigurationError(f"export: preprocessing has no {' and no '.join(missing)}, one number a channel.")
    for key in ("channels", "sides"):
        if wanted.setdefault(key, known[key]) != known[key]:
            raise ConfigurationError(f"export: preprocessing has {key} {wanted[key]}, and the example {known[key]}.")
    wanted.setdefault("image_size", known["image_size"])
    if len(wanted["mean"]) != channels or len(wanted["std"]) != channels or not all(s > 0 for s in wanted["std"]):
        raise ConfigurationError(f"export: mean and std need {channels} numbers, one a channel, std above zero.")
    return wanted


def _provenance(network: nn.Module) -> dict[str, Any]:
    from equimorph import __version__

    constraints = sites(network)
    groups = sorted({constraint.group.name for constraint in constraints.values()})
    return {
        "equimorph": __version__,
        "torch": torch.__version__,
        "group": groups[0] if len(groups) == 1 else groups or None,
        "constraints": {name: constraint.name for name, constraint in constraints.items()},
    }


def _write_beside(folder: Path, card: Card) -> None:
    """Labels, preprocessing, and the script that predicts."""
    (folder / "labels.json").write_text(json.dumps(list(card.labels), indent=2) + "\n", encoding="utf-8")
    (folder / "preprocessing.json").write_text(json.dumps(dict(card.preprocessing), indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("predict_script.py"), folder / "predict.py")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
