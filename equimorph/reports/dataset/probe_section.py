"""What a probe found, as sections of a page."""

from __future__ import annotations

from html import escape

from equimorph.data import ImageData
from equimorph.layers.features import transform
from equimorph.probing import Probe, ProbedElement
from equimorph.reports.dataset import probe_words as words
from equimorph.reports.dataset.moves import tell_move
from equimorph.reports.dataset.pictures import picture
from equimorph.reports.shell import ShownFigure, make_figure, make_section, make_table
from equimorph.reports.words import explain

_MOST_ELEMENTS = 12
_NUMERIC = {"loss", "error", "z", "told apart"}


def probe_figures(probe: Probe) -> dict[str, ShownFigure]:
    """By the names under which the sections show them."""
    from equimorph.reports.dataset.probe_figures import draw_classes, draw_lattice

    lattice, classes = draw_lattice(probe), draw_classes(probe)
    found = {}
    if lattice is not None:
        found["lattice"] = ShownFigure(
            "How much worse each invariance fits",
            "Every subgroup, the larger ones above. The colour is by how many standard errors its fit is worse on "
            f"left-out samples than the best one's; from {probe.limit:.1f} on it is ruled out. Those that are left "
            "have a ring, and the best one is the largest dot.",
            lattice,
        )
    if classes is not None:
        found["by-class"] = ShownFigure(
            "Whose labels it breaks",
            "The same difference over the samples of each class, in standard errors. Above zero the invariance makes "
            "the class harder to tell, below zero it helps.",
            classes,
        )
    return found


def make_probe_parts(probe: Probe, data: ImageData, figures: dict[str, ShownFigure]) -> list[str]:
    """The sections, in order."""
    shown = [make_figure(name, figures[name]) for name in ("lattice", "by-class") if name in figures]
    return [
        *shown,
        make_section("moves", "Move by move", _make_moves(probe, data)),
        make_section("next", "What to do next", _make_next(probe)),
    ]


def make_probe_numbers(probe: Probe) -> str:
    """The table of all subgroups."""
    rows = [
        [escape(name), escape(explain(name, one.subgroup)), loss, error or "–", z, verdict, escape(breaks)]
        for (name, loss, error, z, verdict, breaks), one in zip(probe.rows(), probe.subgroups, strict=True)
    ]
    caption = (
        "Loss: the mean squared residual of a sample under a linear fit to all others, on features averaged over the "
        f"group; by guessing it is {probe.guess:.4f}. Error: how many of these samples get another label. z: the "
        "paired difference to the best, in standard errors."
    )
    head = ["group", "meaning", "loss", "error", "z", "verdict", "breaks"]
    return make_table(head, rows, caption=caption, numeric=_NUMERIC)


def _make_moves(probe: Probe, data: ImageData) -> str:
    group = probe.subgroups[0].subgroup.group
    chosen = probe.elements[:_MOST_ELEMENTS]
    items = "\n".join(_make_move(probe, element, data) for element in chosen)
    more = len(probe.elements) - len(chosen)
    rest = f"<p>{more} more moves of {escape(group.name)} are not shown.</p>" if more else ""
    return f'<ul class="pairs">\n{items}\n</ul>\n{rest}<p>{escape(words.tell_visible(probe))}</p>'


def _make_move(probe: Probe, element: ProbedElement, data: ImageData) -> str:
    group = probe.subgroups[0].subgroup.group
    row = _example_for(element, data)
    sample = data.train.x[row : row + 1]
    move = tell_move(group, element.element)
    moved = transform(sample, element.element, group, "trivial")
    label = data.classes[int(data.train.y[row])] if data.targets == "classes" else "a sample"
    told = words.tell_element(probe, element) if probe.best is not None else "cannot be told"
    shown = [(sample, label, f"a sample of class {label}"), (moved, move, f"the same sample, {move}")]
    pictures = "".join(
        f"<figure>{picture(one[0], alt=alt)}<figcaption>{escape(caption)}</figcaption></figure>"
        for one, caption, alt in shown
    )
    shows = f"shows in {200 * (element.told_apart - 0.5):.0f} %" if element.visible else "does not show"
    return f'<li class="pair">{pictures}<p><b>{escape(told)}</b><br><small>{shows}</small></p></li>'


def _example_for(element: ProbedElement, data: ImageData) -> int:
    """The first sample of the class whose labels the move changes most; of any, where it changes none."""
    if element.changes and data.targets == "classes":
        rows = (data.train.y == data.classes.index(element.changes[0])).nonzero().flatten()
        if len(rows):
            return int(rows[0])
    return 0


def _make_next(probe: Probe) -> str:
    if probe.best is None:
        return (
            "<p>Try larger images or more samples, or hand the features of a pretrained network to "
            "<code>em.probe(data, features=…)</code>.</p>"
        )
    names = ",".join(words.suggested(probe))
    group = probe.subgroups[0].subgroup.group.name
    return (
        "<p>A network as a whole may keep what is left; how much of it to build into which layer is what a search "
        "tells. Subgroups that no group that is left contains need not be trained.</p>\n"
        f"<pre>equimorph search --data {escape(probe.data)} --group {escape(group)} --subgroups {escape(names)}</pre>"
    )
