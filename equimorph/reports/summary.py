"""The first screen of a page: the result in words, the group of each layer, and four numbers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from equimorph.reports import style, words
from equimorph.reports.measures import describe_metric, name_metric, tell_accuracy, tell_error
from equimorph.reports.mixtures import Shares, Trajectory, dominant
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
        headline = words.describe_best(numbers)
        whole = f'<p class="whole">{escape(words.describe_whole(numbers))}</p>'
        shares = numbers.shares
        strip = _make_strip(numbers, best) if shares is None else _make_mixture_strip(numbers, shares)
        body = "\n".join([whole, strip, _make_meanings(numbers, best)])
    metric = describe_metric(start.metric)
    body += f'\n<p class="whole">{escape(metric)}</p>' if metric else ""
    notice = ""
    if not numbers.is_finished:
        reason = escape(words.explain_missing_result(numbers))
        so_far = " What follows is the state so far." if best is not None else ""
        lead = "<b>The run did not reach its end.</b> " if best is not None else ""
        notice = make_notice(f"{lead}{reason}{so_far}")
    return f'<header>\n<p class="origin">{origin}</p>\n<h1>{escape(headline)}</h1>\n{notice}\n{body}\n</header>'


def _make_strip(numbers: Numbers, best: Candidate) -> str:
    sites = numbers.start.sites
    cells = [_Cell(site, site, name, escape(name)) for site, name in zip(sites, best.constraints, strict=True)]
    return _make_cells(numbers, cells, label="The group that each layer keeps, from the input on")


def _make_mixture_strip(numbers: Numbers, shares: Shares) -> str:
    cells = []
    for site, portions in shares.items():
        name, share = dominant(portions)
        everything = ", ".join(f"{member} {words.tell_share(portion)}" for member, portion in portions.items())
        cells.append(_Cell(site, f"{site}: {everything}", name, f"{escape(name)}<em>{words.tell_share(share)}</em>"))
    label = "The group that each layer leans to, with its share, from the input on"
    return _make_cells(numbers, cells, label=label)


class _Cell(NamedTuple):
    """One layer of the strip; `shown` is HTML."""

    site: str
    title: str
    subgroup: str
    shown: str


def _make_cells(numbers: Numbers, cells: Sequence[_Cell], *, label: str) -> str:
    colours = style.colour_subgroups(list(numbers.subgroups))
    items = []
    for depth, cell in enumerate(cells, start=1):
        colour = colours[cell.subgroup]
        items.append(
            f'<li title="{escape(cell.title)}"><span style="background:{colour};color:{style.choose_ink(colour)}">'
            f"{cell.shown}</span><small>{'head' if words.is_head(cell.site) else depth}</small></li>"
        )
    longest = max(4, *(len(cell.subgroup) for cell in cells))
    return f'<ol class="sites" style="--cell:{longest + 2.5}ch" aria-label="{label}">{"".join(items)}</ol>'


def _make_meanings(numbers: Numbers, best: Candidate) -> str:
    colours = style.colour_subgroups(list(numbers.subgroups))
    told = best.constraints if numbers.shares is None else {name for of in numbers.shares.values() for name in of}
    items = []
    for name in reversed(numbers.subgroups):
        if name in told:
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
    error, best, metric = numbers.test_error, numbers.best, numbers.start.metric
    detail, accuracy = [escape(name_metric(metric))], tell_accuracy(numbers.scores)
    if error is None:
        if best is None or best.error is None:
            return "Test error", "–", "not measured"
        why = "no test error was measured" if numbers.is_finished else "the test error is measured at the end"
        detail += [why, accuracy and f"in the test {accuracy}"]
        return "Validation error", tell_error(best.error, metric), "; ".join(filter(None, detail))
    if numbers.test_standard_error is not None:
        tested = f"{numbers.start.num_test:,} test {words.describe_inputs(numbers)}"
        # With no error at all, the estimate of the standard error says nothing.
        detail.append(f"± {100 * numbers.test_standard_error:.2f} on {tested}" if error else f"none of {tested} wrong")
    if best is not None and best.error is not None:
        detail.append(f"{tell_error(best.error, metric)} in validation")
    return "Test error", tell_error(error, metric), "; ".join(filter(None, [*detail, accuracy]))


def _make_size_card(numbers: Numbers) -> tuple[str, str, str]:
    first, best = numbers.first, numbers.best
    if best is None or first is None:
        return "Parameters", f"{first.parameters:,}" if first else "–", "in the first network"
    if first.id in numbers.mixtures:
        if best.id in numbers.mixtures:
            return "Parameters", f"{best.parameters:,}", "of all members of the mixture together"
        ratio = f"{best.parameters / first.parameters:.2f} × " if first.parameters else ""
        return "Parameters", f"{best.parameters:,}", f"{ratio}the {first.parameters:,} of the mixture"
    is_even = len(set(first.constraints)) == 1
    began = f"{escape(first.constraints[0])} in every layer" if is_even else "the first network"
    if best.constraints == first.constraints:
        return "Parameters", f"{best.parameters:,}", f"the architecture that the run began with, {began}"
    ratio = f"{best.parameters / first.parameters:.2f} × " if first.parameters else ""
    return "Parameters", f"{best.parameters:,}", f"{ratio}the {first.parameters:,} of the start, {began}"


def _make_tried_card(numbers: Numbers) -> tuple[str, str, str]:
    if numbers.trajectory is not None:
        return _make_members_card(numbers, numbers.trajectory)
    if len(numbers.candidates) == 1 and numbers.is_finished:
        return "Architectures tried", "1", "one network, trained as it was given"
    # The first network is generation 0; what follows it are the generations of the search.
    generations = len({candidate.generation for candidate in numbers.candidates} - {0})
    diverged = sum(candidate.diverged for candidate in numbers.candidates)
    detail = _count(len(numbers.candidates), "candidate")
    detail += f" in {_count(generations, 'generation')}" if generations else ""
    detail += f", {diverged} diverged" if diverged else ""
    return "Architectures tried", f"{numbers.num_architectures:,}", detail


def _make_members_card(numbers: Numbers, trajectory: Trajectory) -> tuple[str, str, str]:
    names = [name for name in reversed(numbers.subgroups) if name in trajectory.members]
    layers = len(trajectory.sites)
    where = f"in each of {layers} layers" if layers > 1 else "in one layer"
    then = ""
    if trajectory.discretised_at is not None:
        then = "; then one group for each"
    elif len(numbers.last_training) < len(numbers.lineage):
        then = "; then trained anew with frozen weights"
    detail = f"{', '.join(names)} {where}, trained as one network{then}"
    return "Groups mixed", f"{len(names)}", escape(detail)


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
