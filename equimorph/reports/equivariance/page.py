"""The page of an audit: what was found in a sentence, the errors call by call, and every number as text."""

from __future__ import annotations

from html import escape
from pathlib import Path

from equimorph.errors import DataError
from equimorph.inspection import Audit
from equimorph.reports.equivariance import words
from equimorph.reports.equivariance.numbers import EquivarianceNumbers, ShownCall, read_audit
from equimorph.reports.shell import ShownFigure, make_document, make_figure, make_notice, make_section, make_table

_NUMERIC = {"error", "own error"}


def write(audit: Audit, path: str | Path, *, title: str, about: str = "", chosen: bool = False) -> Path:
    """Make the page of an audit.

    Args:
        audit: What `em.audit` found.
        path: The page to write; an older one is replaced.
        title: What the network is called.
        about: More to stand beside that, such as what it was tried on.
        chosen: Whether it was a search that chose the constraints of the layers; what a constrained layer does not keep
            is then told as its choice.
    Returns:
        `path`.
    Raises:
        DataError: The page cannot be written.
    """
    path = Path(path)
    page = make_page(read_audit(audit), title=title, about=about, chosen=chosen)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise DataError(f"audit: {path} cannot be written: {error.strerror}; name another path.") from None
    return path


def make_page(numbers: EquivarianceNumbers, *, title: str, about: str = "", chosen: bool = False) -> str:
    """The whole page as a text."""
    from equimorph.reports.equivariance.figure import draw_errors

    figures = {}
    if numbers.calls and numbers.audit.elements:
        figures["errors"] = ShownFigure(
            "The error behind each call",
            "One row for each layer or function, in the order in which they run, and one column for each element g: "
            "how far what comes out for the moved input, f(gx), is from what should come out, g f(x), as a share of "
            "its largest entry. Blue is rounding, orange is loss. An error that has come in stays; the signs stand "
            "where a call adds it by itself.",
            draw_errors(numbers, chosen=chosen),
        )
    parts = [make_figure(key, shown) for key, shown in figures.items()]
    parts.append(make_section("calls", "Every call", _make_table(numbers, chosen=chosen)) if numbers.calls else "")
    header = _make_header(numbers, title=title, about=about, chosen=chosen)
    name = f"{title} under {numbers.audit.group.name}: equimorph audit"
    return make_document(name, header=header, parts=parts, figures=figures)


def _make_header(numbers: EquivarianceNumbers, *, title: str, about: str, chosen: bool) -> str:
    audit = numbers.audit
    tried = f"{len(audit.elements)} of {audit.group.order} elements tried"
    told = [f"<b>{escape(title)}</b>", "equivariance audit", f"group {escape(audit.group.name)}", tried]
    origin = " · ".join([*told, escape(about)] if about else told)
    rest = words.tell_rest(numbers, chosen=chosen)
    unknown = words.tell_unknown(numbers)
    return (
        f'<header>\n<p class="origin">{origin}</p>\n<h1>{escape(words.tell_headline(numbers))}</h1>\n'
        + (f'<p class="whole">{escape(rest)}</p>\n' if rest else "")
        + (make_notice(escape(unknown)) + "\n" if unknown else "")
        + "</header>"
    )


def _make_table(numbers: EquivarianceNumbers, *, chosen: bool) -> str:
    rows = [_cells(numbers, call, chosen=chosen) for call in numbers.calls]
    rows.append(["output", "", "", "", words.tell_relative(numbers.audit.error), "", ""])
    caption = (
        "Errors are the largest over all elements; the own error is what the call adds to features that commute. Up to "
        f"{words.tell_relative(numbers.audit.tolerance)} counts as rounding. Calls that break what they should keep "
        "stand out."
    )
    marked = [*(call.kind == "broken" for call in numbers.calls), False]
    head = ["call", "kind", "output", "constraint", "error", "own error", "why, and what to try"]
    return make_table(head, rows, caption=caption, numeric=_NUMERIC, marked=marked)


def _cells(numbers: EquivarianceNumbers, call: ShownCall, *, chosen: bool) -> list[str]:
    row = call.row
    reason, remedy = words.tell_reason(call, chosen=chosen), words.tell_remedy(call)
    told = escape(reason)
    if call.failing:
        told += f" (lost: {escape(words.tell_failing(numbers, call))})"
    if remedy:
        told += f"; {escape(remedy)}"
    return [
        escape(row.name),
        escape(row.kind),
        "&nbsp;×&nbsp;".join(map(str, row.shape[1:])) or "1",
        escape(row.constraint or "–"),
        words.tell_relative(call.error),
        words.tell_relative(call.own),
        told or "–",
    ]
