"""The sentences of an audit: what holds, where it is lost and why, and what was not seen."""

from __future__ import annotations

import math

from equimorph.reports.dataset.moves import tell_move
from equimorph.reports.equivariance.numbers import EquivarianceNumbers, ShownCall, largest

_MOST_MOVES = 3  # that are told one by one


def tell_relative(error: float) -> str:
    """A relative error in a few signs.

    Example:
        >>> tell_relative(3.1e-7), tell_relative(0.0), tell_relative(0.254), tell_relative(float("nan"))
        ('3e-7', '0', '0.25', 'not finite')
    """
    if not math.isfinite(error):
        return "not finite"
    if error == 0:
        return "0"
    if error >= 0.001:
        return f"{error:.2g}"
    return f"{error:.0e}".replace("e-0", "e-")


def tell_headline(numbers: EquivarianceNumbers) -> str:
    """What was found, in one sentence."""
    audit = numbers.audit
    group = audit.group.name
    if not audit.elements:
        return "No element was tried."
    if numbers.outcome == "exact":
        return f"The network commutes with {_all_elements(numbers)} (largest error {tell_relative(audit.error)})."
    if numbers.outcome == "broken":
        first = numbers.broken[0]
        return f"The network loses equivariance under {group} first at {_named(first)} ({_briefly(first.row.reason)})."
    if numbers.outcome == "unexplained":
        return (
            f"The network does not commute with {group} (largest error {_output_error(numbers)}), "
            "and no call that was measured breaks it by itself."
        )
    common = numbers.common
    if common is None or common.order == 1:
        return f"No element of {group} but the identity is kept by every layer."
    error = tell_relative(numbers.common_error)
    elements = f"all {common.order} elements of {common.name}"
    return f"The network commutes with {elements}, which every layer keeps (largest error {error})."


def tell_rest(numbers: EquivarianceNumbers, *, chosen: bool = False) -> str:
    """What the headline leaves out: why, the remedy, what is kept all the same, and what was relaxed besides.

    Args:
        numbers: The audit.
        chosen: Whether it was a search that chose the constraints of the layers.
    """
    told = []
    if numbers.outcome == "relaxed":
        where = numbers.relaxed[0]
        told.append(
            f"All that is lost of {numbers.audit.group.name} is lost where "
            f"{'the search relaxed layers' if chosen else 'layers keep a smaller group'}, first at {_named(where)} "
            f"({tell_reason(where, chosen=chosen)}); nothing else breaks it."
        )
        if len(numbers.kept) != sum(numbers.common is not None and e in numbers.common for e in numbers.audit.elements):
            told.append(_tell_kept(numbers))
    elif numbers.outcome == "broken":
        first = numbers.broken[0].row
        told.append(_explanation(first.reason))
        told.append(f"What to try: {first.remedy}." if first.remedy else "")
        others = len(numbers.broken) - 1
        told.append(f"{_count(others, 'further call')} {_do(others)} not commute by {_own(others)}." if others else "")
        told.append(_tell_kept(numbers))
        if numbers.relaxed:
            where = numbers.relaxed[0]
            told.append(
                f"Besides, {_count(len(numbers.relaxed), 'call')} {_keep(len(numbers.relaxed))} a smaller group, "
                f"first {_named(where)} ({tell_reason(where, chosen=chosen)})."
            )
    elif numbers.outcome == "unexplained":
        told.append(_tell_kept(numbers))
        if audit_unknown := numbers.audit.unknown:
            told.append(f"It may be lost behind {audit_unknown[0]}, where it is not known how the group acts.")
    elif numbers.outcome == "exact" and (inside := numbers.broken + numbers.relaxed):
        told.append(
            f"Inside, {_count(len(inside), 'call')} {_do(len(inside))} not commute, first {_named(inside[0])} "
            f"({tell_reason(inside[0], chosen=chosen)}); that does not reach the output."
        )
    return " ".join(filter(None, told))


def tell_unknown(numbers: EquivarianceNumbers) -> str:
    """What was not measured; empty where all was."""
    unknown = numbers.audit.unknown
    if not unknown:
        return "" if numbers.calls else "No layer or function was met that could be measured; only the output was."
    names = ", ".join(unknown[:_MOST_MOVES]) + (f" and {len(unknown) - _MOST_MOVES} more" if len(unknown) > 3 else "")
    return f"Behind {names} it is not known how the group acts, so nothing was measured there."


def tell_reason(call: ShownCall, *, chosen: bool = False) -> str:
    """Why a call does not commute, for a table; empty where it does."""
    if call.kind == "relaxed":
        return f"constrained to {call.row.constraint}{', as the search chose' if chosen else ''}"
    return call.row.reason


def tell_remedy(call: ShownCall) -> str:
    """What to try; nothing for what was meant to be so."""
    return call.row.remedy if call.kind == "broken" else ""


def tell_failing(numbers: EquivarianceNumbers, call: ShownCall) -> str:
    """The elements that a call does not commute with, in words where they are few."""
    moves = [tell_move(numbers.audit.group, element) for element in sorted(call.failing)]
    if len(moves) > _MOST_MOVES:
        return f"{len(moves)} of {len(numbers.audit.elements)} elements"
    return ", ".join(moves)


def _tell_kept(numbers: EquivarianceNumbers) -> str:
    audit = numbers.audit
    kept = audit.group.subgroup_generated_by(numbers.kept)
    tried = len(audit.elements)
    error = tell_relative(largest(audit.output_errors[element] for element in numbers.kept))
    if kept.order == 1:
        sentence = f"The output commutes with no element but the identity (largest error {_output_error(numbers)})."
        return sentence if tried > 1 else ""
    named = f", {kept.name}" if set(map(int, kept.indices)) == set(numbers.kept) else ""
    return (
        f"The output commutes with {len(numbers.kept)} of {tried} elements{named} (error up to {error}); for the "
        f"others the error is up to {_output_error(numbers)}."
    )


def _all_elements(numbers: EquivarianceNumbers) -> str:
    audit = numbers.audit
    if len(audit.elements) == audit.group.order:
        return f"all {audit.group.order} elements of {audit.group.name}" if audit.group.order > 1 else "the identity"
    tried = audit.group.subgroup_generated_by(audit.elements)
    if set(map(int, tried.indices)) == set(audit.elements):
        return f"all {tried.order} elements of {tried.name}, the only ones of {audit.group.name} that were tried"
    return f"the {len(audit.elements)} elements of {audit.group.name} that were tried"


def _output_error(numbers: EquivarianceNumbers) -> str:
    return tell_relative(largest(numbers.audit.output_errors))


def _named(call: ShownCall) -> str:
    """The name of a call, so that it is read as one where it is a number alone."""
    return f'layer "{call.row.name}"' if call.row.name.isdigit() else call.row.name


def _briefly(reason: str) -> str:
    return reason.partition(":")[0]


def _explanation(reason: str) -> str:
    """What a reason says after its first few words, as a sentence; empty where that is all."""
    more = reason.partition(": ")[2]
    return f"{more[0].upper()}{more[1:]}." if more else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _do(number: int) -> str:
    return "does" if number == 1 else "do"


def _own(number: int) -> str:
    return "itself" if number == 1 else "themselves"


def _keep(number: int) -> str:
    return "keeps" if number == 1 else "keep"
