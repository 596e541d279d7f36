"""Compare the invariances that the labels may have: one fit for each subgroup, on the same samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from equimorph.data import ImageData, Split
from equimorph.data.resizing import area_averaged
from equimorph.errors import ConfigurationError, DataError, ShapeError
from equimorph.groups import Group, Subgroup
from equimorph.groups import group as group_named
from equimorph.layers.features import transform
from equimorph.probing.features import Widths, draw_features
from equimorph.probing.fit import Fit, fit, guessed
from equimorph.probing.paired import compare, limit
from equimorph.probing.result import Probe, ProbedElement, ProbedSubgroup

_LARGEST_SIDES = {1: 256, 2: 32, 3: 16}  # pixels, by the number of axes; larger samples are reduced
_FEWEST, _FEWEST_OF_CLASS = 50, 5  # samples
_MOST_BYTES = 512 * 2**20  # of features that are kept
_AT_ONCE = 2**16  # pixels of samples, so that small ones come in numbers; 64 samples at least
_MOVED_IMAGES = 2400  # for the question which moves show
_SURE = 2.0  # standard errors by which features must be better than guessing

_Features = Callable[[Tensor], Tensor]


def probe(
    data: ImageData,
    group: Group | str = "D4",
    *,
    num_samples: int | None = 3000,
    features: nn.Module | None = None,
    widths: Widths | None = None,
    balanced: bool = False,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Probe:
    """Which subgroups of G the labels are invariant to, told in seconds from labelled samples, without any training.

        phi_H(x) = 1/|H| sum over h in H of phi(h x)                                                              (8)
        e_i(H)   = the squared residual of sample i under a ridge regression on phi_H of all others               (9)
        z(H)     = mean(d) / (std(d) / sqrt(n)),   d_i = e_i(H) - e_i(best)

    Too large a group is a worse fit because it takes away what tells classes apart, too small a one because it has more
    to learn from as few samples. The best H has the least mean e; those within the limit of z (`paired.limit`) are
    left, the others are ruled out.

    Args:
        data: Its training split is used.
        group: G, or its name.
        num_samples: How many of its samples, each class with its share; all when None. The number is lowered where the
            features would take more than 512 MiB.
        features: What gives a vector for each standardised sample, instead of filters made of the data's own patches: a
            pretrained network without its head, say. It is called in evaluation mode.
        widths: Of the patch features.
        balanced: Whether every class counts alike, however many samples it has.
        seed: Of everything that is drawn.
        progress: Told how many samples are done, of how many.
    Returns:
        The verdict. It prints as a table.
    Raises:
        DataError: Fewer than 50 samples, or than 5 in a class, one class, constant samples, or numbers that are not
            finite.
        ShapeError: G moves another number of axes than samples have, or exchanges axes of different lengths; the
            samples are too small.
        ConfigurationError: No data set; its targets are maps; or `balanced` is asked for where there are no classes.
    Example:
        >>> import equimorph as em
        >>> found = probe(em.data.make_textures("C4", num_train=200))
        >>> found.best.name, [H.name for H in found.left]
        ('C4', ['C4'])

    Source: the method's page, section 10.
    """
    began = time.perf_counter()
    if not isinstance(data, ImageData):
        raise ConfigurationError(f"probe: needs a data set, got {type(data).__name__}; em.data.load makes one.")
    group = group_named(group, dim=data.dim) if isinstance(group, str) else group
    generator = torch.Generator().manual_seed(seed)
    _check(data, group, balanced)
    samples, side = _samples(data, num_samples)
    subgroups = group.subgroups()
    x = _standardized(samples, data)
    phi = _callable(features) if features is not None else draw_features(x, group, generator=generator, widths=widths)
    with torch.no_grad():
        size = phi(x[:1]).shape[1]
        most = _MOST_BYTES // (4 * size * min(group.order, len(subgroups)))
        if len(x) > most:
            samples, _ = _samples(data, int(most))
            x = _standardized(samples, data)
        averages = _Averages(phi, x, group, subgroups, progress)
    targets, weights = _targets(samples, data, balanced)
    groups = None if samples.groups is None else samples.groups.unique(return_inverse=True)[1].cpu()
    fits = {H: fit(averages.over(H), targets, weights=weights, groups=groups) for H in subgroups}
    guess = guessed(targets, weights=weights, groups=groups)
    compared = partial(compare, weights=weights, clusters=groups)
    best = min(subgroups, key=lambda H: _mean(fits[H].losses, weights))
    gain = compared(guess - fits[best].losses)
    threshold = limit(len(subgroups) - 1)
    judged = tuple(_judged(H, fits, best, samples, data, weights, groups, threshold) for H in subgroups)
    moved = _told_apart(phi, x, group)
    return Probe(
        data=data.name,
        subgroups=judged,
        elements=tuple(_element(g, group, best, judged, moved, threshold) for g in range(1, group.order)),
        num_samples=len(samples),
        num_train=len(data.train),
        side=side,
        limit=threshold,
        guess=_mean(guess, weights),
        reads=gain.mean > 0 and gain.z > _SURE,
        seconds=time.perf_counter() - began,
    )


class _Averages:
    """phi_H of all samples, for any H (8): kept as sums over subgroups, or as copies, whichever are fewer."""

    def __init__(
        self,
        phi: _Features,
        x: Tensor,
        group: Group,
        subgroups: Sequence[Subgroup],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.as_copies = group.order < len(subgroups)
        self.subgroups = {H: number for number, H in enumerate(subgroups)}
        kept: Tensor | None = None
        done = 0
        for part in x.split(max(64, _AT_ONCE // x[0, 0].numel())):
            copies = torch.stack([phi(transform(part, g, group, "trivial")) for g in range(group.order)])
            if not copies.isfinite().all():
                raise DataError("probe: the features of some samples are not finite numbers; look at these samples.")
            if not self.as_copies:
                copies = torch.stack([copies[list(H.indices)].mean(0) for H in subgroups])
            if kept is None:
                kept = copies.new_empty((len(copies), len(x), copies.shape[2]))
            kept[:, done : done + len(part)] = copies
            done += len(part)
            if progress is not None:
                progress(done, len(x))
        assert kept is not None
        self.kept = kept

    def over(self, H: Subgroup) -> Tensor:
        """Shape (samples, d)."""
        if not self.as_copies:
            return self.kept[self.subgroups[H]]
        total = torch.zeros_like(self.kept[0])
        for h in H.indices:  # one after the other: side by side they would take the memory of all copies once more
            total += self.kept[h]
        return total / H.order


def _callable(features: nn.Module) -> _Features:
    """A network of the user's, called where it is and in evaluation mode, and left in the mode that it was in."""
    parameter = next(features.parameters(), None)

    def phi(x: Tensor) -> Tensor:
        was_training = features.training
        features.eval()
        try:
            found = features(x if parameter is None else x.to(parameter.device))
        finally:
            features.train(was_training)
        if not isinstance(found, Tensor) or found.ndim != 2:
            told = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ShapeError(f"probe: features gave {told}, needed one vector for each sample, (batch, numbers).")
        return found.float().cpu()

    return phi


