"""The block of a residual network: a branch of convolutions, and a shortcut around it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.groups import Group, Subgroup
from equimorph.layers import BatchNorm, Conv1d, Conv2d, Conv3d


class ResidualBlock(nn.Module):
    """ReLU( branch(x) + shortcut(x) ); the branch is registered first, so that its sites come first.

    Args:
        plan: Widths and kernels.
        unit: Makes a convolution with its norm, constrained to the next subgroup of the chain.
    """

    def __init__(self, plan: BlockPlan, unit: Callable[..., OrderedDict[str, nn.Module]]) -> None:
        super().__init__()
        branch: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (in_fields, out_fields, kernel_size) in enumerate(plan.convolutions, 1):
            if number > 1:
                branch[f"activation{number - 1}"] = nn.ReLU()
            branch.update(unit(str(number), in_fields, out_fields, kernel_size))
        self.branch = nn.Sequential(branch)
        self.shortcut: nn.Module = nn.Identity()
        if plan.widens:
            self.shortcut = nn.Sequential(unit("", plan.in_fields, plan.out_fields, 1))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map a regular feature (batch, fields * |G|, *spatial) to one of the same sides."""
        out: Tensor = self.activation(self.branch(x) + self.shortcut(x))
        return out


@dataclass(frozen=True)
class BlockPlan:
    """What a residual block is made of.

    Attributes:
        convolutions: Of the branch, each as fields in, fields out, and kernel size.
    """

    convolutions: tuple[tuple[int, int, int], ...]

    @property
    def in_fields(self) -> int:
        """Fields that enter the block."""
        return self.convolutions[0][0]

    @property
    def out_fields(self) -> int:
        """Fields that leave the block."""
        return self.convolutions[-1][1]

    @property
    def widens(self) -> bool:
        """Whether the width changes, so that the shortcut needs a convolution."""
        return self.in_fields != self.out_fields

    def sites(self, block: str) -> list[str]:
        """Paths of the block's sites, in the order of the chain."""
        branch = [f"{block}.branch.conv{number}" for number in range(1, len(self.convolutions) + 1)]
        return [*branch, f"{block}.shortcut.conv"] if self.widens else branch


def conv_and_norm(
    number: str,
    in_fields: int,
    out_fields: int,
    kernel_size: int,
    *,
    group: Group,
    subgroups: Iterator[Subgroup],
    generator: torch.Generator | None,
    **options: Any,
) -> OrderedDict[str, nn.Module]:
    """A convolution of the next constraint and its norm."""
    subgroup = next(subgroups)
    conv = {1: Conv1d, 2: Conv2d, 3: Conv3d}[group.dim](
        in_fields,
        out_fields,
        kernel_size,
        group=group,
        subgroup=subgroup,
        padding="same",
        bias=False,  # a norm follows
        generator=generator,
        **options,
    )
    norm = BatchNorm(out_fields, group=group, subgroup=subgroup)
    return OrderedDict({f"conv{number}": conv, f"norm{number}": norm})
