"""What a search sees of a kernel that several subgroups share: members, their shares, and logits that weigh them."""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, GroupError, MorphismError, ShapeError
from equimorph.groups import Subgroup
from equimorph.spaces._base import KernelShape, WeightSpace

MixtureStart = Literal["uniform", "prior"]
SKIP = "skip"

_PRIOR_LOGIT = -2.0  # of every member but G; section 3 of the method


class Mixture(WeightSpace):
    """What a search over subgroups sees of a weight space: members, and how much of the kernel is each one's.

    Attributes:
        members: H_1, ..., H_m, largest first.
    """

    members: tuple[Subgroup, ...]

    @abstractmethod
    def shares(self) -> dict[str, float]:
        """For each member by name, its share of the kernel; they add up to one."""

    def merge(self) -> Tensor:
        """The single dense kernel W, an ordinary convolution weight, without a gradient."""
        return self.dense_weight().detach().clone()

    @property
    def constraint(self) -> Subgroup:
        """The intersection of the members, which every one of their kernels commutes with."""
        return reduce(operator.and_, self.members)

    def check_relaxation(self, subgroup: Subgroup) -> None:
        """Refuse every subgroup but the one that the mixture commutes with, as whose layer its kernel goes on."""
        if subgroup != self.constraint:
            names = ", ".join(member.name for member in self.members)
            raise MorphismError(
                f"relax: a mixture of {names} cannot be relaxed to {subgroup.name}; it commutes with "
                f"{self.constraint.name} and becomes one layer of that group, or of a single member by em.discretize."
            )


class LogitMixture(Mixture):
    """A mixture whose weights are z = softmax(alpha / temperature)."""

    logits: nn.Parameter
    temperature: Tensor
    identity: Tensor
    family: str

    def __init__(
        self,
        shape: KernelShape,
        members: Sequence[Subgroup],
        *,
        start: MixtureStart,
        skip: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__(shape)
        self.members = check_members(shape, members)
        if start not in get_args(MixtureStart):
            raise ConfigurationError(f'mixture: start is "{start}"; it is one of uniform, prior.')
        if skip:
            self.register_buffer("identity", _identity_rows(shape, device=device, dtype=dtype), persistent=False)
        self.has_skip = skip
        logits = torch.full((len(self.members) + skip,), 0.0 if start == "uniform" else _PRIOR_LOGIT)
        logits[0] = 0.0
        self.logits = nn.Parameter(logits.to(device=device, dtype=dtype or torch.get_default_dtype()))
        self.register_buffer("temperature", torch.ones((), device=device, dtype=self.logits.dtype))

    @property
    def member_names(self) -> tuple[str, ...]:
        """What each logit belongs to: the subgroups, largest first, and "skip" where there is one."""
        return (*(member.name for member in self.members), *([SKIP] if self.has_skip else []))

    def mixture_weights(self) -> Tensor:
        """z = softmax(alpha / temperature), shape (members,)."""
        return torch.softmax(self.logits / self.temperature, 0)

    def penalties(self) -> dict[str, float]:
        """No weight decay on the logits, which would draw z to uniform."""
        return {"logits": 0.0}

    def description(self) -> dict[str, Any]:
        """The family, the members' names and whether there is a skip member."""
        return {"space": self.family, "members": [member.name for member in self.members], "skip": self.has_skip}

    def extra_repr(self) -> str:
        """What `print` shows of the space."""
        return f"members={', '.join(self.member_names)}"

    def _with_skip(self, rows: Tensor, weights: Tensor) -> Tensor:
        return rows + weights[-1] * self.identity if self.has_skip else rows

    def _initial_std(self, member: Subgroup | None) -> float:
        """Of one member before mixing, as for a layer of that subgroup (`TiedSpace.reset_parameters`)."""
        variance = 2 / self.shape.fan_in
        if member is not None and self.shape.source == "regular" and self.shape.target == "trivial":
            variance /= member.order
        return math.sqrt(variance)


def check_members(shape: KernelShape, members: Sequence[Subgroup]) -> tuple[Subgroup, ...]:
    """The members of a mixture, largest first.

    Raises:
        GroupError: There is none, one is named twice, or one belongs to another group.
    """
    if not members:
        raise GroupError(
            f"mixture: there are no members; name subgroups of {shape.group.name}, "
            f"for instance C1 and {shape.group.name}."
        )
    for member in members:
        if member.group != shape.group:
            raise GroupError(
                f"mixture: {member.name} is a subgroup of {member.group.name}, not of {shape.group.name}; "
                f"choose among {', '.join(H.name for H in shape.group.subgroups())}."
            )
    if len(set(members)) != len(members):
        raise GroupError(
            f"mixture: {', '.join(member.name for member in members)} names a subgroup twice; name each once."
        )
    return tuple(sorted(members, key=lambda H: (-H.order, H.indices)))


def _identity_rows(shape: KernelShape, *, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    """The kernel of the identity map: one where (o, g) = (c, u) and delta = 0."""
    is_square = (shape.out_fields, shape.target) == (shape.in_fields, shape.source)
    if not is_square or any(extent % 2 == 0 for extent in shape.kernel_size):
        raise ShapeError(
            f"mixture: a skip member needs equal in and out features and odd kernels, got {shape.in_fields} "
            f"{shape.source} -> {shape.out_fields} {shape.target} with kernel {shape.kernel_size}; "
            "leave skip out there."
        )
    num_index, num_positions = shape.out_channels // shape.out_fields, math.prod(shape.kernel_size)
    rows = torch.zeros(
        num_index, num_index, num_positions, shape.out_fields, shape.in_fields, device=device, dtype=dtype
    )
    index, field = torch.arange(num_index)[:, None], torch.arange(shape.out_fields)
    rows[index, index, num_positions // 2, field, field] = 1
    return rows.view(-1, shape.columns)