def _check(data: ImageData, group: Group, balanced: bool) -> None:
    """What can be told before any sample is read."""
    if data.dim != group.dim:
        raise ShapeError(f"probe: {group.name} moves {group.dim} axes, and samples of {data.name} have {data.dim}.")
    sides = tuple(data.train.x.shape[2:])
    moved = [tuple(sides[int(axis)] for axis in abs(element).argmax(1)) for element in group.elements]
    if any(shape != sides for shape in moved):
        raise ShapeError(
            f"probe: {group.name} exchanges axes, and samples of {data.name} are {'x'.join(map(str, sides))}; make "
            "them square, or take a group that leaves the axes in place, such as D2."
        )
    if data.targets == "maps":
        raise ConfigurationError("probe: targets are maps, and it tells about classes, labels and values of samples.")
    if balanced and data.targets != "classes":
        raise ConfigurationError(f"probe: balanced is for classes, and the targets of {data.name} are {data.targets}.")


def _samples(data: ImageData, most: int | None) -> tuple[Split, int | None]:
    """Some training samples in memory, reduced where they are large; and the side that they were reduced to."""
    chosen = data.train if most is None or len(data.train) <= most else data.subset(max(most, len(data.classes))).train
    sides = tuple(chosen.x.shape[2:])
    scale = _LARGEST_SIDES[data.dim] / max(sides)
    smaller = tuple(max(1, round(side * scale)) for side in sides) if scale < 1 else sides
    parts = [part if smaller == sides else area_averaged(part, smaller) for part, _ in chosen.in_order(256)]
    samples = Split(torch.cat(parts).cpu(), chosen.y.cpu(), chosen.ids, chosen.groups)
    _check_samples(samples, data)
    return samples, None if smaller == sides else max(smaller)


