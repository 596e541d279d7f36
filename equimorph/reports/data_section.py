"""The section on the data: how samples were divided, what was done to them on reading, and which were left out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from equimorph.reports import words
from equimorph.reports.numbers import Numbers
from equimorph.reports.shell import make_section, make_table

_WEIGHTS = {
    "loss": "In the loss every class weighed the same, however many samples it has.",
    "sampling": "In training every class was drawn equally often, however many samples it has.",
}


def make_data_section(numbers: Numbers) -> str:
    """The section; empty for a run that tells nothing of this."""
    start = numbers.start
    sentences = [_end_sentence(start.split), describe_weights(start.class_weights)]
    told = escape(" ".join(filter(None, sentences)))
    inputs = words.describe_inputs(numbers)
    left_out = sum(count for _, count in start.left_out)
    parts = [
        f"<p>{told}</p>" if told else "",
        _make_counts("what was done", inputs, start.handled, caption="Handled when the data were read."),
        _make_counts("reason", inputs, start.left_out, caption=f"Left out: {left_out:,} in all."),
    ]
    body = "\n".join(filter(None, parts))
    return make_section("data", "The data", body) if body else ""


def describe_weights(class_weights: str | None) -> str:
    """How training made up for classes of different sizes, in one sentence; empty where it did not.

    Example:
        >>> describe_weights("loss")
        'In the loss every class weighed the same, however many samples it has.'
    """
    if class_weights is None:
        return ""
    return _WEIGHTS.get(class_weights, f"Classes were weighed: {class_weights}.")


def _make_counts(what: str, inputs: str, counts: Sequence[tuple[str, int]], *, caption: str) -> str:
    if not counts:
        return ""
    rows = [[escape(name), f"{count:,}"] for name, count in counts]
    return make_table([what, inputs], rows, caption=caption, numeric={inputs})


def _end_sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"
