"""The page of a data set: what it is, how even its classes are, what samples look like, and how a group moves them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from equimorph.data import ImageData
from equimorph.groups import Group
from equimorph.reports.dataset import show_words as words
from equimorph.reports.dataset.show_numbers import SPLITS, Show, make_show
from equimorph.reports.dataset.show_orbits import make_orbits, show_sample
from equimorph.reports.shell import ShownFigure, make_details, make_document, make_figure, make_section, make_table

_MOST_OPEN = 4  # channels whose numbers are shown without being asked for
_SIZES = {1: 128, 2: 72, 3: 72}  # pixels, by the number of spatial axes
_STYLE = """
<style>
.sample { display: inline-block; image-rendering: pixelated; border-radius: 4px; background: #f7f8fa;
  box-shadow: 0 0 0 1px rgb(31 39 51 / 12%); vertical-align: top; }
.classes { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(468px, 100%), 1fr)); gap: 16px 24px;
  margin: 10px 0 0; padding: 0; list-style: none; }
.classes b { display: block; font-weight: 600; margin-bottom: 4px; overflow-wrap: anywhere; }
.classes small, .orbits small { color: var(--muted); font-weight: 400; }
.classes span { display: flex; flex-wrap: wrap; gap: 5px; }
.orbits { width: auto; }
.orbits th, .orbits td { padding: 5px 10px 5px 0; border: 0; line-height: 1.3; }
.orbits small { display: block; }
.classes i { display: flex; flex-direction: column; gap: 3px; }
.orbits thead th { vertical-align: bottom; max-width: 130px; font-size: 0.8rem; }
.orbits .kind { color: var(--ink); border-bottom: 1px solid #e6e9ee; }
.orbits th[scope="row"] { min-width: 110px; max-width: 170px; overflow-wrap: anywhere; }
.orbits .first { border-left: 2px solid #e6e9ee; padding-left: 12px; }
.about td:first-child { width: 12em; }
.pictures { display: flex; gap: 4px; }
</style>
"""


def write_show(
    data: ImageData, group: Group, path: Path, *, per_class: int = 6, about: Mapping[str, str] | None = None
) -> Path:
    """Make the page of a data set.

    The samples are drawn from the training split, always the same ones.

    Args:
        data: What is shown.
        group: What moves samples, on as many axes as they have.
        path: The page to write; an older one is replaced.
        per_class: How many samples of each class are shown.
        about: What else is known of the data, by label: a licence, a source, what the labels keep.
    Returns:
        `path`.
    Raises:
        ConfigurationError: `per_class` is less than 1.
        DataError: The group acts on another number of axes than the samples have.
    """
    path.write_text(make_page(make_show(data, group, per_class=per_class, about=about or {})), encoding="utf-8")
    return path


def make_page(show: Show) -> str:
    """The whole page as a text."""
    from equimorph.reports.dataset.show_figure import draw_balance

    balance = ShownFigure(
        "How even the classes are",
        f"{escape(words.tell_balance(show))} Bars are shares of each split, so that splits of different sizes compare.",
        draw_balance(show),
    )
    parts = [
        _STYLE,
        _make_cards(show),
        _make_about(show),
        make_figure("balance", balance),
        make_details("Every count", _make_counts(show)),
        make_section("samples", "What samples look like", _make_samples(show)),
        make_section("orbits", f"What {escape(show.group.name)} does to them", make_orbits(show)),
        _make_channels(show),
        _make_notes(show),
    ]
    return make_document(
        f"{show.data.name}: equimorph", header=_make_header(show), parts=parts, figures={"balance": balance}
    )


def _make_header(show: Show) -> str:
    origin = f"<b>{escape(show.data.name)}</b> · data set · group {escape(show.group.name)}"
    headline = escape(words.tell_headline(show.data)).replace(" × ", "&nbsp;×&nbsp;")
    return f'<header>\n<p class="origin">{origin}</p>\n<h1>{headline}</h1>\n</header>'


def _make_cards(show: Show) -> str:
    sizes = {split: sum(show.counts[split]) for split in SPLITS}
    whole = sum(sizes.values())
    details = {"train": "what networks learn from", "validation": "what choices are made on", "test": "used once"}
    cards = [
        (split.capitalize(), f"{size:,}", f"{100 * size / whole:.0f} % of all; {details[split]}")
        for split, size in sizes.items()
    ]
    channels, *sides = show.data.train.x.shape[1:]
    cards.append(("Sample", " × ".join(map(str, sides)), f"{channels} channel{'' if channels == 1 else 's'}"))
    items = "\n".join(
        f'<div class="card"><dt>{label}</dt><dd>{value}<small>{detail}</small></dd></div>'
        for label, value, detail in cards
    )
    return f'<dl class="cards">\n{items}\n</dl>'


def _make_about(show: Show) -> str:
    if not show.about:
        return ""
    rows = [[escape(label), escape(text)] for label, text in show.about.items()]
    table = make_table(["what", "value"], rows, caption="As told by whoever made this page.")
    return make_section("about", "About the data", f'<div class="about">{table}</div>')


def _make_counts(show: Show) -> str:
    rows = [
        [
            escape(name),
            *(f"{show.counts[split][label]:,} ({100 * show.shares(split)[label]:.1f}&nbsp;%)" for split in SPLITS),
        ]
        for label, name in enumerate(show.data.classes)
    ]
    return make_table(["class", *SPLITS], rows, caption="Samples, and their share of the split.", numeric=SPLITS)


def _make_samples(show: Show) -> str:
    told = " ".join(filter(None, [words.tell_hidden(show), words.tell_pictures(show)]))
    size = _SIZES[show.data.dim]
    items = []
    for label, rows in enumerate(show.drawn):
        name, number = show.data.classes[label], show.counts["train"][label]
        pictures = "".join(
            f"<i>{show_sample(show, show.sample(row), alt=f'no. {row}, of class {name}', size=size)}</i>"
            for row in rows
        )
        count = f"{number:,} in training" if rows else "none in training"
        items.append(f"<li><b>{escape(name)} <small>{count}</small></b><span>{pictures}</span></li>")
    lead = f"Drawn at random from the training split, each class by itself. {told}".strip()
    return f'<p>{escape(lead)}</p>\n<ul class="classes">\n' + "\n".join(items) + "\n</ul>"


def _make_channels(show: Show) -> str:
    data = show.data
    rows = [
        [f"{index}", f"{mean:.4g}", f"{std:.4g}"]
        for index, (mean, std) in enumerate(zip(data.mean, data.std, strict=True))
    ]
    head = ["channel", "mean", "standard deviation"]
    caption = "Of the values of the training split as they are stored; networks see (value − mean) / deviation."
    table = make_table(head, rows, caption=caption, numeric=head[1:])
    if len(rows) > _MOST_OPEN:
        return make_details("Channels", table)
    return make_section("channels", "Channels", table)


def _make_notes(show: Show) -> str:
    notes = show.data.notes
    tables = [
        _make_note_table("what was done", notes.handled, "Handled when the data were read."),
        _make_note_table("reason", notes.left_out, f"Left out: {sum(notes.left_out.values()):,} in all."),
    ]
    divided = f"<p>Divided: {escape(notes.split)}.</p>" if notes.split else ""
    body = "\n".join(filter(None, [divided, *tables]))
    return make_section("notes", "How it was put together", body) if body else ""


def _make_note_table(what: str, counts: Mapping[str, int], caption: str) -> str:
    if not counts:
        return ""
    rows = [[escape(name), f"{count:,}"] for name, count in counts.items()]
    return make_table([what, "samples"], rows, caption=caption, numeric={"samples"})
