"""Which samples a step of a lineage sees: the same for every candidate of a run."""

from __future__ import annotations

import torch
from torch import Tensor

from equimorph.data import ImageData, Split
from equimorph.data.augmentation import move_randomly
from equimorph.errors import ConfigurationError
from equimorph.groups import Subgroup
from equimorph.training.settings import SeedBranch, derived_generator


class Batches:
    """Batches of training samples, each a function of the run's seed and the step alone.

    The samples are gone through in an order drawn anew for each pass; the last incomplete batch of a pass is left out.

    Args:
        data: The data set, which knows how samples are standardised.
        samples: Raw samples on the device.
        size: Samples in a batch; all of them, when there are fewer.
        seed: The seed of the run.
        dtype: Of the batches.
        branch: What draws the order.
        augmentation: A group of which an element, drawn anew for each sample, moves the sample.
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
        branch: SeedBranch = SeedBranch.BATCHES,
        augmentation: Subgroup | None = None,
    ) -> None:
        self.data, self.samples, self.seed, self.dtype, self.branch = data, samples, seed, dtype, branch
        self.augmentation = augmentation
        self.size = min(size, len(samples))
        self.per_pass = len(samples) // self.size
        self._order: tuple[int, Tensor] | None = None

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Standardised samples and targets of a step of the lineage."""
        number, position = divmod(step, self.per_pass)
        if self._order is None or self._order[0] != number:
            generator = derived_generator(self.seed, self.branch, number)
            order = torch.randperm(len(self.samples), generator=generator)
            self._order = number, order.to(self.samples.y.device)
        chosen = self._order[1][position * self.size : (position + 1) * self.size]
        x, y = self.samples.x[chosen], self.samples.y[chosen]
        if self.augmentation is not None:
            x = move_randomly(x, self.augmentation, derived_generator(self.seed, SeedBranch.AUGMENTATION, step))
        return self.data.standardize(x, self.dtype), y


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
    return Split(samples.x[rest], samples.y[rest]), Split(samples.x[held], samples.y[held])
