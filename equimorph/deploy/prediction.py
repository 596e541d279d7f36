"""From image files to predictions, each image also moved by every element of the group where that is asked for."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equimorph.data.loading import silent
from equimorph.data.problems import Findings
from equimorph.data.scan import Progress
from equimorph.data.sources import ChannelAxis, Form
from equimorph.deploy.samples import batches, form_of, standardized, tell_problems
from equimorph.errors import ConfigurationError
from equimorph.groups import Group
from equimorph.inspection import sites
from equimorph.layers import transform


@dataclass(frozen=True)
class MovedPrediction:
    """What a network says of an image that an element of the group moved.

    Attributes:
        element: Its index in the group.
        predicted: The class; None of a network whose outputs are no class scores.
        probability: Of that class; None likewise.
        difference: |p(gx) - p(x)|, the largest over all classes (or outputs).
    """

    element: int
    predicted: str | None
    probability: float | None
    difference: float


@dataclass(frozen=True)
class Prediction:
    """What a network says of an image.

    Attributes:
        file: The image.
        predicted: The class of the largest probability; None of a network whose outputs are no class scores.
        values: The probability of each class by its label; or each output by its name.
        moved: With `orbit`, one for each element that moves the image.
    """

    file: str
    predicted: str | None
    values: Mapping[str, float]
    moved: tuple[MovedPrediction, ...] = ()

    @property
    def agreement(self) -> float | None:
        """The share of the moves with which the class stays; None where there are no classes or no moves."""
        if self.predicted is None or not self.moved:
            return None
        return sum(moved.predicted == self.predicted for moved in self.moved) / len(self.moved)

    @property
    def largest_difference(self) -> float:
        """The largest of all differences, 0 without elements."""
        return max((moved.difference for moved in self.moved), default=0.0)


def predict(
    network: nn.Module,
    images: Sequence[str | Path],
    preprocessing: Mapping[str, Any],
    *,
    labels: Sequence[str] = (),
    is_classifier: bool | None = None,
    orbit: bool = False,
    group: Group | None = None,
    channel_axis: ChannelAxis = "auto",
    skip_bad: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
    workers: int | None = 0,
    progress: Progress = silent,
) -> tuple[Prediction, ...]:
    """Predict from files, each prepared as the training samples were.

        p(x) = softmax(f(x))        and with `orbit`  p(gx)  for every element g of the group but the identity

    Args:
        network: From standardised samples to one vector each; left as it was.
        images: PNG, JPEG, TIFF and other image files, or `.npy` arrays of one signal, image or volume each.
        preprocessing: As in `best/preprocessing.json` of a run: `channels`, `sides`, `mean`, `std`, and `fit`.
        labels: The name of each output.
        is_classifier: Whether outputs are class scores; when left out, where there is a label for each.
        orbit: Also predict every image moved by each element of the group that keeps its sides.
        group: G; that of the network's sites when left out.
        channel_axis: Which axis of an array counts channels.
        skip_bad: Leave out files that cannot be used, and warn of them.
        batch_size: Images at a time.
        device: Where the network runs: cpu, cuda, cuda:1 or mps.
        workers: Processes that decode; as many as there are cores when None, none beside this one when 0.
        progress: Is told how many files are done.
    Returns:
        One for each file that could be read, in order.
    Raises:
        DataProblemsError: Files cannot be used; names all of them, with the reasons.
        ConfigurationError: Preprocessing, labels or device do not fit the network, or the network has no group.
    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> np.save(f"{folder.name}/a.npy", np.eye(4))
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> _ = torch.nn.init.zeros_(network[1].weight), torch.nn.init.constant_(network[1].bias, 1.0)
        >>> known = {"channels": 1, "sides": [4, 4], "mean": [0.0], "std": [1.0]}
        >>> [found] = predict(network, [f"{folder.name}/a.npy"], known, labels=["cat", "dog"])
        >>> found.predicted, found.values
        ('cat', {'cat': 0.5, 'dog': 0.5})
        >>> folder.cleanup()
    """
    form = form_of(preprocessing)
    ambient = _group_of(network, group, form) if orbit else None
    running = _on_device(network, device)
    files, findings, found = [str(path) for path in images], Findings(), list[Prediction]()
    naming: _Naming | None = None
    done = 0
    for numbers, problems, raw in batches(files, form, channel_axis, size=batch_size, workers=workers):
        done += len(numbers) + len(problems)
        for number, reason in problems:
            findings.add(files[number], reason)
        if numbers and (skip_bad or not findings.problems):  # else they are read for their problems alone
            x = _standardized(raw, preprocessing, running)
            outputs = _run(running, x)
            naming = naming or _Naming.of(outputs, labels, is_classifier=is_classifier)
            found += _told([files[number] for number in numbers], running, x, outputs, naming, ambient)
        progress("predicting", done, len(files))
    tell_problems(findings, len(files), skip_bad=skip_bad)
    return tuple(found)


@dataclass(frozen=True)
class _Naming:
    """What each output is called, and whether outputs are class scores."""

    names: tuple[str, ...]
    is_classifier: bool

    @classmethod
    def of(cls, outputs: Tensor, labels: Sequence[str], *, is_classifier: bool | None) -> _Naming:
        fits = len(labels) == outputs.shape[1] > 0
        if is_classifier and not fits:
            raise ConfigurationError(
                f"predict: {len(labels)} class labels, and the network has {outputs.shape[1]} outputs; give one label "
                "for each, or say that the outputs are no class scores (is_classifier=False)."
            )
        if len(set(labels)) < len(labels):
            raise ConfigurationError(f"predict: labels {', '.join(labels)} are not all different.")
        names = tuple(labels) if fits else tuple(f"output_{number}" for number in range(outputs.shape[1]))
        return cls(names, fits if is_classifier is None else is_classifier)

    def values(self, outputs: Tensor) -> NDArray[np.float64]:
        """Probabilities, or the outputs as they are."""
        wide = outputs.double().cpu()
        return (wide.softmax(1) if self.is_classifier else wide).numpy()

    def best(self, row: NDArray[np.float64]) -> tuple[str | None, float | None]:
        """The class of the largest probability, and that; None where there are no classes."""
        if not self.is_classifier:
            return None, None
        place = int(row.argmax())
        return self.names[place], float(row[place])


def _told(
    files: Sequence[str], network: nn.Module, x: Tensor, outputs: Tensor, naming: _Naming, group: Group | None
) -> list[Prediction]:
    """The predictions of a batch."""
    values = naming.values(outputs)
    moved: list[list[MovedPrediction]] = [[] for _ in files]
    for element in _keeping_sides(group, x):
        assert group is not None
        of_element = naming.values(_run(network, transform(x, element, group, "trivial")))
        for of_file, row, unmoved in zip(moved, of_element, values, strict=True):
            label, probability = naming.best(row)
            of_file.append(MovedPrediction(element, label, probability, float(np.abs(row - unmoved).max())))
    return [
        Prediction(
            file,
            naming.best(row)[0],
            dict(zip(naming.names, row.tolist(), strict=True)),
            tuple(of_file),
        )
        for file, row, of_file in zip(files, values, moved, strict=True)
    ]


def _run(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        outputs = network(x)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ConfigurationError(
            f"predict: the network gives {shape} for {len(x)} images, and one vector each is needed; call it from your "
            "own code with read_images."
        )
    return outputs


def _keeping_sides(group: Group | None, x: Tensor) -> list[int]:
    """The elements but the identity that leave the sides of a batch as they are."""
    if group is None:
        return []
    sides = x.shape[2:]
    origins = [abs(matrix).argmax(1) for matrix in group.elements]
    return [e for e in range(1, group.order) if tuple(sides[axis] for axis in origins[e]) == tuple(sides)]


def _standardized(raw: Tensor, preprocessing: Mapping[str, Any], network: nn.Module) -> Tensor:
    parameter = next(network.parameters(), torch.zeros(()))
    return standardized(raw.to(parameter.device), preprocessing, parameter.dtype)


def _on_device(network: nn.Module, device: str) -> nn.Module:
    try:
        return copy.deepcopy(network).to(torch.device(device)).eval()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigurationError(
            f'predict: device is "{device}" ({reason}); it is cpu, or where this machine has one cuda, cuda:1 or mps.'
        ) from None


def _group_of(network: nn.Module, group: Group | None, form: Form) -> Group:
    if group is None:
        found = [constraint.group for constraint in sites(network).values()]
        if not found:
            raise ConfigurationError("predict: the network has no group of its own; pass one, group=.")
        group = found[0]
    if group.dim != len(form.sides):
        raise ConfigurationError(
            f"predict: {group.name} acts in dimension {group.dim}, and samples have {len(form.sides)} axes."
        )
    return group
