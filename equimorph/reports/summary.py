"""The first screen of a page: the result in words, the group of each layer, and four numbers."""

from __future__ import annotations

from html import escape

from equimorph.reports import style, words
from equimorph.reports.numbers import Numbers
from equimorph.reports.records import Candidate
from equimorph.reports.shell import make_notice


def make_header(numbers: Numbers) -> str:
    """The result in words, or why there is none, above the strip of layers and what its groups mean."""
    start, best = numbers.start, numbers.best
    parts = (("training", start.num_train), ("validation", start.num_validation), ("test", start.num_test))
    sizes = ", ".join(f"{count:,} {part}" for part, count in parts if count)
    origin = (
        f"<b>{escape(numbers.name)}</b> · {escape(start.strategy)} · group {escape(start.group)} · "
        f"{escape(start.data)}: {sizes} {words.describe_inputs(numbers)}"
    )
    if best is None:
        headline, body = "The run did not reach its end.", ""
    else:
        headline = words.describe_architecture(start.sites, best.constraints)
        whole = f'<p class="whole">{escape(words.describe_whole(numbers))}</p>'
        body = "\n".join([whole, _make_strip(numbers, best), _make_meanings(numbers, best)])
    notice = ""
    if not numbers.is_finished:
        reason = escape(words.explain_missing_result(numbers))
        so_far = " What follows is the state so far." if best is not None else ""
        lead = "<b>The run did not reach its end.</b> " if best is not None else ""
        notice = make_notice(f"{lead}{reason}{so_far}")
    return f'<header>\n<p class="origin">{origin}</p>\n<h1>{escape(headline)}</h1>\n{notice}\n{body}\n</header>'


def _make_strip(numbers: Numbers, best: Candidate) -> str:
    colours = style.colour_subgroups(list(numbers.subgroups))
    cells = (
        f'<li title="{escape(site)}"><span style="background:{colours[name]};color:{style.choose_ink(colours[name])}">'
        f"{escape(name)}</span><small>{'head' if words.is_head(site) else depth}</small></li>"
        for depth, (site, name) in enumerate(zip(numbers.start.sites, best.constraints, strict=True), start=1)
    )
    longest = max(4, *map(len, best.constraints))
    label = "The group that each layer keeps, from the input on"
    return f'<ol class="sites" style="--cell:{longest + 1.5}ch" aria-label="{label}">{"".join(cells)}</ol>'


def _make_meanings(numbers: Numbers, best: Candidate) -> str:
    colours = style.colour_subgroups(list(numbers.subgroups))
    items = []
    for name in reversed(numbers.subgroups):
        if name in best.constraints:
            meaning = words.explain(name, numbers.subgroups[name])
            chip = f'<span class="chip" style="background:{colours[name]}"></span>'
            items.append(f"<li>{chip}<b>{escape(name)}</b>{f' {escape(meaning)}' if meaning else ''}</li>")
    return f'<ul class="groups" aria-label="What the groups mean">{"".join(items)}</ul>'


def make_cards(numbers: Numbers) -> str:
    """Test error, parameters, architectures tried and cost, each with what it is to be compared with."""
    if not numbers.candidates:
        return ""
    cards = [_make_error_card(numbers), _make_size_card(numbers), _make_tried_card(numbers), _make_cost_card(numbers)]
    items = [
        f'<div class="card"><dt>{label}</dt><dd>{value}<small>{detail}</small></dd></div>'
        for label, value, detail in cards
    ]
    return "\n".join(['<dl class="cards">', *items, "</dl>"])


def _make_error_card(numbers: Numbers) -> tuple[str, str, str]:
    error, best = numbers.test_error, numbers.best
    if error is None:
        if best is None or best.error is None:
            return "Test error", "–", "not measured"
        why = "no test error was measured" if numbers.is_finished else "the test error is measured at the end"
        return "Validation error", f"{100 * best.error:.2f} %", why
    detail = []
    if numbers.test_standard_error is not None:
        tested = f"{numbers.start.num_test:,} test {words.describe_inputs(numbers)}"
        # With no error at all, the estimate of the standard error says nothing.
        detail.append(f"± {100 * numbers.test_standard_error:.2f} on {tested}" if error else f"none of {tested} wrong")
    if best is not None and best.error is not None:
        detail.append(f"{100 * best.error:.2f} % in validation")
    return "Test error", f"{100 * error:.2f} %", "; ".join(detail)


def _make_size_card(numbers: Numbers) -> tuple[str, str, str]:
    first, best = numbers.first, numbers.best
    if best is None or first is None:
        return "Parameters", f"{first.parameters:,}" if first else "–", "in the first network"
    is_even = len(set(first.constraints)) == 1
    began = f"{escape(first.constraints[0])} in every layer" if is_even else "the first network"
    if best.constraints == first.constraints:
        return "Parameters", f"{best.parameters:,}", f"the architecture that the run began with, {began}"
    ratio = f"{best.parameters / first.parameters:.2f} × " if first.parameters else ""
    return "Parameters", f"{best.parameters:,}", f"{ratio}the {first.parameters:,} of the start, {began}"


def _make_tried_card(numbers: Numbers) -> tuple[str, str, str]:
    # The first network is generation 0; what follows it are the generations of the search.
    generations = len({candidate.generation for candidate in numbers.candidates} - {0})
    diverged = sum(candidate.diverged for candidate in numbers.candidates)
    detail = _count(len(numbers.candidates), "candidate")
    detail += f" in {_count(generations, 'generation')}" if generations else ""
    detail += f", {diverged} diverged" if diverged else ""
    return "Architectures tried", f"{numbers.num_architectures:,}", detail


def _make_cost_card(numbers: Numbers) -> tuple[str, str, str]:
    cost, seconds = numbers.cost_in_trainings, numbers.wall_seconds
    detail = f"{_count(numbers.samples, 'training sample')}" + (
        "" if seconds is None else f", {_tell_duration(seconds)}"
    )
    if cost is None:
        return "Cost", f"{numbers.samples:,}", detail
    return "Cost", f"{cost:.1f} ×", f"one full training of one network: {detail}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _tell_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
