"""Training a network for a stretch of its lineage, and measuring it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from equimorph.data import Augmentation, ImageData, Split
from equimorph.data.targets import as_target
from equimorph.errors import ConfigurationError, DivergedError
from equimorph.layers import frozen_kernels
from equimorph.morphisms import parameter_groups
from equimorph.morphisms.reinitialize import seeded
from equimorph.training.architecture import ArchitectureSteps
from equimorph.training.batches import Batches
from equimorph.training.defaults import Loss, default_loss, default_metric, name_of_metric
from equimorph.training.determinism import fixed_order
from equimorph.training.metrics import Metric, class_weights
from equimorph.training.settings import SeedBranch, TrainingSettings, derived_seed

_EVALUATED = 512  # samples at a time
_MOST_OF_DEVICE = 0.5  # of its free memory, for the data
_CHECK_EVERY = 25  # steps between looks at the loss, each of which waits for the device


@dataclass
class TrainingState:
    """A network at a point of its lineage: all that training on from there needs.

    Attributes:
        network: The network.
        optimizer: On its parameters.
        step: Steps of the lineage done so far.
    """

    network: nn.Module
    optimizer: Optimizer
    step: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a split.

    Attributes:
        loss: The mean loss.
        error: The metric; the same as the loss where there is none.
    """

    loss: float
    error: float


@dataclass(frozen=True)
class EpochReport:
    """Where a training stands at the end of an epoch, or of its stretch.

    Attributes:
        epoch: Position in the lineage.
        learning_rate: Of the dense kernel at the last step.
        train_loss: Mean over the steps since the last report.
        validation: Loss and error on the validation split.
    """

    epoch: float
    learning_rate: float
    train_loss: float
    validation: Evaluation


