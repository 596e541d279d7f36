"""A run in words: what each layer keeps, what the groups mean, what the whole network keeps, why a run did not end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from equimorph.groups import Subgroup
from equimorph.reports.numbers import Numbers

_MEANINGS = {
    "C1": "no symmetry",
    "Z2": "reversal",
    "C2": "half turn",
    "C4": "quarter turns",
    "D1@0": "up-down flip",
    "D1@45": "flip across the rising diagonal",
    "D1@90": "left-right flip",
    "D1@135": "flip across the falling diagonal",
    "D2@0": "half turn, up-down and left-right flips",
    "D2@45": "half turn and the flips across both diagonals",
    "D4": "quarter turns and mirrors",
}
_INPUTS = {1: "signals", 2: "images", 3: "volumes"}


def describe_architecture(sites: Sequence[str], constraints: Sequence[str]) -> str:
    """What each layer keeps, in one sentence, for sites in order of depth.

    A site whose path contains "head" is the head; where several do and keep different groups, each has its own name.

    Example:
        >>> describe_architecture(["block1.conv", "block2.conv", "head.linear"], ["D4", "C4", "C4"])
        'Layer 1 keeps D4, and layer 2 and the head keep C4.'
    """
    if len(set(constraints)) == 1:
        return f"{'Every' if len(constraints) > 1 else 'The only'} layer keeps {constraints[0]}."
    heads = {constraint for site, constraint in zip(sites, constraints, strict=True) if is_head(site)}
    clauses = []
    for constraint, run in groupby(enumerate(sites), key=lambda item: constraints[item[0]]):
        members = list(run)
        depths = [depth for depth, site in members if not is_head(site)]
        names = [site for _, site in members if is_head(site)]
        parts = _name_layers(depths) + ((["the head"] if len(heads) == 1 else names) if names else [])
        verb = "keeps" if len(members) == 1 or (not depths and len(heads) == 1) else "keep"
        clauses.append(f"{_join(parts)} {verb} {constraint}")
    sentence = f"{', '.join(clauses[:-1])}, and {clauses[-1]}."
    return sentence[0].upper() + sentence[1:]


def describe_whole(numbers: Numbers) -> str:
    """What the best network as a whole is equivariant to, in one sentence; empty when that is not known."""
    kept = numbers.kept_by_whole
    if kept is None or numbers.best is None:
        return ""
    if kept != "C1":
        meaning = f" ({_MEANINGS[kept]})" if kept in _MEANINGS else ""
        return f"The network as a whole is {kept}-equivariant{meaning}: every layer keeps that."
    if set(numbers.best.constraints) == {"C1"}:
        return "Nothing holds the network to a symmetry."
    return "The network as a whole is held to no symmetry, since its layers have none in common."


def explain(name: str, subgroup: Subgroup | None) -> str:
    """What a subgroup does to an image, in a few words; empty for a name without a known group.

    Example:
        >>> from equimorph.groups import group
        >>> explain("C4", group("D4").subgroup("C4")), explain("O", group("Oh").subgroup("O"))
        ('quarter turns', '24 elements')
    """
    if subgroup is None:
        return ""
    return _MEANINGS.get(subgroup.name, f"{subgroup.order} elements")


def compact(constraints: Sequence[str]) -> str:
    """An architecture in a few signs.

    Example:
        >>> compact(["D4", "D4", "C4", "C1"])
        'D4 ×2, C4, C1'
    """
    runs = [(name, len(list(run))) for name, run in groupby(constraints)]
    return ", ".join(name if length == 1 else f"{name} ×{length}" for name, length in runs)


def is_head(site: str) -> bool:
    """Whether a site is told as the head of the network."""
    return "head" in site.lower()


def describe_inputs(numbers: Numbers) -> str:
    """What the run's group acts on: signals, images or volumes."""
    known = [subgroup for subgroup in numbers.subgroups.values() if subgroup is not None]
    return _INPUTS[known[0].group.dim] if known else "samples"


def explain_missing_result(numbers: Numbers) -> str:
    """Why a run has no result, as far as its history tells."""
    if not numbers.candidates:
        return "It was interrupted, or is still at work, before its first network was trained."
    failed = [candidate for candidate in numbers.candidates if candidate.diverged]
    if not numbers.trained:
        step = failed[0].diverged_at_step if failed else None
        where = "" if step is None else f" at step {step + 1:,}"
        return (
            f"The training of its first network diverged{where}: the loss stopped being a finite number. "
            "A smaller learning rate may help."
        )
    newest = max(candidate.generation for candidate in numbers.candidates)
    of_newest = [candidate for candidate in numbers.candidates if candidate.generation == newest]
    if all(candidate.diverged for candidate in of_newest):
        return f"Every candidate of generation {newest} diverged: their losses stopped being finite numbers."
    of_all = f" of {numbers.start.generations}" if numbers.start.generations else ""
    return f"It was interrupted, or is still at work, in generation {newest}{of_all}."


def _name_layers(depths: Sequence[int]) -> list[str]:
    """Neighbouring layers by their position, from 0, as the parts of a list: "layers 1 to 4", or "layers 1", "2"."""
    if not depths:
        return []
    if len(depths) == 1:
        return [f"layer {depths[0] + 1}"]
    if len(depths) == 2:
        return [f"layers {depths[0] + 1}", f"{depths[1] + 1}"]
    return [f"layers {depths[0] + 1} to {depths[-1] + 1}"]


def _join(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
