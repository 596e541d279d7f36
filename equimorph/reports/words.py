"""A run in words: what each layer keeps, what the groups mean, what the whole network keeps, why a run did not end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from equimorph.groups import Subgroup
from equimorph.reports.mixtures import Shares, dominant, mean_shares
from equimorph.reports.numbers import Numbers
from equimorph.reports.records import Candidate

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
_MOST_CLAUSES = 5  # of a sentence that somebody is to read
_MOST_GROUPS = 3  # that are counted one by one in it
_INPUTS = {1: "signals", 2: "images", 3: "volumes"}


def describe_architecture(sites: Sequence[str], constraints: Sequence[str]) -> str:
    """What each layer keeps, in one sentence, for sites in order of depth.

    A site whose path contains "head" is the head; where several do and keep different groups, each has its own name.

    Example:
        >>> describe_architecture(["block1.conv", "block2.conv", "head.linear"], ["D4", "C4", "C4"])
        'Layer 1 keeps D4, and layer 2 and the head keep C4.'
    """
    runs = _runs(sites, constraints)
    return _capitalise(_join([f"{run.name} {'keep' if run.is_plural else 'keeps'} {run.label}" for run in runs])) + "."


def describe_mixture(shares: Mapping[str, Mapping[str, float]]) -> str:
    """What each layer's mixture is mostly made of, in one sentence, for sites in order of depth.

    A layer is *mostly* a group that has more than half of its kernel, and *leans to* the largest share otherwise.

    Args:
        shares: As from `em.mixture_shares`; at least one site. Layers are counted among these.
    Example:
        >>> describe_mixture({
        ...     "block1.conv": {"D4": 0.71, "C4": 0.29},
        ...     "block2.conv": {"D4": 0.83, "C4": 0.17},
        ...     "head.linear": {"D4": 0.32, "C4": 0.68},
        ... })
        'Layers 1 and 2 are mostly D4 (0.71 to 0.83), and the head is mostly C4 (0.68).'
    """
    return f"{_capitalise(_tell_mixture(shares, is_past=False))}."


def describe_best(numbers: Numbers) -> str:
    """What each layer of the best network keeps, or is mostly made of where that is a mixture; empty without one."""
    if numbers.best is None:
        return ""
    if numbers.shares is not None:
        return describe_mixture(numbers.shares)
    return describe_architecture(numbers.start.sites, numbers.best.constraints)


def describe_candidate(numbers: Numbers, candidate: Candidate) -> str:
    """The architecture of a candidate in a few signs; of a mixture its members, largest first."""
    if candidate.id not in numbers.mixtures:
        return compact(candidate.constraints)
    names = {name for members in numbers.mixtures[candidate.id][-1].shares.values() for name in members}
    return f"mixture of {', '.join(name for name in reversed(numbers.subgroups) if name in names)}"


def describe_trajectory(numbers: Numbers) -> str:
    """What is seen where the shares of a mixture are drawn, in a few sentences; empty without a mixture."""
    trajectory = numbers.trajectory
    if trajectory is None:
        return ""
    quantity = (
        "the mixture weight of each group, and of the identity (skip) where a layer allows it"
        if trajectory.has_skip
        else "how much of the layer's kernel each group makes up"
    )
    told = [f"One panel for each layer, from the input on: {quantity}, epoch by epoch."]
    if trajectory.final_skip:
        ended = _range(trajectory.final_skip)
        told.append(f"Skip ended with {ended}; the shares in words are those among the groups alone.")
    if trajectory.discretised_at is not None:
        told.append(
            f"Before the mixture was discretised at epoch {trajectory.discretised_at:.3g}, at the dashed line, "
            f"{_tell_mixture(trajectory.final, is_past=True)}. Right of the line stands the group that each layer took."
        )
        if trajectory.yielded:
            told.append("Constraints never grow with depth, so not every layer could take the group that it leaned to.")
    elif numbers.shares is not None and len(numbers.last_training) < len(numbers.lineage):
        told.append("The network was then trained once more from scratch, with the mixture weights frozen.")
    return " ".join(told)


def describe_whole(numbers: Numbers) -> str:
    """What the best network as a whole is equivariant to, and how its training samples were changed at random.

    A sentence for each, which is left out when it is not known.
    """
    changes = ""
    if numbers.best is not None and numbers.start.augmentation and numbers.moved_by is None:
        changed_by = numbers.start.augmentation.rstrip(". ")
        changes = f"Training {describe_inputs(numbers)} were changed at random: {changed_by}."
    return " ".join(filter(None, [_describe_kept(numbers), changes]))


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


def tell_share(share: float) -> str:
    """Two decimals, of which none round up to all or down to nothing.

    Example:
        >>> tell_share(0.714), tell_share(0.998), tell_share(0.0004), tell_share(1.0)
        ('0.71', 'over 0.99', 'under 0.01', '1.00')
    """
    if 0.995 <= share < 1 - 1e-6:
        return "over 0.99"
    return "under 0.01" if 0 < share < 0.005 else f"{share:.2f}"


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
        if len(of_newest) == 1:
            move = of_newest[0].move
            return f"The network after its last move ({move}) diverged: its loss stopped being a finite number."
        return f"Every candidate of generation {newest} diverged: their losses stopped being finite numbers."
    if of_newest[-1].id in numbers.mixtures:
        return "It was interrupted, or is still at work, after its mixture was trained."
    if numbers.start.generations == 0:
        return "It was interrupted, or is still at work, after its network was trained and before it was tested."
    of_all = f" of {numbers.start.generations}" if numbers.start.generations else ""
    return f"It was interrupted, or is still at work, in generation {newest}{of_all}."


def _describe_kept(numbers: Numbers) -> str:
    kept = numbers.kept_by_whole
    if kept is None or numbers.best is None:
        return ""
    if numbers.shares is not None:
        name, share = dominant(mean_shares(numbers.shares))
        held = "no symmetry" if kept == "C1" else f"{kept}{_meaning(kept)}, which all its members share"
        return f"The mixture as a whole is held to {held}; it leans to {name}, whose mean share is {tell_share(share)}."
    if kept != "C1":
        return f"The network as a whole is {kept}-equivariant{_meaning(kept)}: every layer keeps that."
    if set(numbers.best.constraints) != {"C1"}:
        return "The network as a whole is held to no symmetry, since its layers have none in common."
    moved_by = numbers.moved_by
    moved = f" Its training images were moved at random by {moved_by}{_meaning(moved_by)}." if moved_by else ""
    return f"Nothing holds the network to a symmetry.{moved}"


class _Run(NamedTuple):
    """Neighbouring sites with one label: what they are called together, and their depths from 0."""

    label: str
    name: str
    is_plural: bool
    depths: tuple[int, ...]


def _runs(sites: Sequence[str], labels: Sequence[str]) -> list[_Run]:
    if len(set(labels)) == 1:
        name = "every layer" if len(labels) > 1 else "the only layer"
        return [_Run(labels[0], name, False, tuple(range(len(labels))))]
    heads = {label for site, label in zip(sites, labels, strict=True) if is_head(site)}
    runs = []
    for label, run in groupby(enumerate(sites), key=lambda item: labels[item[0]]):
        members = list(run)
        depths = [depth for depth, site in members if not is_head(site)]
        names = [site for _, site in members if is_head(site)]
        parts = _name_layers(depths) + ((["the head"] if len(heads) == 1 else names) if names else [])
        is_plural = len(members) > 1 and (bool(depths) or len(heads) > 1)
        runs.append(_Run(label, _list(parts), is_plural, tuple(depth for depth, _ in members)))
    return runs


def _tell_mixture(shares: Shares, *, is_past: bool) -> str:
    """Each run of layers with its dominant group; the layers of each group counted where there are too many runs."""
    largest = [dominant(portions) for portions in shares.values()]
    runs = _runs(list(shares), [name for name, _ in largest])
    if len(runs) > _MOST_CLAUSES:
        return _count_mixture(largest, is_past=is_past)
    clauses = []
    for run in runs:
        of_run = [largest[depth][1] for depth in run.depths]
        if min(of_run) > 0.5:
            verb = ("were" if is_past else "are") if run.is_plural else ("was" if is_past else "is")
            verb += " mostly"
        else:
            verb = "leaned to" if is_past else "lean to" if run.is_plural else "leans to"
        clauses.append(f"{run.name} {verb} {run.label} ({_range(of_run)})")
    return _join(clauses)


def _count_mixture(largest: Sequence[tuple[str, float]], *, is_past: bool) -> str:
    of_each: dict[str, list[float]] = {}
    parts: list[str] = []
    for name, share in largest:
        of_each.setdefault(name, []).append(share)
    by_count = sorted(of_each.items(), key=lambda item: -len(item[1]))
    told = by_count if len(by_count) <= _MOST_GROUPS + 1 else by_count[:_MOST_GROUPS]
    for name, of_name in told:
        verb = "" if parts else " leaned" if is_past else " lean" if len(of_name) > 1 else " leans"
        parts.append(f"{len(of_name)}{verb} to {name} ({_range(of_name)})")
    if len(told) < len(by_count):
        rest = len(largest) - sum(len(of_name) for _, of_name in told)
        parts.append(f"{rest} to {len(by_count) - len(told)} other groups")
    return f"of {len(largest)} layers, {_join(parts)}"


def _range(shares: Sequence[float]) -> str:
    ends = list(dict.fromkeys(map(tell_share, (min(shares), max(shares)))))
    return " to ".join(ends)


def _meaning(name: str) -> str:
    return f" ({_MEANINGS[name]})" if name in _MEANINGS else ""


def _name_layers(depths: Sequence[int]) -> list[str]:
    """Neighbouring layers by their position, from 0, as the parts of a list: "layers 1 to 4", or "layers 1", "2"."""
    if not depths:
        return []
    if len(depths) == 1:
        return [f"layer {depths[0] + 1}"]
    if len(depths) == 2:
        return [f"layers {depths[0] + 1}", f"{depths[1] + 1}"]
    return [f"layers {depths[0] + 1} to {depths[-1] + 1}"]


def _list(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _join(clauses: Sequence[str]) -> str:
    return ", and ".join(filter(None, [", ".join(clauses[:-1]), clauses[-1]]))


def _capitalise(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
