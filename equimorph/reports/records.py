"""The lines of a run folder's files, read and checked once, as immutable records."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equimorph.errors import RunFolderError
from equimorph.reports.classes import read_scores
from equimorph.reports.fields import Fields, read_lines, read_text
from equimorph.training.metrics import Scores

ERROR_RATE = "error"  # what a history calls the metric whose errors are shares of samples
SKIP = "skip"  # what a history calls the identity beside the members of a mixture

_TOLERANCE = 1e-3  # of shares that add up to one: they may come from single precision, or be rounded by hand


@dataclass(frozen=True)
class Start:
    """What was asked for: the search, its groups, the sites in order of depth, and the sizes of the data's parts.

    `metric` says what "error" means wherever it is told, and `targets` what networks tell: "classes", "values", "maps".
    `augmentation` is the group whose random elements moved the training images, or says in words how they were changed
    at random; None when they stayed as they are. `handled` and `left_out` count samples, by what was done to them when
    they were read and by the reason for leaving them out.
    """

    strategy: str
    group: str
    subgroups: tuple[str, ...]
    sites: tuple[str, ...]
    epochs: float
    generations: int | None
    data: str
    num_train: int
    num_validation: int | None
    num_test: int | None
    augmentation: str | None
    metric: str
    class_weights: str | None
    split: str
    handled: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, int], ...]
    targets: str = "classes"


@dataclass(frozen=True)
class Candidate:
    """One network of a run: an architecture that was trained from its parent's weights, from one epoch to another.

    `error` is the validation error, shares as fractions; None when the training diverged. `diverged_at_step` counts
    from 0.
    """

    id: int
    parent: int | None
    generation: int
    move: str
    constraints: tuple[str, ...]
    parameters: int
    first_epoch: float
    last_epoch: float
    samples: int
    diverged: bool
    diverged_at_step: int | None
    error: float | None


@dataclass(frozen=True)
class EpochPoint:
    """Where the training of one candidate stood at one epoch; a value that was no finite number is None."""

    candidate: int
    epoch: float
    train_loss: float | None
    validation_error: float | None


@dataclass(frozen=True)
class MixturePoint:
    """What the mixtures of one candidate's network were made of at one epoch.

    `shares` are by site and member and add up to one at each site; `weights` are z where a mixture has logits, with
    `SKIP` for a skip path, and add up to one too. Members stand with the largest group first.
    """

    candidate: int
    epoch: float
    shares: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Selection:
    """Which candidates of a generation go on, and which are on its Pareto front."""

    generation: int
    parents: tuple[int, ...]
    front: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """How a run ended; `scores` are those of the test set, class by class, None where they were not kept."""

    best: int
    front: tuple[int, ...]
    test_error: float | None
    samples: int
    scores: Scores | None


@dataclass(frozen=True)
class Records:
    """Everything that a run folder says about its run; lists are in the order of events."""

    start: Start
    candidates: tuple[Candidate, ...]
    points: tuple[EpochPoint, ...]
    mixtures: tuple[MixturePoint, ...]
    selections: tuple[Selection, ...]
    result: Result | None
    candidate_seconds: tuple[tuple[int, float], ...]
    run_seconds: float | None
    config: str
    environment: tuple[tuple[str, str], ...]


def read_records(folder: Path) -> Records:
    """Read a run folder; of its files only `history.jsonl` must be there.

    A last line that was cut short, as a killed run leaves it, is passed over, and so are events of another kind and
    mixtures of a training that ran away, whose shares are no finite numbers. Of two lines about the same candidate (or
    epoch of a candidate, or generation) the later one counts.

    Raises:
        RunFolderError: There is no such folder, it holds no history, or a line does not have the fields it needs.
    """
    if not folder.is_dir():
        raise RunFolderError(f'report: no folder "{folder}"; give the folder that a search wrote.')
    history = folder / "history.jsonl"
    if not history.is_file():
        raise RunFolderError(f'report: "{folder}" is not a run folder, for it has no history.jsonl; see em.search.')
    start: Start | None = None
    result: Result | None = None
    candidates: dict[int, Candidate] = {}
    points: dict[tuple[int, float], EpochPoint] = {}
    mixtures: dict[tuple[int, float], MixturePoint] = {}
    selections: dict[int, Selection] = {}
    for line in read_lines(history):
        match line.text("event"):
            case "start":
                start = _start(line)
            case "candidate":
                if start is None:
                    raise line.mistake('a candidate before the "start" line')
                candidate = _candidate(line, num_sites=len(start.sites), known=candidates)
                candidates[candidate.id] = candidate
            case "epoch":
                point = _point(line)
                points[point.candidate, point.epoch] = point
            case "mixture":
                if start is None:
                    raise line.mistake('a mixture before the "start" line')
                mixture = _mixture(line, sites=start.sites)
                if mixture is not None:
                    mixtures[mixture.candidate, mixture.epoch] = mixture
            case "selection":
                selection = _selection(line, known=candidates)
                selections[selection.generation] = selection
            case "result":
                result = _result(line, known=candidates)
    if start is None:
        raise RunFolderError(f'report: {history} has no "start" line, which tells the sites and the data.')
    candidate_seconds, run_seconds = _read_timing(folder / "timing.jsonl")
    return Records(
        start=start,
        candidates=tuple(candidates.values()),
        points=tuple(points.values()),
        mixtures=tuple(mixtures.values()),
        selections=tuple(selections.values()),
        result=result,
        candidate_seconds=candidate_seconds,
        run_seconds=run_seconds,
        config=read_text(folder / "config.yaml"),
        environment=_read_environment(folder / "environment.json"),
    )


def _start(line: Fields) -> Start:
    data = line.inner("data")
    sites = line.texts("sites")
    if not sites:
        raise line.mistake('"sites" is empty; a search needs at least one')
    return Start(
        strategy=line.text("strategy"),
        group=line.text("group"),
        subgroups=line.texts("subgroups"),
        sites=sites,
        epochs=line.real("epochs"),
        generations=line.whole_or_none("generations"),
        data=data.text("name"),
        num_train=data.whole("train"),
        num_validation=data.whole_or_none("validation"),
        num_test=data.whole_or_none("test"),
        augmentation=_none_or_text(line, "augmentation"),
        metric=line.text_or_none("metric") or ERROR_RATE,
        class_weights=_none_or_text(line, "class_weights"),
        split=data.text_or_none("split") or "",
        handled=data.counts("handled"),
        left_out=data.counts("left_out"),
        targets=line.text_or_none("targets") or "classes",
    )


def _none_or_text(line: Fields, key: str) -> str | None:
    """A text, of which "" and "none" are None."""
    text = line.text_or_none(key)
    return None if text in ("", "none") else text


def _candidate(line: Fields, *, num_sites: int, known: dict[int, Candidate]) -> Candidate:
    constraints = line.texts("constraints")
    if len(constraints) != num_sites:
        raise line.mistake(f'"constraints" names {len(constraints)} subgroups for {num_sites} sites')
    identifier, parent = line.whole("candidate"), line.whole_or_none("parent")
    diverged = line.text("status") == "diverged"
    if parent is not None and (parent not in known or parent >= identifier):
        raise line.mistake(f"candidate {identifier} comes from candidate {parent}, which is not an earlier one")
    return Candidate(
        id=identifier,
        parent=parent,
        generation=line.whole("generation"),
        move=line.text("move"),
        constraints=constraints,
        parameters=line.whole("parameters"),
        first_epoch=line.real("first_epoch"),
        last_epoch=line.real("last_epoch"),
        samples=line.whole("samples"),
        diverged=diverged,
        diverged_at_step=line.whole_or_none("diverged_at_step"),
        error=None if diverged else line.real("validation_error"),
    )


def _point(line: Fields) -> EpochPoint:
    return EpochPoint(
        candidate=line.whole("candidate"),
        epoch=line.real("epoch"),
        train_loss=line.real_or_none("train_loss"),
        validation_error=line.real_or_none("validation_error"),
    )


def _mixture(line: Fields, *, sites: tuple[str, ...]) -> MixturePoint | None:
    shares, weights = _portions(line.inner("shares")), _portions(line.inner("weights"))
    if not shares:
        raise line.mistake('"shares" is empty; it needs at least one site')
    for site in shares:
        if site not in sites:
            raise line.mistake(f'a mixture at "{site}", which is none of the sites')
    for site, portions in weights.items():
        if shares.get(site, {}).keys() != portions.keys() - {SKIP}:
            raise line.mistake(f'the members of "{site}" in "weights" are not those in "shares"')
    everything = [portion for members in (*shares.values(), *weights.values()) for portion in members.values()]
    if any(math.isnan(portion) for portion in everything):
        return None
    by_depth = {site: shares[site] for site in sites if site in shares}
    return MixturePoint(line.whole("candidate"), line.real("epoch"), shares=by_depth, weights=weights)


def _portions(line: Fields) -> dict[str, dict[str, float]]:
    """For each site, numbers from 0 to 1 by member that add up to one; NaN where one was no finite number."""
    found = {}
    for site in line.values:
        inner = line.inner(site)
        numbers = {member: inner.real_or_none(member) for member in inner.values}
        portions = {member: math.nan if number is None else number for member, number in numbers.items()}
        for member, portion in portions.items():
            if portion < 0 or portion > 1 + _TOLERANCE:
                raise inner.mistake(f'"{member}" must lie between 0 and 1, got {portion:g}')
        if abs(sum(portions.values()) - 1) > _TOLERANCE:
            raise inner.mistake(f"the members must add up to one, got {sum(portions.values()):g}")
        found[site] = portions
    return found


def _selection(line: Fields, *, known: dict[int, Candidate]) -> Selection:
    parents, front = line.wholes("parents"), line.wholes("front")
    _check_known(line, (*parents, *front), known)
    return Selection(generation=line.whole("generation"), parents=parents, front=front)


def _result(line: Fields, *, known: dict[int, Candidate]) -> Result:
    best, front = line.whole("best"), line.wholes("front")
    _check_known(line, (best, *front), known)
    return Result(
        best=best,
        front=front,
        test_error=line.real_or_none("test_error"),
        samples=line.whole("samples"),
        scores=None if line.values.get("scores") is None else read_scores(line.inner("scores")),
    )


def _check_known(line: Fields, candidates: tuple[int, ...], known: dict[int, Candidate]) -> None:
    for candidate in candidates:
        if candidate not in known:
            raise line.mistake(f"candidate {candidate} has no line of its own before this one")


def _read_timing(path: Path) -> tuple[tuple[tuple[int, float], ...], float | None]:
    candidates: dict[int, float] = {}
    run: float | None = None
    for line in read_lines(path):
        match line.text("event"):
            case "candidate":
                candidates[line.whole("candidate")] = line.real("wall_seconds")
            case "run":
                run = line.real("wall_seconds")
    return tuple(candidates.items()), run


def _read_environment(path: Path) -> tuple[tuple[str, str], ...]:
    text = read_text(path)
    if not text.strip():
        return ()
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise RunFolderError(f"report: {path}: not JSON ({error.msg}).") from error
    return tuple(_flattened(values, ""))


def _flattened(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flattened(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        yield key, " ".join(str(inner) for inner in value)
    else:
        yield key, str(value)
