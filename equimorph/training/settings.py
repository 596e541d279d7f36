"""What a training needs to be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, get_args

import numpy as np
import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from equimorph.errors import ConfigurationError

OptimizerName = Literal["sgd", "adam", "adamw"]
ScheduleName = Literal["cosine", "constant"]
PrecisionName = Literal["32", "64", "bf16-mixed", "16-mixed"]
ClassWeights = Literal["none", "loss", "sampling"]

_CLASSES: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
_DEFAULT_RATES = {"sgd": 0.05, "adam": 1e-3, "adamw": 1e-3}


@dataclass(frozen=True)
class TrainingSettings:
    """How a lineage is trained.

    Attributes:
        epochs: The length of a lineage: how long the returned network is trained for, its ancestors included.
        batch_size: Samples per step; a training set that is smaller is one batch.
        optimizer: "sgd" (with momentum), "adam" or "adamw".
        lr: Learning rate of the dense kernel (`em.parameter_groups`); 0.05 for SGD and 0.001 for Adam when left out.
        momentum: Of SGD.
        weight_decay: Of the dense kernel; decoupled for AdamW.
        schedule: "cosine" takes the learning rate to zero over the lineage, "constant" leaves it.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        augment: What is changed at random in the training samples, in the words of `em.data.Augmentation`; nothing when
            empty.
        class_weights: "loss" weighs each sample's loss, "sampling" draws each sample, by one over the number of its
            class, so that rare classes count as much as frequent ones; "none" leaves them.
        precision: "32", "64", "bf16-mixed" or "16-mixed".
        deterministic: Whether a GPU takes only those convolutions whose sums have a fixed order, so that a run repeats
            to the bit there as well; on a CPU it does in any case.
        seed: Of everything that is drawn at random.
    Raises:
        ConfigurationError: A value outside its range.
    """

    epochs: float = 30.0
    batch_size: int = 64
    optimizer: OptimizerName = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: ScheduleName = "cosine"
    device: str = "auto"
    precision: PrecisionName = "32"
    deterministic: bool = True
    augment: str = ""
    class_weights: ClassWeights = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        for what, choices in (
            *(("optimizer", OptimizerName), ("schedule", ScheduleName)),
            *(("precision", PrecisionName), ("class_weights", ClassWeights)),
        ):
            value = getattr(self, what)
            if value not in get_args(choices):
                raise ConfigurationError(f'training: {what} is "{value}"; it is one of {", ".join(get_args(choices))}.')
        if self.batch_size < 1:
            raise ConfigurationError(f"training: batch_size is {self.batch_size}; it must be at least one.")
        if self.batch_size == 1:
            raise ConfigurationError("training: batch_size is 1; batch normalisation needs at least two samples.")
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise ConfigurationError(f"training: epochs is {self.epochs}; it must be positive.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ConfigurationError(f"training: lr is {self.lr}; it must be positive.")
        if not 0 <= self.momentum < 1:
            raise ConfigurationError(f"training: momentum is {self.momentum}; it must be at least 0 and below 1.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ConfigurationError(f"training: weight_decay is {self.weight_decay}; it must not be negative.")
        if self.seed < 0:
            raise ConfigurationError(f"training: seed is {self.seed}; it must not be negative.")
        kind, _, number = self.device.partition(":")
        if kind not in ("auto", "cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdigit())):
            raise ConfigurationError(f'training: device is "{self.device}"; it is auto, cpu, cuda, cuda:1 or mps.')

    @property
    def learning_rate(self) -> float:
        """The learning rate at the start."""
        return _DEFAULT_RATES[self.optimizer] if self.lr is None else self.lr

    @property
    def optimizer_class(self) -> type[Optimizer]:
        """Torch's class of that name."""
        return _CLASSES[self.optimizer]

    def rate_factor(self, step: int, total_steps: int) -> float:
        """What the learning rate is multiplied by at a step of the lineage."""
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(step / total_steps, 1.0)))


class SeedBranch(IntEnum):
    """What draws at random in a run, each from a branch of its own of the run's seed."""

    BATCHES = 1
    CANDIDATES = 2
    MOVES = 3
    FRESH_VALUES = 4
    FIRST_VALUES = 5
    AUGMENTATION = 6
    HELD_OUT = 7
    ARCHITECTURE_BATCHES = 8
    SHUFFLES = 9
    PARENTS = 10
    CHAINS = 11


def derived_seed(seed: int, *path: int) -> int:
    """A seed for one part of a run, independent of all others: the same run seed and path give the same."""
    # Numbers and their count in one word each, since SeedSequence fills its entropy up with zeros.
    state = np.random.SeedSequence(seed, spawn_key=(len(path), *path)).generate_state(2, np.uint32)
    return int(state[0]) << 31 ^ int(state[1])


def derived_generator(seed: int, *path: int) -> torch.Generator:
    """A generator seeded with `derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, *path))