def _standardized(samples: Split, data: ImageData) -> Tensor:
    return data.standardize(samples.x[:], torch.float32)


def _check_samples(samples: Split, data: ImageData) -> None:
    problems = []
    if len(samples) < _FEWEST:
        problems.append(f"there are {len(samples)} samples, and at least {_FEWEST} are needed")
    if data.targets == "classes":
        counts = samples.y.bincount(minlength=len(data.classes)).tolist()
        counted = zip(data.classes, counts, strict=True)
        few = [f"{name} ({count})" for name, count in counted if count < _FEWEST_OF_CLASS]
        if sum(count > 0 for count in counts) < 2:
            problems.append("all samples are of one class")
        elif few:
            problems.append(f"a class needs {_FEWEST_OF_CLASS} samples, and there are too few of {', '.join(few)}")
    elif not samples.y.double().isfinite().all():
        problems.append("some values are not finite")
    x = samples.x[:].double()
    if not x.isfinite().all():
        problems.append("some samples hold numbers that are not finite")
    elif float(x.flatten(1).std(1).max()) == 0:
        problems.append("all samples are constant")
    if problems:
        raise DataError(f"probe: {data.name}: {'; '.join(problems)}.")


def _targets(samples: Split, data: ImageData, balanced: bool) -> tuple[Tensor, Tensor | None]:
    """Columns to be fitted, values of variance one, and what each sample counts."""
    if data.targets == "classes":
        weights = 1 / samples.y.bincount(minlength=len(data.classes)).double()[samples.y] if balanced else None
        return nn.functional.one_hot(samples.y, len(data.classes)).double(), weights
    columns = samples.y.double().reshape(len(samples), -1)
    std = columns.std(0, correction=0)
    return columns / torch.where(std > 0, std, torch.ones_like(std)), None


def _mean(losses: Tensor, weights: Tensor | None) -> float:
    return float(losses.mean() if weights is None else (weights * losses).sum() / weights.sum())


def _judged(
    H: Subgroup,
    fits: dict[Subgroup, Fit],
    best: Subgroup,
    samples: Split,
    data: ImageData,
    weights: Tensor | None,
    groups: Tensor | None,
    threshold: float,
) -> ProbedSubgroup:
    found, differences = fits[H], fits[H].losses - fits[best].losses
    against = compare(differences, weights=weights, clusters=groups)
    left = against.z < threshold
    error, by_class = None, {}
    if data.targets == "classes":
        error = _mean((found.predictions.argmax(1) != samples.y).double(), weights)
        for label, name in enumerate(data.classes):
            of_class = samples.y == label
            clusters = None if groups is None else groups[of_class].unique(return_inverse=True)[1]
            by_class[name] = compare(differences[of_class], clusters=clusters)
    return ProbedSubgroup(H, _mean(found.losses, weights), error, against, found.strength, left, by_class)


def _told_apart(phi: _Features, x: Tensor, group: Group) -> dict[int, tuple[float, bool]]:
    """For each element g: how often a fit that has not seen an image tells whether it was moved by g or not at all."""
    images = x[: max(_FEWEST, _MOVED_IMAGES // group.order)]
    with torch.no_grad():
        copies = [phi(transform(images, g, group, "trivial")) for g in range(group.order)]
    number = torch.arange(len(images)).repeat(group.order)
    moves = torch.arange(group.order).repeat_interleave(len(images))
    found = fit(torch.cat(copies), nn.functional.one_hot(moves, group.order).double(), groups=number).predictions
    scores = found.view(group.order, len(images), group.order)
    result = {}
    for g in range(1, group.order):
        right = (scores[0, :, 0] > scores[0, :, g]).double() + (scores[g, :, g] > scores[g, :, 0]).double()
        against_chance = compare(right / 2 - 0.5)
        result[g] = (0.5 + against_chance.mean, against_chance.z > limit(group.order - 1))
    return result


def _element(
    g: int,
    group: Group,
    best: Subgroup,
    judged: Sequence[ProbedSubgroup],
    moved: dict[int, tuple[float, bool]],
    threshold: float,
) -> ProbedElement:
    joined = group.subgroup_generated_by([*best.indices, g])
    there = next(one for one in judged if one.subgroup == joined)
    changes = () if there.left else tuple(name for name, one in there.by_class.items() if one.z >= threshold)
    return ProbedElement(g, g in best, changes, *moved[g])
