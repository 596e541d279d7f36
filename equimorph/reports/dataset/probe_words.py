"""The sentences of a probe: which moves keep the labels, which change them, and whose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equimorph.groups import Subgroup
from equimorph.probing import Probe, ProbedElement
from equimorph.reports.dataset.audit_words import join
from equimorph.reports.dataset.moves import tell_move
from equimorph.reports.words import explain

_MOST_CLASSES = 3


@dataclass(frozen=True)
class _Changed:
    """A kind of moves that change labels."""

    kind: str
    elements: tuple[ProbedElement, ...]


def tell_probe(probe: Probe) -> str:
    """The verdict, in words first.

    Example:
        >>> from equimorph.data import make_textures
        >>> from equimorph.probing import probe
        >>> tell_probe(probe(make_textures("C4", num_train=300)))[:54]
        'Quarter turns keep the labels (C4); mirrors change the'
    """
    if probe.best is None:
        return (
            "These features tell nothing about the targets, so nothing can be said about any symmetry: "
            f"left-out samples are fitted no better than by guessing (loss {probe.guess:.3f})."
        )
    if probe.best.order == 1:
        said = "No move keeps the labels (C1)" if len(probe.left) == 1 else "No symmetry fits best (C1)"
    else:
        said = f"{_capital(explain(probe.best.name, probe.best))} keep the labels ({probe.best.name})"
    parts = [said, *(_tell_changed(probe, changed) for changed in _changed(probe))]
    level = [H for H in probe.left if H != probe.best]
    sentence = "; ".join(parts) + "."
    if level:
        sentence += f" {join([H.name for H in level])} cannot be told from it with these samples."
    return f"{sentence} {tell_samples(probe)}"


def tell_samples(probe: Probe) -> str:
    """On how many samples it rests, and how long it took."""
    of = "" if probe.num_samples == probe.num_train else f" of {probe.num_train:,}"
    reduced = "" if probe.side is None else f", reduced to {probe.side} pixels"
    return f"{probe.num_samples:,}{of} samples{reduced}, {max(1, round(probe.seconds))} s."


def tell_element(probe: Probe, element: ProbedElement) -> str:
    """What a move does to the labels."""
    if element.kept:
        return "keeps the labels"
    if element.changes:
        return f"confuses {join(list(element.changes[:_MOST_CLASSES]))}"
    return "cannot be told" if joined_with_best(probe, element) in probe.left else "changes the labels"


def tell_visible(probe: Probe) -> str:
    """Which moves show in the images themselves."""
    group = probe.subgroups[0].subgroup.group
    shown = [one for one in probe.elements if one.visible]
    hidden = [one for one in probe.elements if not one.visible]
    if not shown:
        return (
            "No move shows in the samples: a moved one looks like any other, so the data have the symmetry of the "
            "whole group before labels are looked at."
        )
    if not hidden:
        return (
            "Every move shows in the samples: a moved one can be told from one as it is. Such a symmetry may still be "
            "in the labels; what is built into a network then also serves moves that the data never show."
        )
    names = join([tell_move(group, one.element) for one in hidden])
    return (
        f"A sample that is {names} cannot be told from one as it is; all other moves show. Where a move shows that "
        "should not, the images themselves have a direction: look for light from one side, a shift by half a pixel, "
        "or traces of compression."
    )


def suggested(probe: Probe) -> tuple[str, ...]:
    """What to search among: the subgroups that are contained in one that is left, C1 first."""
    kept = [one.subgroup for one in probe.subgroups if any(one.subgroup <= H for H in probe.left)]
    return tuple(H.name for H in kept)


def joined_with_best(probe: Probe, element: ProbedElement) -> Subgroup:
    """The group that an element generates with the best one."""
    assert probe.best is not None
    return probe.best.group.subgroup_generated_by([*probe.best.indices, element.element])


def _changed(probe: Probe) -> list[_Changed]:
    """The kinds of moves of which none is kept and one at least is ruled out, turns before mirrors."""
    kinds: dict[str, list[ProbedElement]] = {}
    for element in probe.elements:
        kinds.setdefault(_kind(probe, element), []).append(element)
    found = []
    for kind, elements in kinds.items():
        ruled_out = [one for one in elements if joined_with_best(probe, one) not in probe.left]
        if ruled_out and not any(one.kept for one in elements):
            found.append(_Changed(kind, tuple(ruled_out)))
    return found


def _kind(probe: Probe, element: ProbedElement) -> str:
    group = probe.subgroups[0].subgroup.group
    if np.linalg.det(group.elements[element.element]) < 0:
        return "mirrors" if group.dim < 3 else "mirrors and improper turns"
    order = group.subgroup_generated_by([element.element]).order
    return {2: "half turns", 3: "third turns", 4: "quarter turns"}[order]


def _tell_changed(probe: Probe, changed: _Changed) -> str:
    """For the move of the kind that is the least worse, what it confuses."""
    least = min(changed.elements, key=lambda one: probe[joined_with_best(probe, one).name].z)
    compared = probe[joined_with_best(probe, least).name]
    broken = sorted(
        (name for name, one in compared.by_class.items() if one.z >= probe.limit),
        key=lambda name: -compared.by_class[name].z,
    )[:_MOST_CLASSES]
    said = f"{changed.kind} change them"
    return f"{said}: they confuse {join(broken)} (z = {compared.z:.0f})" if broken else f"{said} (z = {compared.z:.0f})"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


