"""Where equivariance is lost: how far each layer, and all before it together, are from commuting with each element."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from equimorph.errors import GroupError
from equimorph.groups import Group, Subgroup
from equimorph.groups import group as group_named
from equimorph.inspection.measuring import (
    TOLERANCES,
    check_example,
    generators_of,
    in_double,
    largest,
    noise_like,
    relative_error,
)
from equimorph.inspection.reasons import explain
from equimorph.inspection.windows import suitable_sizes, windows_of
from equimorph.layers import Constrained, sites_of, transform
from equimorph.tracing import Call, Flow, Problem, Value, can_transform, follow_network, transformed
from equimorph.tracing.flow import lost_before


@dataclass(frozen=True)
class AuditRow:
    """One layer or function.

    Attributes:
        path: The module; of a function, the one whose forward calls it.
        name: The path, and of a function its name.
        kind: The class of the layer, or the name of the function.
        shape: Of its output.
        constraint: The subgroup that the layer is constrained to, by name, where it is.
        errors: By element, the relative error of the features there, |f(gx) - g f(x)| / |f(x)| in the largest entry.
        own: By element, the part of it that this call adds to features that commute.
        reason: Why its own error is not one of rounding; empty where it is.
        remedy: What to try.
    """

    path: str
    name: str
    kind: str
    shape: tuple[int, ...]
    constraint: str | None
    errors: dict[int, float]
    own: dict[int, float]
    reason: str = ""
    remedy: str = ""

    @property
    def error(self) -> float:
        """The largest of `errors`."""
        return largest(self.errors.values())


@dataclass(frozen=True)
class Audit:
    """What was measured; printing it gives a table.

    Attributes:
        group: G, whose elements were tried.
        elements: Their indices.
        rows: In the order of the calls.
        tolerance: Up to which an error is one of rounding.
        output_errors: By element, of what the network returns.
        unknown: Calls behind which it is not known how the group acts, so that nothing was measured there.
    """

    group: Group
    elements: tuple[int, ...]
    rows: tuple[AuditRow, ...]
    tolerance: float
    output_errors: dict[int, float]
    unknown: tuple[str, ...]

    @property
    def broken(self) -> tuple[AuditRow, ...]:
        """The rows that do not commute by themselves, first to last."""
        return tuple(row for row in self.rows if row.reason)

    @property
    def first(self) -> AuditRow | None:
        """Where an error first appears; None where all is exact."""
        return next(iter(self.broken), None)

    @property
    def error(self) -> float:
        """The largest error of the output."""
        return largest(self.output_errors.values())

    @property
    def exact(self) -> bool:
        """Whether the output commutes with all elements up to rounding."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        width = max([6, *(len(row.name) for row in self.rows)])
        lines = [f"{'':<{width}}  {'error':>8}  {'own':>8}"]
        for row in self.rows:
            mark = f"  {row.reason}; {row.remedy}" if row.reason else ""
            own = largest(row.own.values())
            lines.append(f"{row.name:<{width}}  {row.error:8.1e}  {own:8.1e}{mark}")
        lines.append(f"{'output':<{width}}  {self.error:8.1e}")
        lines.extend(f"{name}: how the group acts behind it is not known" for name in self.unknown)
        return "\n".join(lines)


def audit(
    network: nn.Module,
    example: Tensor,
    group: Group | str | None = None,
    *,
    elements: Sequence[int] | None = None,
) -> Audit:
    """Measure where a network loses equivariance: per layer and element, and where the error first appears.

        error_k(g) = |f_k(g x) - g f_k(x)| / |f_k(x)|          own_k(g): the same with g f_j(x) put in for all inputs

    with the largest entries as norms. `f_k` is what the k-th call returns, of the type that its layers give it; behind
    layers of no known type features are read as regular where their channels are a whole number of fields and the
    network has sites, and as trivial otherwise. Runs on a copy, in evaluation mode and in double precision, where the
    network's own code allows it.

    Args:
        network: Any module from (batch, channels, *spatial) to a vector or to maps.
        example: An input, for its size; where it is constant, noise is put in.
        group: G, or its name; that of the network's sites when left out.
        elements: Those to try, by index; all when left out.
    Raises:
        GroupError: No group was given and the network has none; or it acts in another dimension.
        ShapeError: An element exchanges axes of different extents.
    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> found = audit(network, torch.randn(1, 1, 8, 8), "C4")
        >>> found.exact, found.first.name, found.first.reason
        (False, '0', 'an unconstrained layer')
    """
    ambient = _group_for("audit", network, example, group)
    tried = tuple(range(ambient.order)) if elements is None else tuple(elements)
    probe, x, _ = in_double(network, noise_like(example))
    base = _base_flow(probe, x, ambient)
    measured = {element: _errors(probe, x, base, element, ambient, forced=False) for element in tried}
    own = {element: _errors(probe, x, base, element, ambient, forced=True) for element in tried}
    tolerance = TOLERANCES.get(x.dtype, 1e-2)
    numbers = [number for number in range(len(base.recording.calls)) if all(number in own[e] for e in tried)]
    reasons = _reasons(probe, x, base, own, tolerance)
    rows = []
    for number in numbers:
        call = base.recording.calls[number]
        constraint = call.module.constraint if isinstance(call.module, Constrained) else None
        reason, remedy = reasons.get(number, ("", ""))
        rows.append(
            AuditRow(
                path=call.path,
                name=call.where,
                kind=call.name,
                shape=call.outputs[0].shape,
                constraint=None if constraint is None else constraint.name,
                errors={element: measured[element].get(number, math.inf) for element in tried},
                own={element: own[element][number] for element in tried},
                reason=reason,
                remedy=remedy,
            )
        )
    outputs = {element: measured[element].get(-1, math.inf) for element in tried}
    return Audit(ambient, tried, tuple(rows), tolerance, outputs, _unknown(base))


