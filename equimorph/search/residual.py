"""Residual pathway priors: a soft constraint in every layer, equivariant unless the data speak against it."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import nn

from equimorph.errors import ConfigurationError
from equimorph.morphisms import add_residual, constrain, mix, reinitialize
from equimorph.search._base import Strategy, ambient_group
from equimorph.search.candidate import Member
from equimorph.search.session import How, Session
from equimorph.training import ArchitectureSteps, Trainer, architecture_parameters
from equimorph.training.settings import SeedBranch, derived_generator

Form = Literal["residual", "mixture"]


class ResidualPathwayPriors(Strategy):
    """Every site with an equivariant and a free part, trained together for the whole lineage.

        residual:  W = E_G(w) + V,                    Gaussian priors on E_G(w) and on V
        mixture:   W = z_1 E_G(w) + z_2 V,            an L2 penalty on V alone, z = softmax(alpha) learned with the rest

    Args:
        form: "residual", as in Finzi et al., or "mixture", as in Maile et al.
        equivariant_penalty: The weight decay of the dense kernel E_G(w), in the first form.
        residual_penalty: The weight decay of V; 0.01 in the first form and 1e-6 in the second when left out.
        architecture_lr: Adam's learning rate for alpha, in the second form.
    Raises:
        ConfigurationError: An unknown form, a negative penalty.
    Example:
        >>> ResidualPathwayPriors().name, ResidualPathwayPriors("mixture").name
        ('rpp', 'rpp:mixture')

    Source: Finzi, Benton and Wilson (2021); Maile, Wilson and Forré (2023), section 5.
    """

    def __init__(
        self,
        form: str = "residual",
        *,
        equivariant_penalty: float = 1e-4,
        residual_penalty: float | None = None,
        architecture_lr: float = 1e-3,
    ) -> None:
        if form not in get_args(Form):
            raise ConfigurationError(f'rpp: form is "{form}"; it is one of {", ".join(get_args(Form))}.')
        penalty = {"residual": 1e-2, "mixture": 1e-6}[form] if residual_penalty is None else residual_penalty
        for what, number in (("equivariant_penalty", equivariant_penalty), ("residual_penalty", penalty)):
            if not number >= 0:
                raise ConfigurationError(f"rpp: {what} is {number}; it must not be negative.")
        self.form: str = form
        self.architecture_lr = architecture_lr
        self.equivariant_penalty, self.residual_penalty = equivariant_penalty, penalty

    @property
    def name(self) -> str:
        """`rpp`, or `rpp:mixture`."""
        return "rpp" if self.form == "residual" else "rpp:mixture"

    def plan(self, network: nn.Module, trainer: Trainer) -> dict[str, Any]:
        """The two members."""
        ambient = ambient_group(network)
        return {"subgroups": [ambient.trivial.name, ambient.whole.name], "generations": 0}

    def search(self, session: Session) -> list[Member]:
        """Train the one network."""
        trainer = session.trainer
        generator = derived_generator(trainer.settings.seed, SeedBranch.FRESH_VALUES)
        ambient = ambient_group(session.network)
        start = constrain(session.network, ambient.whole)
        if self.form == "residual":
            penalties = {"equivariant": self.equivariant_penalty, "residual": self.residual_penalty}
            priors = {f"{part}_penalty": penalty for part, penalty in penalties.items()}
            return session.train_only(reinitialize(add_residual(start, **priors), generator))
        free = ambient.trivial
        network = reinitialize(
            mix(start, [ambient.whole, free], penalties={free.name: self.residual_penalty}), generator
        )
        for logits in architecture_parameters(network):
            logits.requires_grad_(False)  # left out of the optimizer of the weights
        steps = ArchitectureSteps(network, lr=self.architecture_lr, batches=None, total_steps=trainer.total_steps)
        return session.train_only(network, how=How(architecture=steps))
