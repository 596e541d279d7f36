"""Steps on the logits of mixtures, beside the steps on the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from equimorph.layers import sites_of
from equimorph.spaces import LogitMixture
from equimorph.training.batches import Batches
from equimorph.training.settings import SeedBranch, derived_generator


def architecture_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The logits of a network's mixtures, in order of depth."""
    return [space.logits for space in _mixtures(network)]


def set_temperature(network: nn.Module, temperature: float) -> None:
    """Set T of z = softmax(alpha / T) in every mixture of a network, in place."""
    for space in _mixtures(network):
        space.temperature.fill_(temperature)


@dataclass
class ArchitectureSteps:
    """How logits are trained: an Adam on them, and batches of their own or none.

    Attributes:
        network: The network with the mixtures.
        lr: Adam's learning rate, that is about how far a logit moves in a step.
        batches: What their loss is taken on, after each step on the weights; None for the batch and the backward pass
            of the step on the weights itself.
        temperatures: T at the first and the last step; it changes geometrically between.
        total_steps: Steps from the first to the last.
        shuffle_seed: When given, the gradients of all logits are permuted at random before each step.
    """

    network: nn.Module
    lr: float
    batches: Batches | None
    temperatures: tuple[float, float] = (1.0, 1.0)
    total_steps: int = 1
    shuffle_seed: int | None = None

    def __post_init__(self) -> None:
        self.logits = architecture_parameters(self.network)
        self.weights = [parameter for parameter in self.network.parameters() if not _is_among(parameter, self.logits)]
        self.optimizer = torch.optim.Adam(self.logits, lr=self.lr)

    @property
    def samples_per_step(self) -> int:
        """Training samples processed for the logits alone."""
        return 0 if self.batches is None else self.batches.size

    def before_weights(self, step: int) -> None:
        """Set the temperature of this step, and let gradients reach the logits if it is this pass that trains them."""
        first, last = self.temperatures
        progress = min(step / max(1, self.total_steps - 1), 1.0)
        set_temperature(self.network, first * (last / first) ** progress)
        self.optimizer.zero_grad()
        for one in self.logits:
            one.requires_grad_(self.batches is None)

    @contextmanager
    def weights_fixed(self) -> Iterator[None]:
        """While it lasts gradients reach the logits alone."""
        trained = [parameter for parameter in self.weights if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        for one in self.logits:
            one.requires_grad_(True)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)

    def step(self, step: int) -> None:
        """Move the logits by their gradients."""
        if self.shuffle_seed is not None:
            self._shuffle(derived_generator(self.shuffle_seed, SeedBranch.SHUFFLES, step))
        self.optimizer.step()

    def _shuffle(self, generator: torch.Generator) -> None:
        gradients = [one.grad for one in self.logits if one.grad is not None]
        together = torch.cat(gradients)
        order = torch.randperm(len(together), generator=generator).to(together.device)
        shuffled = together[order].split([len(gradient) for gradient in gradients])
        for gradient, replacement in zip(gradients, shuffled, strict=True):
            gradient.copy_(replacement)


def _mixtures(network: nn.Module) -> list[LogitMixture]:
    spaces = (site.layer.space for site in sites_of(network).values())
    return [space for space in spaces if isinstance(space, LogitMixture)]


def _is_among(parameter: nn.Parameter, others: list[nn.Parameter]) -> bool:
    return any(parameter is other for other in others)