def find_breaks(network: nn.Module, x: Tensor, group: Group) -> tuple[Problem, ...]:
    """What does not commute with generators of the group by itself, first to last.

    Args:
        network: In evaluation mode, on its own copy.
        x: An input of the network's dtype.
        group: G.
    """
    base = _base_flow(network, x, group)
    own = {element: _errors(network, x, base, element, group, forced=True) for element in generators_of(group)}
    reasons = _reasons(network, x, base, own, TOLERANCES.get(x.dtype, 1e-2))
    return tuple(Problem(base.recording.calls[number].where, *words) for number, words in sorted(reasons.items()))


def _reasons(
    network: nn.Module, x: Tensor, base: Flow, own: dict[int, dict[int, float]], tolerance: float
) -> dict[int, tuple[str, str]]:
    """Reason and remedy of each call, by its number, whose own error is not one of rounding for some element."""
    failing: dict[int, list[int]] = {}
    for element, errors in own.items():
        for number, error in errors.items():
            if number >= 0 and not error <= tolerance:
                failing.setdefault(number, []).append(element)
    calls = base.recording.calls
    unfit = any(not window.keeps_grid for number in failing for window in windows_of(calls[number]))
    sizes = suitable_sizes(network, x) if unfit else ()
    found = {}
    for number, elements in failing.items():
        module = calls[number].module
        constraint = module.constraint if isinstance(module, Constrained) else None
        lost = lost_before(base, *_unknown_inputs(calls[number], base))
        found[number] = explain(calls[number], elements, sizes, constraint, lost)
    return found


def _unknown_inputs(call: Call, base: Flow) -> list[Value]:
    return [value for value in call.inputs if value not in base.features and value.parameter is None]


def _base_flow(network: nn.Module, x: Tensor, group: Group) -> Flow:
    """The run on x itself, with a type for every channel."""
    flow = follow_network(network, x, keep=True)
    regular = bool(sites_of(network))
    for value in flow.recording.outputs:
        for segment in flow.features[value].segments if value in flow.features else ():
            if segment.term.kind is None:
                segment.term.settle("trivial")
    for use in flow.weights:
        for segment in use.target.segments:
            if segment.term.kind is None:
                from_invariants = not use.target.is_map and all(
                    part.term.kind == "trivial" for part in use.source.segments
                )
                whole = regular and not from_invariants and segment.channels % group.order == 0
                segment.term.settle("regular" if whole else "trivial")
    for feature in flow.features.values():
        for segment in feature.segments:
            if segment.term.kind is None:
                segment.term.settle("trivial")
    return flow


def _errors(
    network: nn.Module,
    x: Tensor,
    base: Flow,
    element: int,
    group: Group,
    *,
    forced: bool,
) -> dict[int, float]:
    """The error of each call on g x, by its number, and of the output as number -1.

    With `forced`, what each call returns is replaced by what it should have, so that later ones are judged alone.
    """
    calls, found = base.recording.calls, dict[int, float]()

    def compare(number: int, call: Call, results: list[Tensor]) -> list[Tensor] | None:
        if number >= len(calls) or calls[number].where != call.where:
            return None  # it takes another way for this input
        expected = [_expected(value, base, element, group) for value in calls[number].outputs]
        compared = zip(results, expected, strict=True)
        errors = [relative_error(result, wanted) for result, wanted in compared if wanted is not None]
        if errors:
            found[number] = max(errors)
        if not forced:
            return None
        return [result if wanted is None else wanted for result, wanted in zip(results, expected, strict=True)]

    moved = transform(x, element, group, "trivial")
    run = follow_network(network, moved, keep=not forced, observer=compare)
    errors = []
    for mine, theirs in zip(run.recording.outputs, base.recording.outputs, strict=False):
        if mine.tensor is None:
            continue
        wanted = _expected(theirs, base, element, group)
        errors.append(math.inf if wanted is None else relative_error(mine.tensor, wanted))
    found[-1] = max(errors, default=math.inf)
    return found


def _expected(value: Any, base: Flow, element: int, group: Group) -> Tensor | None:
    feature = base.features.get(value)
    if feature is None or not can_transform(feature, group) or value.tensor is None:
        return None
    return transformed(value.tensor, feature, element, group)


def _unknown(base: Flow) -> tuple[str, ...]:
    """The calls at which the trace of the features is lost."""
    return tuple(
        call.where
        for call in base.recording.calls
        if any(value in base.features for value in call.inputs)
        and not any(value in base.features for value in call.outputs)
        and any(value.is_floating for value in call.outputs)
    )


def _group_for(speaker: str, network: nn.Module, example: Tensor, group: Group | str | None) -> Group:
    constraints: list[Subgroup] = [site.constraint for site in sites_of(network).values()]
    if group is None:
        if not constraints:
            raise GroupError(
                f'{speaker}: {type(network).__name__} has no group of its own; pass one, such as group="D4".'
            )
        group = constraints[0].group
    ambient = group_named(group, dim=example.ndim - 2) if isinstance(group, str) else group
    check_example(speaker, example, ambient)
    if constraints and constraints[0].group != ambient:
        raise GroupError(
            f"{speaker}: the network's features are those of {constraints[0].group.name}, not of {ambient.name}; leave "
            "group out, and give elements= to try some of its elements."
        )
    return ambient