class Trainer:
    """Trains and measures networks on one data set with one set of settings, on one device.

    Args:
        data: The data set, which is moved to the device as a whole where it fits.
        settings: How to train.
        loss: When left out, cross-entropy for classes (of samples or pixels), the squared error for all else.
        metric: When left out, the share of samples or pixels whose class is wrong; the loss itself where there are no
            classes.
    Attributes:
        metric_name: What a history calls the metric.
    Raises:
        ConfigurationError: The device is not there, or class weights are asked for targets that are no classes.
    """

    def __init__(
        self,
        data: ImageData,
        settings: TrainingSettings,
        *,
        loss: Loss | None = None,
        metric: Metric | None = None,
    ) -> None:
        loss = default_loss(data) if loss is None else loss
        self.data, self.settings, self.loss = data, settings, loss
        self.metric = default_metric(data) if metric is None else metric
        self.metric_name = name_of_metric(self.metric)
        _check_class_weights(data, settings)
        self.augmentation = Augmentation.parse(settings.augment, dim=data.dim)
        self.fabric = _fabric(settings)
        self.dtype = torch.float64 if settings.precision == "64" else torch.float32
        splits = {"train": data.train, "validation": data.validation, "test": data.test}
        fits = _fits(list(splits.values()), self.fabric.device)
        self._splits = {name: split.to(self.fabric.device) if fits else split for name, split in splits.items()}
        if settings.class_weights == "loss":
            self.loss = _weighted(loss, data, self.fabric.device, self.dtype)
        self.batches = self.batches_of(self._splits["train"])
        self.batch_size, self.steps_per_epoch = self.batches.size, self.batches.per_pass
        self.total_steps = max(1, round(settings.epochs * self.steps_per_epoch))

    def batches_of(
        self,
        samples: Split,
        *,
        branch: SeedBranch = SeedBranch.BATCHES,
        augmentation: Augmentation | None = None,
    ) -> Batches:
        """Batches of some training samples, as this trainer's settings say, or with another augmentation."""
        return Batches(
            self.data,
            samples,
            self.settings.batch_size,
            seed=self.settings.seed,
            dtype=self.dtype,
            device=self.fabric.device,
            branch=branch,
            weights=self._weights(samples),
            augmentation=self.augmentation if augmentation is None else augmentation,
        )

    @property
    def train_samples(self) -> Split:
        """The training samples, on the device."""
        return self._splits["train"]

    def start(self, network: nn.Module) -> TrainingState:
        """A fresh optimizer for a network, at the beginning of its lineage. The network is moved to the device."""
        settings = self.settings
        network.to(device=self.fabric.device, dtype=self.dtype)
        groups = parameter_groups(
            network, lr=settings.learning_rate, weight_decay=settings.weight_decay, optimizer=settings.optimizer_class
        )
        for group in groups:
            group["initial_lr"] = group["lr"]
        options: dict[str, Any] = {"momentum": settings.momentum} if settings.optimizer == "sgd" else {}
        return TrainingState(network, settings.optimizer_class(groups, **options))

    def advance(
        self,
        state: TrainingState,
        until_step: int,
        *,
        candidate: int = 0,
        batches: Batches | None = None,
        architecture: ArchitectureSteps | None = None,
        on_report: Callable[[EpochReport], None] | None = None,
        on_steps: Callable[[int], None] | None = None,
    ) -> Evaluation:
        """Train on, in place, up to a step of the lineage.

        Args:
            state: Where to begin; its network, optimizer and step are changed.
            until_step: The step to end at.
            candidate: What the network draws at random (dropout) is seeded from the run's seed and this number.
            batches: What is trained on; the training set when left out.
            architecture: How the logits of mixtures are trained beside the weights; not at all when left out.
            on_report: Told at the end of each epoch of the lineage, and at the end.
            on_steps: Told how many steps were done since it was last told.
        Returns:
            Loss and error on the validation split at the end.
        Raises:
            DivergedError: The loss is no longer a finite number; its `step` says since when.
        """
        network, optimizer = self._prepared(state)
        batches = self.batches if batches is None else batches
        watch = _LossWatch(self.fabric.device)
        report: EpochReport | None = None
        drawn = seeded(derived_seed(self.settings.seed, SeedBranch.CANDIDATES, candidate, state.step))
        with drawn, fixed_order(self.settings.deterministic):
            told = state.step
            while state.step < until_step:
                factor = self._set_rate(state)
                network.train()
                if architecture is not None:
                    architecture.before_weights(state.step)
                x, y = batches.at(state.step)
                loss = self.loss(network(x), y)
                optimizer.zero_grad()
                self.fabric.backward(loss)
                optimizer.step()
                if architecture is not None:
                    self._step_architecture(network, architecture, state.step)
                watch.see(loss, state.step)
                state.step += 1
                at_report = state.step == until_step or state.step % self.steps_per_epoch == 0
                if at_report or state.step % _CHECK_EVERY == 0:
                    watch.raise_if_diverged()
                    if on_steps is not None:
                        on_steps(state.step - told)
                        told = state.step
                if at_report:
                    validation = self.measure(*self._predict(network, self._splits["validation"]))
                    if not (math.isfinite(validation.loss) and math.isfinite(validation.error)):
                        raise _diverged(state.step - 1)
                    epoch = state.step / self.steps_per_epoch
                    rate = self.settings.learning_rate * factor
                    report = EpochReport(epoch, rate, watch.mean_since_last(), validation)
                    if on_report is not None:
                        on_report(report)
        for parameter in state.network.parameters():
            parameter.grad = None  # not kept with the candidates
        return self.evaluate(state.network, "validation") if report is None else report.validation

    def evaluate(self, network: nn.Module, split: str) -> Evaluation:
        """Loss and error on the "validation" or the "test" split, in evaluation mode."""
        return self.measure(*self.predict(network, split))

    def predict(self, network: nn.Module, split: str) -> tuple[Tensor, Tensor]:
        """All outputs and targets of the "validation" or the "test" split, in evaluation mode."""
        prepared = network if self.dtype is torch.float64 else self.fabric.setup_module(network)
        return self._predict(prepared, self._splits[split])

    @torch.no_grad()
    def measure(self, outputs: Tensor, targets: Tensor) -> Evaluation:
        """Loss and error of all outputs of a split."""
        totals = torch.zeros((), dtype=torch.float64)
        for part, y in zip(outputs.split(_EVALUATED), targets.split(_EVALUATED), strict=True):
            totals += len(y) * self.loss(part, y).double().cpu()
        loss = float(totals) / len(targets)
        return Evaluation(loss, loss if self.metric is None else float(self.metric(outputs, targets)))

    @torch.no_grad()
    def losses_in_parts(self, network: nn.Module, split: str, num_parts: int = 32) -> Tensor:
        """The mean loss over each of so many parts of a split, in evaluation mode, to tell how sure their mean is."""
        prepared = (network if self.dtype is torch.float64 else self.fabric.setup_module(network)).eval()
        outputs, targets = self._predict(prepared, self._splits[split])
        parts = zip(outputs.tensor_split(num_parts), targets.tensor_split(num_parts), strict=True)
        return torch.stack([self.loss(part, y) for part, y in parts if len(y)]).double().cpu()

    @torch.no_grad()
    def _predict(self, network: nn.Module, split: Split) -> tuple[Tensor, Tensor]:
        network.eval()
        device = self.fabric.device
        with frozen_kernels(network), fixed_order(self.settings.deterministic):
            outputs = [network(self.data.standardize(x.to(device), self.dtype)) for x, _ in split.in_order(_EVALUATED)]
        return torch.cat(outputs), as_target(split.y.to(device), self.dtype)

    def _weights(self, samples: Split) -> Tensor | None:
        """How often each sample is drawn, where rare classes are drawn more often."""
        if self.settings.class_weights != "sampling":
            return None
        labels = samples.y.cpu()
        return class_weights(labels, self.data.num_classes)[labels]

    def _prepared(self, state: TrainingState) -> tuple[nn.Module, Optimizer]:
        """Network and optimizer under the chosen precision, on the device."""
        if self.dtype is torch.float64:  # Fabric would hand the outputs over in single precision
            return state.network, state.optimizer
        network, optimizer = self.fabric.setup(state.network, state.optimizer)
        return network, optimizer

    def _set_rate(self, state: TrainingState) -> float:
        factor = self.settings.rate_factor(state.step, self.total_steps)
        for group in state.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        return factor

    def _step_architecture(self, network: nn.Module, architecture: ArchitectureSteps, step: int) -> None:
        if architecture.batches is not None:
            with architecture.weights_fixed():
                x, y = architecture.batches.at(step)
                self.fabric.backward(self.loss(network(x), y))
        architecture.step(step)


