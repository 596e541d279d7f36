"""What a run of the converted network tells: the order of its sites, and how far it commutes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equimorph.errors import MorphismError
from equimorph.groups import Group, Representation
from equimorph.inspection.audit import find_breaks
from equimorph.inspection.measuring import TOLERANCES, equivariance_error, in_double
from equimorph.layers import constrained_modules, set_order, transform
from equimorph.morphisms.conversion._base import Setting
from equimorph.morphisms.conversion.obstacles import in_words
from equimorph.tracing import Problem, Recording
from equimorph.tracing.recording import FAILURES, tensors_in

_MANY_PIXELS = 2**15  # in a sample, beyond which one sample is enough to measure on

_FLATTENED = Problem(
    "the output",
    "it does not commute, though each call does: positions were flattened into a vector, say",
    "pool over all positions in front of it, or return the maps",
)


@dataclass(frozen=True)
class Measured:
    """What a run of the converted network tells."""

    error: float
    tolerance: float
    breaks: tuple[Problem, ...]
    copy_error: float | None


def measure(
    network: nn.Module, model: nn.Module, probe: Tensor, setting: Setting, free: Sequence[str], output: Representation
) -> Measured:
    """Run the new network: in which order its sites come, which is put on record, and how far it commutes."""
    group = setting.group
    samples = probe if probe[0].numel() <= _MANY_PIXELS else probe[:1]
    try:
        copied, x, run = in_double(network, samples, free)
    except FAILURES as stopped:
        raise MorphismError(
            "equivariantize: the network's own code does not run at the new widths; choose widths that are whole "
            f"numbers of fields, or leave the part free. What it says: {in_words(stopped)}"
        ) from None
    set_order(network, _order_of(network, run))
    set_order(copied, _order_of(network, run))
    error = equivariance_error(copied, x, run.results, group, output)
    tolerance = TOLERANCES.get(x.dtype, 1e-2)
    found = () if error <= tolerance else find_breaks(copied, x, group)
    breaks = tuple(one for one in found if one.path not in free)
    if not found and not error <= tolerance:
        breaks = (_FLATTENED,)
    copy_error = (
        _copy_error(model, x, run.results, group) if setting.weights == "copy" and output == "trivial" else None
    )
    return Measured(error, tolerance, breaks, copy_error)


def _order_of(network: nn.Module, run: Recording) -> list[str]:
    """The constrained modules in the order in which they run."""
    constrained = dict(constrained_modules(network))
    order: dict[str, None] = {}
    for call in run.calls:
        # A layer with bound parameters is one call, and they are inside it.
        inside = [name for name in constrained if name.startswith(f"{call.path}.")] if call.module is not None else []
        for name in ([call.path] if call.path in constrained else []) + inside:
            order.setdefault(name)
    return list(order)


@torch.no_grad()
def _copy_error(model: nn.Module, x: Tensor, results: Sequence[Tensor], group: Group) -> float:
    """How far a copied network is from the mean of the model over the group, relative to the latter."""
    original = copy.deepcopy(model).eval().to(x.dtype)
    total = [torch.zeros_like(result) for result in results]
    for element in range(group.order):
        moved = tensors_in(original(transform(x, element, group, "trivial")))
        for mean, result in zip(total, moved, strict=True):
            mean += transform(result, int(group.inverses[element]), group, "trivial") / group.order
    errors = [
        float((result - mean).abs().max() / mean.abs().max().clamp_min(torch.finfo(x.dtype).tiny))
        for result, mean in zip(results, total, strict=True)
    ]
    return max(errors)
