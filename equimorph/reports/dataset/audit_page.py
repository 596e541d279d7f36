"""The page of a label audit: which symmetries the labels cannot have, with the pairs of samples that show it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from equimorph.data import ImageData
from equimorph.data.audit.records import ContradictingPair, LabelAudit
from equimorph.errors import DataError
from equimorph.layers.features import transform
from equimorph.probing import Probe
from equimorph.reports.dataset import audit_words as words
from equimorph.reports.dataset.moves import tell_move
from equimorph.reports.dataset.pictures import picture
from equimorph.reports.dataset.probe_section import make_probe_numbers, make_probe_parts, probe_figures
from equimorph.reports.dataset.probe_words import tell_probe
from equimorph.reports.shell import (
    ShownFigure,
    make_details,
    make_document,
    make_figure,
    make_notice,
    make_section,
    make_table,
)
from equimorph.reports.words import explain

_NUMERIC = {"order", "bound", "over C1", "coverage", "meet", "contradict", "expected", "score"}
_STYLE = """
<style>
.pairs { display: flex; flex-wrap: wrap; gap: 18px 30px; margin: 8px 0 20px; padding: 0; list-style: none; }
.pair { display: flex; gap: 8px; align-items: flex-start; }
.pair figure { text-align: center; font-size: 0.82rem; }
.pair figcaption { font-size: 0.82rem; margin: 3px 0 0; line-height: 1.3; max-width: 100px; overflow-wrap: anywhere; }
.sample { display: block; image-rendering: pixelated; border-radius: 4px; background: #f7f8fa;
  box-shadow: 0 0 0 1px rgb(31 39 51 / 12%); }
