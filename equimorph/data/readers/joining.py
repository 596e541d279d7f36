"""Portions of a data set (its parts, or all of it) joined into one listing, without the samples that have no label."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from numpy.typing import NDArray

from equimorph.data.problems import Findings, SampleError
from equimorph.data.readers._base import Listing
from equimorph.data.readers.labels import name_labels
from equimorph.data.sources import Form, Header, Source
from equimorph.errors import DataError


@dataclass(frozen=True)
class Portion:
    """Samples that belong to one part, or to none.

    Attributes:
        name: What they are called; sample 3 of "x" is "x[3]" where there are no ids.
        source: The samples.
        labels: One for each, as `name_labels` takes them.
        part: "train", "validation" or "test"; None when the data are not divided already.
        ids: What each is called.
        groups: What each belongs to.
    """

    name: str
    source: Source
    labels: Sequence[Any]
    part: str | None = None
    ids: Sequence[str] | None = None
    groups: Sequence[str] | None = None


class JoinedSource(Source):
    """Some samples of several sources, one source after the other.

    Args:
        sources: The sources.
        kept: The numbers of the samples, counted through all sources.
    """

    def __init__(self, sources: Sequence[Source], kept: Sequence[int]) -> None:
        self.sources, self.kept = tuple(sources), kept
        self._starts = [0, *accumulate(len(source) for source in sources)]

    def __len__(self) -> int:
        return len(self.kept)

    def header(self, index: int) -> Header:
        """The header that its source gives."""
        source, place = self._located(index)
        return source.header(place)

    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The sample that its source gives."""
        source, place = self._located(index)
        return source.array(place, form)

    @property
    def is_alike(self) -> bool:
        """Whether all sources are alike, and like each other."""
        if not self.kept or not all(source.is_alike for source in self.sources):
            return False
        try:
            return len({source.header(0) for source in self.sources if len(source)}) == 1
        except SampleError:
            return False

    def _located(self, index: int) -> tuple[Source, int]:
        number = self.kept[index]
        which = bisect_right(self._starts, number) - 1
        return self.sources[which], number - self._starts[which]


def join(
    name: str, portions: Sequence[Portion], classes: tuple[str, ...] | None = None, *, findings: Findings | None = None
) -> Listing:
    """List the samples of all portions, in their order; those without a label are left out, and are problems.

    Args:
        name: What the data set is called.
        portions: At least one; either each is a part or none is.
        classes: The names of label numbers.
        findings: What was met before.
    Raises:
        DataError: There are no samples, numbers of samples, labels, ids and groups differ, names of classes are given
            twice, or only some portions have groups.
    """
    findings = findings or Findings()
    speaker = f"data: {name}"
    if not any(len(portion.source) for portion in portions):
        raise DataError(f"{speaker}: there are no samples in it.")
    if classes is not None and len(set(classes)) < len(classes):
        twice = next(each for each in classes if classes.count(each) > 1)
        raise DataError(f'{speaker}: two classes are called "{twice}"; give each a name of its own.')
    grouped = [portion.name for portion in portions if portion.groups is not None]
    if grouped and len(grouped) < len(portions):
        others = ", ".join(portion.name for portion in portions if portion.groups is None)
        raise DataError(
            f"{speaker}: there are groups for {', '.join(grouped)} and none for {others}; give all or none."
        )
    uneven = Findings()
    for portion in portions:
        _check_lengths(portion, uneven)
    ids = [each for portion in portions for each in portion.ids or _numbered(portion, len(portion.source))]
    if not uneven.problems:
        values = [value for portion in portions for value in portion.labels]
        named = name_labels(values, ids, classes, findings)
    else:
        # The labels of the others are looked at all the same, so that everything wrong is told at once.
        for portion in portions:
            name_labels(portion.labels, _numbered(portion, len(portion.labels)), classes, findings)
        uneven.merge([findings])
        uneven.raise_if_any(speaker, "mend the data:")
    parts = [portion.part or "" for portion in portions for _ in range(len(portion.source))]
    groups = [group for portion in portions for group in portion.groups or ()]
    return Listing(
        name=name,
        source=JoinedSource([portion.source for portion in portions], named.kept),
        ids=[ids[index] for index in named.kept],
        labels=named.names,
        classes=named.classes,
        parts=[parts[index] for index in named.kept] if portions[0].part else None,
        groups=[groups[index] for index in named.kept] if grouped else None,
        findings=findings,
    )


def _numbered(portion: Portion, count: int) -> list[str]:
    return [f"{portion.name}[{index}]" for index in range(count)]


def _check_lengths(portion: Portion, findings: Findings) -> None:
    columns = {"labels": portion.labels, "ids": portion.ids, "groups": portion.groups}
    for name, column in columns.items():
        if column is not None and len(column) != len(portion.source):
            findings.add(portion.name, f"{len(portion.source):,} samples with {len(column):,} {name}")
