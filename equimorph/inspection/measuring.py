"""How equivariance is measured: on which input, in which precision, under which elements."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor, nn

from equimorph.errors import GroupError, ShapeError
from equimorph.groups import Group, Representation
from equimorph.layers import transform
from equimorph.tracing import Recording, record
from equimorph.tracing.recording import FAILURES, tensors_in

TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-9,  # measured: up to 5e-13 for the deepest networks of the tests
    torch.float32: 1e-4,  # measured: up to 2e-5
}
"""Relative errors up to which a call counts as exact, by the dtype that the audit runs in."""


def largest(errors: Iterable[float]) -> float:
    """The largest of some errors, infinity where one is no number, 0 where there are none."""
    return max((math.inf if math.isnan(error) else error for error in errors), default=0.0)


def check_example(speaker: str, example: Tensor, group: Group) -> None:
    """Raise unless the group acts on inputs of this shape."""
    if example.ndim - 2 != group.dim:
        raise GroupError(
            f"{speaker}: {group.name} acts in dimension {group.dim}, and the example has shape {tuple(example.shape)}, "
            f"{example.ndim - 2} spatial axes; it must be (batch, channels, *spatial)."
        )
    sides = example.shape[2:]
    if any(tuple(sides[axis] for axis in abs(matrix).argmax(1)) != tuple(sides) for matrix in group.elements):
        raise ShapeError(
            f"{speaker}: {group.name} exchanges axes, and the example has sides {tuple(sides)}; they must be equal."
        )


def noise_like(example: Tensor) -> Tensor:
    """At least two samples: the example's own, or noise of its shape where they are constant."""
    batch = example if len(example) > 1 else torch.cat([example, example.flip(0)])
    if not batch.is_floating_point():
        batch = batch.float()
    if batch.std() > 0 and not torch.equal(batch[0], batch[1]):
        return batch
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch.shape, generator=generator, dtype=torch.float64)
    return noise.to(batch)


def in_double(network: nn.Module, x: Tensor, opaque: Collection[str] = ()) -> tuple[nn.Module, Tensor, Recording]:
    """A copy of a network in evaluation mode, an input, and the run on it.

    In double precision, where the network's own code and the device allow that.
    """
    probe = copy.deepcopy(network).eval()
    if x.device.type != "mps":
        wide = copy.deepcopy(probe).double()
        try:
            return wide, x.double(), record(wide, x.double(), opaque=opaque)
        except FAILURES:  # its own code makes tensors of single precision, say
            pass
    return probe, x, record(probe, x, opaque=opaque)


def generators_of(group: Group) -> list[int]:
    """Elements whose products are all of the group."""
    chosen: list[int] = []
    reached = group.trivial
    for element in range(group.order):
        if element not in reached:
            chosen.append(element)
            reached = group.subgroup_generated_by(chosen)
    return chosen


def equivariance_error(
    network: nn.Module, x: Tensor, results: Sequence[Tensor], group: Group, output: Representation
) -> float:
    """The largest relative error of a network's output over generators of the group.

    What commutes with generators commutes with their products.

    Args:
        network: In evaluation mode, on its own copy.
        x: An input.
        results: What the network returns for it.
        group: G.
        output: The type of what it returns.
    """
    worst = 0.0
    with torch.no_grad():
        for element in generators_of(group):
            moved = tensors_in(network(transform(x, element, group, "trivial")))
            for result, wanted in zip(moved, results, strict=True):
                if wanted.is_floating_point():
                    worst = largest([worst, relative_error(result, transform(wanted, element, group, output))])
    return worst


def relative_error(result: Tensor, wanted: Tensor) -> float:
    """The largest difference, in parts of the largest entry that is wanted; infinite between different shapes."""
    if result.shape != wanted.shape:
        return math.inf
    scale = wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
    return float((result - wanted).abs().max() / scale)
