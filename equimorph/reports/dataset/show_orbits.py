"""Samples as the page of a data set shows them: as they are, and in a table as the elements of a group move them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from torch import Tensor

from equimorph.data.resizing import area_averaged
from equimorph.reports.dataset import show_words as words
from equimorph.reports.dataset.moves import tell_move
from equimorph.reports.dataset.pictures import picture
from equimorph.reports.dataset.show_numbers import Orbit, Show, is_mirror

_MOST_ACROSS = 8  # elements that stand beside each other; more stand below each other
_SIZES = {1: 160, 2: 84, 3: 46}  # pixels, by the number of spatial axes; a volume has two pictures beside each other


def show_sample(show: Show, sample: Tensor, *, alt: str, size: int) -> str:
    """The pictures of one raw sample (channels, *spatial): one, and of a volume two, along z and along x."""
    if show.data.dim < 3:
        return _show_view(show, sample, alt, size)
    along_x = sample.permute(0, 3, 2, 1).flip(1)  # z upwards, y to the right
    return _show_view(show, sample, f"{alt}, along z", size) + _show_view(show, along_x, f"{alt}, along x", size)


def _show_view(show: Show, sample: Tensor, alt: str, size: int) -> str:
    sides = tuple(sample.shape[1:])
    most = 2 * size  # what is stored, for screens with two pixels to a point
    if show.data.dim > 1 and max(sides) > most:
        smaller = tuple(max(1, side * most // max(sides)) for side in sides)
        sample = area_averaged(sample[None], smaller)[0]
    return picture(sample * show.brightness if show.brightness > 1 else sample, alt=alt, size=size)


def make_orbits(show: Show) -> str:
    """The table of the samples that are moved, with what it tells."""
    lead = f"<p>{escape(words.tell_orbits(show))}</p>"
    make = _make_across if len(show.elements) <= _MOST_ACROSS else _make_down
    return f'{lead}\n<div class="scroll"><table class="orbits">\n{make(show)}\n</table></div>'


def _make_across(show: Show) -> str:
    """A row for each sample, a column for each element."""
    kinds = _divide(show)
    first = {members[0] for _, members in kinds[1:]}
    marks = {element: ' class="first"' if element in first else "" for element in show.elements}
    titles = "".join(
        f'<th scope="colgroup" colspan="{len(members)}" class="kind{" first" * (members[0] in first)}">{name}</th>'
        for name, members in kinds
    )
    heads = "".join(
        f'<th scope="col"{mark}>{escape(tell_move(show.group, element))}</th>' for element, mark in marks.items()
    )
    lines = []
    for orbit in show.orbits:
        cells = "".join(f"<td{mark}>{_show_moved(show, orbit, element)}</td>" for element, mark in marks.items())
        lines.append(f'<tr><th scope="row">{_name(show, orbit)}</th>{cells}</tr>')
    body = "\n".join(lines)
    # Of a single turn and a single mirror, their own names say enough.
    above = f"<tr><td></td>{titles}</tr>" if len(show.elements) > 2 else ""
    return f"<thead>{above}<tr><td></td>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>"


def _make_down(show: Show) -> str:
    """A row for each element, a column for each sample."""
    heads = "".join(f'<th scope="col">{_name(show, orbit)}</th>' for orbit in show.orbits)
    lines = []
    for name, members in _divide(show):
        lines.append(f'<tr><th scope="rowgroup" colspan="{len(show.orbits) + 1}" class="kind">{name}</th></tr>')
        for element in members:
            cells = "".join(f"<td>{_show_moved(show, orbit, element)}</td>" for orbit in show.orbits)
            lines.append(f'<tr><th scope="row">{escape(tell_move(show.group, element))}</th>{cells}</tr>')
    body = "\n".join(lines)
    return f"<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>"


def _divide(show: Show) -> list[tuple[str, Sequence[int]]]:
    """The elements that turn and those that mirror, where there are any."""
    mirrors = [element for element in show.elements if is_mirror(show.group, element)]
    turns = [element for element in show.elements if element not in mirrors]
    kinds = [("Turned" if len(turns) > 1 else "As it is", turns), ("Mirrored", mirrors)]
    return [(name, members) for name, members in kinds if members]


def _name(show: Show, orbit: Orbit) -> str:
    name = escape(show.data.classes[orbit.label])
    return f"{name}<small>no. {orbit.row:,}; {words.tell_orbit(orbit, show.group)}</small>"


def _show_moved(show: Show, orbit: Orbit, element: int) -> str:
    alt = f"{show.data.classes[orbit.label]}, {tell_move(show.group, element)}"
    pictures = show_sample(show, show.moved(orbit.row, element), alt=alt, size=_SIZES[show.data.dim])
    same = "<small>the same</small>" if element and element in orbit.fixing else ""
    return f'<div class="pictures">{pictures}</div>{same}'