class _LossWatch:
    """Keeps the sum of losses, and the first step at which one was not finite, on the device."""

    def __init__(self, device: torch.device) -> None:
        self._sum = torch.zeros((), dtype=_wide_dtype(device), device=device)
        self._count = 0
        self._bad_step = torch.full((), -1, device=device)

    def see(self, loss: Tensor, step: int) -> None:
        loss = loss.detach()
        self._sum += loss
        self._count += 1
        bad = (self._bad_step < 0) & ~torch.isfinite(loss)
        self._bad_step = torch.where(bad, step, self._bad_step)

    def raise_if_diverged(self) -> None:
        bad_step = int(self._bad_step)
        if bad_step >= 0:
            raise _diverged(bad_step)

    def mean_since_last(self) -> float:
        mean = float(self._sum) / self._count
        self._sum.zero_()
        self._count = 0
        return mean


def _wide_dtype(device: torch.device) -> torch.dtype:
    """The dtype to add many numbers in: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _fits(splits: list[Split], device: torch.device) -> bool:
    """Whether the samples may live on a device."""
    if device.type != "cuda":
        return True
    tensors = [tensor for split in splits for tensor in (split.x, split.y) if isinstance(tensor, Tensor)]
    free, _ = torch.cuda.mem_get_info(device)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) < _MOST_OF_DEVICE * free


def _check_class_weights(data: ImageData, settings: TrainingSettings) -> None:
    if settings.class_weights != "none" and data.targets != "classes":
        raise ConfigurationError(
            f'training: class_weights "{settings.class_weights}" is for one class per sample, and the targets of '
            f'{data.name} are {data.targets}; take "none", and weigh your own loss.'
        )


def _weighted(loss: Loss, data: ImageData, device: torch.device, dtype: torch.dtype) -> Loss:
    """Cross-entropy in which each class counts alike."""
    if loss is not F.cross_entropy:
        raise ConfigurationError(
            'training: class_weights "loss" is for the cross-entropy; weigh your own loss yourself, or take "sampling".'
        )
    weights = class_weights(data.train.y, data.num_classes).to(device=device, dtype=dtype)
    return partial(F.cross_entropy, weight=weights)


def _diverged(step: int) -> DivergedError:
    return DivergedError(step, f"training: the loss is not a finite number since step {step + 1}; try a smaller --lr.")


def _fabric(settings: TrainingSettings) -> Fabric:
    kind, _, number = settings.device.partition(":")
    precision = {"32": "32-true", "64": "64-true"}.get(settings.precision, settings.precision)
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigurationError(f'training: there is no device "{settings.device}" here; try "cpu" or "auto".')
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigurationError('training: there is no device "mps" here; try "cpu" or "auto".')
    return Fabric(accelerator=kind, devices=[int(number)] if number else 1, precision=precision)  # type: ignore[arg-type]