h3 { font-size: 1rem; font-weight: 600; margin: 14px 0 6px; }
</style>
"""


def write_audit(audit: LabelAudit, data: ImageData, path: Path, probe: Probe | None = None) -> Path:
    """Make the page of an audit.

    Args:
        audit: What `audit_labels` found.
        data: What it was given; the pictures come from its training split.
        path: The page to write; an older one is replaced.
        probe: What `em.probe` found, which then comes first.
    Returns:
        `path`.
    Raises:
        DataError: `data` is another data set than was audited.
    """
    if data.name != audit.data or len(data.train) != audit.num_train or data.dim != audit.group.dim:
        raise DataError(
            f"write_audit: the audit is of {audit.data} with {audit.num_train:,} training samples, and the data are "
            f"{data.name} with {len(data.train):,}; pass the data that were audited."
        )
    path.write_text(make_page(audit, data, probe), encoding="utf-8")
    return path


def make_page(audit: LabelAudit, data: ImageData, probe: Probe | None = None) -> str:
    """The whole page as a text."""
    from equimorph.reports.dataset.audit_figure import draw_bounds

    probed = {} if probe is None else probe_figures(probe)
    figures = probed | {
        "bounds": ShownFigure(
            "What invariance would cost at least",
            "The share of samples that every classifier invariant under the group labels wrongly, with one standard "
            "error. The dotted line is what is lost without any move: only what lies beyond it speaks of symmetry. "
            "On the right, the share of samples with another one in their near-orbit, and how many meet another sample "
            "when one of the two is moved: of all others, nothing was seen.",
            draw_bounds(audit),
        )
    }
    parts = [
        make_figure("bounds", figures["bounds"]),
        make_section("pairs", "The pairs that contradict", _make_pairs(audit, data)),
    ]
    if probe is None:
        parts.append(make_section("suggestion", "Which groups to search", _make_suggestion(audit)))
    else:
        said = f"<p>{escape(words.tell_headline(audit))}</p>"
        nearly = make_section("coincidences", "Samples that nearly coincide", said)
        parts = [_STYLE, *make_probe_parts(probe, data, probed), nearly, *parts]
        parts.append(make_details("Every number of the fits", make_probe_numbers(probe)))
    unseen = "What this cannot see" if probe is None else "What near samples cannot tell"
    parts.append(make_section("limits", unseen, _make_limits(audit)))
    parts.append(make_details("Every number of near samples", _make_numbers(audit)))
    title = f"Labels of {audit.data} under {audit.group.name}: equimorph"
    return make_document(title, header=_make_header(audit, probe), parts=parts, figures=figures)


def _make_header(audit: LabelAudit, probe: Probe | None) -> str:
    origin = (
        f"<b>{escape(audit.data)}</b> · label audit · group {escape(audit.group.name)} · "
        f"{audit.num_samples:,} of {audit.num_train:,} training samples"
    )
    if probe is not None:
        verdict, _, rest = tell_probe(probe).partition(". ")
        return (
            f'<header>\n<p class="origin">{origin}</p>\n<h1>{escape(verdict.rstrip("."))}.</h1>\n'
            f'<p class="whole">{escape(rest)}</p>\n</header>'
        )
    blind = not (audit.named("ruled out") or audit.named("possible"))
    notice = make_notice(escape(words.tell_limits(audit)[0])) if blind else ""
    return (
        f'<header>\n<p class="origin">{origin}</p>\n<h1>{escape(words.tell_headline(audit))}</h1>\n'
        f'<p class="whole">{escape(words.tell_rest(audit))}</p>\n{notice}\n</header>'
    )


def _make_pairs(audit: LabelAudit, data: ImageData) -> str:
    if not audit.pairs:
        return f"{_STYLE}<p>No two samples of different labels came near each other through a move.</p>"
    lead = (
        "<p>Each three pictures show two training samples of different labels, and the second one moved. A classifier "
        "invariant under the move gives the last two the same label, and the first and the last are near.</p>"
    )
    return _STYLE + lead + "\n".join(_make_groups_of_pairs(audit, data))


def _make_groups_of_pairs(audit: LabelAudit, data: ImageData) -> Iterator[str]:
    for element in sorted({pair.element for pair in audit.pairs}):
        cyclic = audit.group.subgroup_generated_by([element]).name
        known = {member.name: member for member in audit.evidence}
        beyond = (
            "" if cyclic not in known or known[cyclic].verdict == "ruled out" else "; no more of them than by chance"
        )
        move = tell_move(audit.group, element)
        items = "\n".join(_make_pair(audit, data, pair) for pair in audit.pairs if pair.element == element)
        yield f'<h3>{escape(cyclic)}: the second one {escape(move)}{beyond}</h3>\n<ul class="pairs">\n{items}\n</ul>'


def _make_pair(audit: LabelAudit, data: ImageData, pair: ContradictingPair) -> str:
    first, second = (data.train.x[row : row + 1] for row in (pair.first, pair.second))
    moved = transform(second, pair.element, audit.group, "trivial")
    move = tell_move(audit.group, pair.element)
    shown = [
        (first, pair.first_label, f"no. {pair.first}", f"a sample of class {pair.first_label}"),
        (second, pair.second_label, f"no. {pair.second}", f"a sample of class {pair.second_label}"),
        (moved, pair.second_label, "moved", f"the sample of class {pair.second_label}, {move}"),
    ]
    figures = "".join(
        f"<figure>{picture(sample[0], alt=alt)}<figcaption><b>{escape(label)}</b><br>{note}</figcaption></figure>"
        for sample, label, note, alt in shown
    )
    return f'<li class="pair" title="distance {pair.distance:.3f}">{figures}</li>'


def _make_suggestion(audit: LabelAudit) -> str:
    group, names = audit.group.name, ",".join(audit.suggested)
    body = (
        "<p>The first layers may keep symmetries that the labels break, so the whole group and no symmetry at all are "
        "always among the suggestions; the others are those that the labels may have as far as was seen.</p>\n"
        f"<pre>equimorph search --data {escape(audit.data)} --group {escape(group)} --subgroups {escape(names)}</pre>"
    )
    kept = [name for name in audit.suggested if name in audit.named("ruled out")]
    if kept:
        body += f"\n<p>{escape(words.join(kept))} is there for early layers alone: the labels do not have it.</p>"
    return body


def _make_limits(audit: LabelAudit) -> str:
    items = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in words.tell_limits(audit))
    return f"<ul>\n{items}\n</ul>"


def _make_numbers(audit: LabelAudit) -> str:
    rows = [
        [
            escape(member.name),
            escape(explain(member.name, audit.group.subgroup(member.name))),
            f"{100 * member.bound:.2f}&nbsp;±&nbsp;{100 * member.standard_error:.2f}&nbsp;%",
            f"{100 * audit.excess(member.name):.2f}",
            f"{100 * member.coverage:.1f}&nbsp;%",
            *([f"{member.seen:,}", f"{member.contradicting:,}"] if member.order > 1 else ["–", "–"]),
            *([f"{member.expected:.1f}", f"{member.score:.1f}"] if member.order > 1 else ["–", "–"]),
            escape(words.tell_verdict(member)),
        ]
        for member in audit.evidence
    ]
    head = ["group", "meaning", "bound", "over C1", "coverage", "meet", "contradict", "expected", "score", "verdict"]
    caption = (
        "Meet: samples whose nearest other one through a move is within the radius. Contradict: those whose neighbour "
        "has another label. Expected: how many would without a move, at the same distances. Score: the surplus in "
        f"standard errors; from 3 on a group is ruled out. The radius is {audit.radius:.3f}, at which "
        f"{100 * audit.tolerance:g} % of nearest neighbours without a move have another label; of all, "
        f"{100 * audit.neighbour_error:.1f} % have."
    )
    return make_table(head, rows, caption=caption, numeric=_NUMERIC)
