"""The network of the paper: convolution blocks in two stages, global pooling, a small head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from equimorph.errors import ConfigurationError, ShapeError
from equimorph.groups import Group
from equimorph.groups import group as group_named
from equimorph.layers import AvgPool, BatchNorm, Conv1d, Conv2d, Conv3d, GlobalAvgPool, Linear
from equimorph.models._base import Constraints, ReferenceNetwork, resolve_constraints
from equimorph.morphisms.nearest_width import nearest_width
from equimorph.morphisms.reinitialize import seeded


class PaperNetwork(ReferenceNetwork):
    """Blocks of convolution, norm and ReLU in two stages; average pooling after some of them; global average pooling; a
    linear layer to a few units, norm, ELU, and a linear layer to the classes.

    Its sites are the convolutions and the first linear layer of the head, `depth + 1` in all. When every site is
    constrained to H, the outputs are exactly H-invariant, at every image size: norms are tied and pooling windows sit
    symmetrically, which is not so in the paper's released code.

    Args:
        group: G, a group or its name; its dimension is that of the images.
        constraints: One subgroup of G for all sites, or one for each, never growing with depth; G when left out.
        image_size: The side of the images, for checking that pooling leaves something over.
        in_channels: Channels of the images.
        num_classes: Outputs.
        fields: Regular fields in the first and the second stage; one number means it and twice it. The paper has
            (16, 32) for |G| = 8.
        depth: Convolution blocks; the first half of them is the first stage.
        kernel_size: Side of the kernels, odd.
        head_units: Units between the two linear layers.
        pool_after: Numbers of the blocks after which the sides are halved. Left out: after every second block while
            at least four pixels a side remain.
        generator: Where the initial values are drawn from.
    Shapes:
        Input (batch, in_channels, *spatial), output (batch, num_classes).
    Raises:
        ConfigurationError: A size below one, or constraints that grow with depth or do not match the sites.
        ShapeError: Images too small for the pooling.
        GroupError: Unknown groups.
    Example:
        >>> network = PaperNetwork(group="D4", image_size=28, in_channels=1, num_classes=10, fields=(2, 4), depth=4)
        >>> network(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])

    Source: Maile, Wilson and Forré (2023), section 5 and its released code.
    """

    def __init__(
        self,
        *,
        group: Group | str,
        constraints: Constraints = None,
        image_size: int,
        in_channels: int,
        num_classes: int,
        fields: int | Sequence[int] = (16, 32),
        depth: int = 8,
        kernel_size: int = 5,
        head_units: int = 64,
        pool_after: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        ambient = group_named(group) if isinstance(group, str) else group
        stages = (fields, 2 * fields) if isinstance(fields, int) else tuple(fields)
        _check_sizes(
            stages=stages,
            depth=depth,
            kernel_size=kernel_size,
            in_channels=in_channels,
            num_classes=num_classes,
            head_units=head_units,
        )
        pools = _default_pools(image_size, depth) if pool_after is None else tuple(pool_after)
        _check_pools(pools, image_size, depth)
        names = [*(f"block{number}.conv" for number in range(1, depth + 1)), "head.linear"]
        subgroups = resolve_constraints("PaperNetwork", ambient, constraints, names)
        convolution = {1: Conv1d, 2: Conv2d, 3: Conv3d}[ambient.dim]
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        width = in_channels
        for number in range(1, depth + 1):
            subgroup = subgroups[number - 1]
            previous, width = width, stages[0] if number <= (depth + 1) // 2 else stages[1]
            block: OrderedDict[str, nn.Module] = OrderedDict()
            block["conv"] = convolution(
                previous,
                width,
                kernel_size,
                group=ambient,
                subgroup=subgroup,
                source="trivial" if number == 1 else "regular",
                padding="same",
                bias=False,  # a norm follows
                generator=generator,
            )
            block["norm"] = BatchNorm(width, group=ambient, subgroup=subgroup)
            block["activation"] = nn.ReLU()
            if number in pools:
                block["pool"] = AvgPool(2)
            parts[f"block{number}"] = nn.Sequential(block)
        parts["pool"] = GlobalAvgPool()
        last = subgroups[-1]
        head: OrderedDict[str, nn.Module] = OrderedDict()
        head["linear"] = Linear(width, head_units, group=ambient, subgroup=last, bias=False, generator=generator)
        head["norm"] = BatchNorm(head_units, group=ambient, subgroup=last, representation="trivial")
        head["activation"] = nn.ELU()
        head["classifier"] = _classifier(head_units, num_classes, generator)
        parts["head"] = nn.Sequential(head)
        super().__init__(parts)
        self.arguments: dict[str, Any] = {
            "group": ambient.name,
            "dim": ambient.dim,
            "image_size": image_size,
            "in_channels": in_channels,
            "num_classes": num_classes,
            "fields": list(stages),
            "depth": depth,
            "kernel_size": kernel_size,
            "head_units": head_units,
            "pool_after": list(pools),
        }

    def narrowed(self, num_parameters: int, generator: torch.Generator | None = None) -> PaperNetwork:
        """An ordinary network of the same shape (group C1), as wide as a number of parameters allows.

        Args:
            num_parameters: What it is to have; the width with the nearest number is taken, both stages in proportion.
            generator: Where the initial values are drawn from.
        Example:
            >>> network = PaperNetwork(group="D4", image_size=28, in_channels=1, num_classes=10, fields=2, depth=4)
            >>> sizes = [sum(p.numel() for p in one.parameters()) for one in (network, network.narrowed(6_708))]
            >>> sizes, network.narrowed(6_708).arguments["fields"]
            ([6708, 5978], [5, 10])
        """
        trivial = group_named("C1", dim=self.arguments["dim"])
        first, second = self.arguments["fields"]

        def ordinary(width: int) -> PaperNetwork:
            arguments = {key: value for key, value in self.arguments.items() if key not in ("group", "dim", "fields")}
            widths = (width, max(1, round(width * second / first)))
            return PaperNetwork(group=trivial, fields=widths, generator=generator, **arguments)

        return ordinary(nearest_width(lambda width: ordinary(width).size(), num_parameters))


def _classifier(units: int, num_classes: int, generator: torch.Generator | None) -> nn.Linear:
    if generator is None:
        return nn.Linear(units, num_classes)
    with seeded(int(torch.randint(2**31, (), generator=generator))):
        return nn.Linear(units, num_classes)


def _check_sizes(*, stages: tuple[int, ...], kernel_size: int, **numbers: int) -> None:
    if len(stages) != 2 or min(stages) < 1:
        raise ConfigurationError(f"PaperNetwork: fields is {stages}; give one or two numbers, each at least one field.")
    for what, number in numbers.items():
        if number < 1:
            raise ConfigurationError(f"PaperNetwork: {what} is {number}; it must be at least one.")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ConfigurationError(f"PaperNetwork: kernel_size is {kernel_size}; it must be odd.")


def _default_pools(image_size: int, depth: int) -> tuple[int, ...]:
    pools = []
    for number in range(2, depth + 1, 2):
        if image_size // 2 < 4:
            break
        pools.append(number)
        image_size //= 2
    return tuple(pools)


def _check_pools(pools: tuple[int, ...], image_size: int, depth: int) -> None:
    if any(not 1 <= number <= depth for number in pools) or len(set(pools)) != len(pools):
        raise ConfigurationError(f"PaperNetwork: pool_after is {pools}; it names different blocks from 1 to {depth}.")
    if image_size < 2 ** len(pools):
        raise ShapeError(
            f"PaperNetwork: images of {image_size} pixels are too small for pooling {len(pools)} times, which needs "
            f"at least {2 ** len(pools)}; give larger images or fewer numbers in pool_after."
        )
