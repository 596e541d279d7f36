"""Which samples a step of a lineage sees: the same for every candidate of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from equimorph.data import ImageData, Split
from equimorph.data.augmentation import Augmentation
from equimorph.data.sending import sent
from equimorph.data.stream import AheadOfSteps, Stream
from equimorph.data.targets import IGNORED, as_target
from equimorph.errors import ConfigurationError
from equimorph.training.settings import SeedBranch, derived_generator

_SUMMED = 1024  # samples at a time


class Batches:
    """Batches of training samples, each a function of the run's seed and the step alone.

    The samples are gone through in an order drawn anew for each pass; the last incomplete batch of a pass is left out.

    Args:
        data: The data set, which knows how samples are standardised.
        samples: Raw samples on the device.
        size: Samples in a batch; all of them, when there are fewer.
        seed: The seed of the run.
        dtype: Of the batches.
        device: Where the batches go; where the labels are when left out.
        branch: What draws the order.
        weights: How often each sample is drawn, with replacement, in proportion, shape (samples,), on the CPU; each is
            seen once in a pass when left out.
        augmentation: What is changed at random in each sample, drawn anew every time; maps are moved with it.
    Example:
        >>> from equimorph.data import load
        >>> digits = load("digits")
        >>> batches = Batches(digits, digits.train, 64, seed=0)
        >>> [tuple(part.shape) for part in batches.at(20)], batches.per_pass
        ([(64, 1, 12, 12), (64,)], 15)
    """

    def __init__(
        self,
        data: ImageData,
        samples: Split,
        size: int,
        *,
        seed: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        branch: SeedBranch = SeedBranch.BATCHES,
        weights: Tensor | None = None,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.data, self.samples, self.seed, self.dtype = data, samples, seed, dtype
        self.augmentation = augmentation
        self.device = samples.y.device if device is None else device
        self.size = min(size, len(samples))
        self.per_pass = len(samples) // self.size
        # Workers that decode are told on the CPU; tensors are indexed where they are.
        where = torch.device("cpu") if isinstance(samples.x, Stream) else samples.y.device
        self._order = _Order(len(samples), self.size, seed=seed, branch=branch, weights=weights, device=where)
        self._outside = _outside(samples, augmentation) if data.targets == "maps" else None
        self._ahead = AheadOfSteps(samples.x, self._order.at) if isinstance(samples.x, Stream) else None

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Standardised samples and targets of a step of the lineage."""
        chosen = self._order.at(step)
        y = as_target(sent(self.samples.y[chosen], self.device), self.dtype)
        x = sent(self.samples.x[chosen] if self._ahead is None else self._ahead.at(step), self.device)
        if self.augmentation is None:
            return self.data.standardize(x, self.dtype), y
        generator = derived_generator(self.seed, SeedBranch.AUGMENTATION, step)
        if self._outside is None:
            moved = self.data.standardize(self.augmentation.moved(x, generator), self.dtype)
            return self.augmentation.changed(moved, generator), y
        x, y = self.augmentation.moved_with(x, y, generator)
        x = self.data.standardize(x, self.dtype)
        return self.augmentation.changed_with(x, y, generator, outside=self._outside)


def _outside(samples: Split, augmentation: Augmentation | None) -> Tensor:
    """What comes into maps from outside where samples are filled with their mean: the maps' own mean, or no class."""
    y = samples.y
    if not y.is_floating_point():
        return torch.tensor(IGNORED)
    if augmentation is None or augmentation.fill != "mean":
        return torch.zeros(())
    total = sum(part.cpu().double().sum([0, *range(2, y.ndim)]) for part in y.split(_SUMMED))
    mean = torch.as_tensor(total) * (y.shape[1] / y.numel())
    return mean.view(-1, *([1] * (y.ndim - 2)))


class _Order:
    """Which samples each step sees; apart from `Batches`, so that no cycle keeps workers alive."""

    def __init__(
        self,
        num_samples: int,
        size: int,
        *,
        seed: int,
        branch: SeedBranch,
        weights: Tensor | None,
        device: torch.device,
    ) -> None:
        self.num_samples, self.size, self.seed, self.branch = num_samples, size, seed, branch
        self.weights, self.device = weights, device
        self._drawn: tuple[int, Tensor] | None = None

    def at(self, step: int) -> Tensor:
        """The indices of a step's samples."""
        number, position = divmod(step, self.num_samples // self.size)
        if self._drawn is None or self._drawn[0] != number:
            generator = derived_generator(self.seed, self.branch, number)
            if self.weights is None:
                order = torch.randperm(self.num_samples, generator=generator)
            else:
                order = torch.multinomial(self.weights, self.num_samples, replacement=True, generator=generator)
            self._drawn = number, order.to(self.device)
        return self._drawn[1][position * self.size : (position + 1) * self.size]


def divided(samples: Split, share: float, *, seed: int) -> tuple[Split, Split]:
    """The samples in two parts, drawn at random: the rest, and a share of them that is held out from it.

    Raises:
        ConfigurationError: One of the parts would have fewer than two samples.
    """
    count = round(share * len(samples))
    if min(count, len(samples) - count) < 2:
        raise ConfigurationError(
            f"training: {share} of {len(samples)} training samples leaves {count} held out and {len(samples) - count} "
            "to train on; both parts need at least two."
        )
    order = torch.randperm(len(samples), generator=derived_generator(seed, SeedBranch.HELD_OUT)).to(samples.y.device)
    held, rest = order[:count], order[count:]
    return samples.part(rest), samples.part(held)
