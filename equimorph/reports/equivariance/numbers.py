"""The numbers of an audit, before anything is said or drawn: what holds, what was relaxed on purpose, what breaks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Literal

from equimorph.groups import Subgroup
from equimorph.inspection import Audit, AuditRow

Kind = Literal["exact", "relaxed", "broken"]
Outcome = Literal["exact", "relaxed", "broken", "unexplained"]

_DECADES = 7  # shown below the tolerance; what is smaller still looks alike


@dataclass(frozen=True)
class ShownCall:
    """One row of an audit.

    Attributes:
        row: What was measured.
        kind: "exact" up to rounding; "relaxed", where it fails only for elements that its constraint leaves out; or
            "broken".
        failing: The elements for which its own error is more than rounding.
        error: The largest error, infinite where one is no number.
        own: The largest own error.
    """

    row: AuditRow
    kind: Kind
    failing: frozenset[int]
    error: float
    own: float


@dataclass(frozen=True)
class EquivarianceNumbers:
    """An audit, judged.

    Attributes:
        audit: What was measured.
        calls: Its rows, in order.
        common: The elements that every constrained layer keeps; None where no layer is constrained.
        kept: The elements tried that the output commutes with.
        common_error: The largest error of the output over the tried elements of `common`.
        outcome: "exact"; "relaxed", where elements are lost at relaxed layers alone; "broken"; or "unexplained", where
            the output fails and no call that was measured does.
    """

    audit: Audit
    calls: tuple[ShownCall, ...]
    common: Subgroup | None
    kept: tuple[int, ...]
    common_error: float
    outcome: Outcome

    @property
    def broken(self) -> tuple[ShownCall, ...]:
        """The calls that break what they should keep, first to last."""
        return tuple(call for call in self.calls if call.kind == "broken")

    @property
    def relaxed(self) -> tuple[ShownCall, ...]:
        """The calls that keep a smaller group because they are constrained to it, first to last."""
        return tuple(call for call in self.calls if call.kind == "relaxed")

    @property
    def lowest(self) -> float:
        """Where the scale of the errors begins, as a logarithm."""
        return math.log10(self.audit.tolerance) - _DECADES

    @property
    def levels(self) -> tuple[tuple[float, ...], ...]:
        """log10 of the errors by call and element, the output last, from `lowest` to 0 (as large as the features)."""
        errors = [call.row.errors for call in self.calls] + [self.audit.output_errors]
        return tuple(tuple(self._level(of_call[element]) for element in self.audit.elements) for of_call in errors)

    def _level(self, error: float) -> float:
        if not math.isfinite(error):
            return 0.0
        return min(0.0, math.log10(max(error, 10**self.lowest)))


def read_audit(audit: Audit) -> EquivarianceNumbers:
    """Judge an audit: which elements hold, and whether the others are lost on purpose."""
    calls = tuple(_judged(audit, row) for row in audit.rows)
    constraints = [constraint for row in audit.rows if (constraint := _constraint(audit, row)) is not None]
    common = reduce(and_, constraints) if constraints else None
    kept = tuple(element for element in audit.elements if audit.output_errors[element] <= audit.tolerance)
    shared = [audit.output_errors[element] for element in audit.elements if common is None or element in common]
    common_error = largest(shared)
    return EquivarianceNumbers(audit, calls, common, kept, common_error, _outcome(audit, calls, kept, common_error))


def largest(errors: Mapping[int, float] | Iterable[float]) -> float:
    """The largest error; infinite where one is no number, and 0 of none.

    Example:
        >>> largest({0: 0.1, 1: 0.3}), largest([0.1, float("nan")]), largest([])
        (0.3, inf, 0.0)
    """
    values = errors.values() if isinstance(errors, Mapping) else errors
    return max((error if not math.isnan(error) else math.inf for error in values), default=0.0)


def _judged(audit: Audit, row: AuditRow) -> ShownCall:
    failing = frozenset(element for element in audit.elements if not row.own[element] <= audit.tolerance)
    kind: Kind = "exact"
    if failing:
        constraint = _constraint(audit, row)
        kind = "broken" if constraint is None or any(element in constraint for element in failing) else "relaxed"
    return ShownCall(row, kind, failing, largest(row.errors), largest(row.own))


def _constraint(audit: Audit, row: AuditRow) -> Subgroup | None:
    """What a layer is constrained to, where that is within the group that was tried."""
    return next((known for known in audit.group.subgroups() if known.name == row.constraint), None)


def _outcome(audit: Audit, calls: tuple[ShownCall, ...], kept: tuple[int, ...], common_error: float) -> Outcome:
    if len(kept) == len(audit.elements):
        return "exact"
    kinds = {call.kind for call in calls}
    if "broken" in kinds:
        return "broken"
    return "relaxed" if "relaxed" in kinds and common_error <= audit.tolerance else "unexplained"
