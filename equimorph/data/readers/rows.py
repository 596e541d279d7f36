"""Rows that name files, with what is said of each, made a listing: files found, repeated rows joined, faults told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from equimorph.data.decoding import FileSource
from equimorph.data.problems import Findings, SampleError
from equimorph.data.readers._base import Listing, ReadOptions, part_named
from equimorph.data.readers.file_index import FileIndex


@dataclass(frozen=True)
class Rows:
    """The rows of a table; all sequences have one entry for each.

    Attributes:
        places: What each row is called.
        files: The name or path of its file.
        labels: Its class, "" where there is none, or why it has none.
        groups: What it belongs to; "" for nothing but itself. None when that is not known.
        parts: A usual name of its part. None when the samples are not divided already.
    """

    places: Sequence[str]
    files: Sequence[str]
    labels: Sequence[str | SampleError]
    groups: Sequence[str] | None = None
    parts: Sequence[str] | None = None


@dataclass(frozen=True)
class _Sample:
    name: str
    label: str
    group: str
    part: str

    def contradiction(self, other: _Sample) -> str | None:
        """What another row says otherwise of the same file."""
        for what in ("label", "part", "group"):
            if getattr(self, what) != getattr(other, what):
                return f"a file given several times, with different {what}s"
        return None


def list_rows(
    name: str,
    rows: Rows,
    index: FileIndex,
    options: ReadOptions,
    findings: Findings,
    *,
    classes: tuple[str, ...] | None = None,
    count_unnamed: bool = False,
) -> Listing:
    """List the files that rows name.

    A file that two rows name is one sample if they agree, and otherwise a problem.

    Args:
        name: What the data set is called.
        rows: The rows.
        index: The files.
        options: How the data are read.
        findings: Where problems go, and counts.
        classes: All classes, where they have an order of their own.
        count_unnamed: Whether to count the samples in the folder that no row names.
    """
    samples: dict[str, _Sample] = {}
    contradicted: set[str] = set()
    named: set[str] = set()
    for number, place in enumerate(rows.places):
        text = rows.files[number]
        place = f"{text} ({place})" if text else place
        try:
            path = index.find(text)
            named.add(path)
            sample = _sample(rows, number, path)
        except SampleError as error:
            findings.add(place, str(error))
            continue
        known = samples.setdefault(path, sample)
        if known is sample:
            continue
        contradiction = known.contradiction(sample)
        if contradiction is None:
            findings.handled["rows given twice, one kept"] += 1
        else:
            contradicted.add(path)
            findings.add(place, contradiction)
    if count_unnamed and (unnamed := index.num_unnamed(named)):
        findings.left_out["files that no row names"] += unnamed
    kept = {path: sample for path, sample in samples.items() if path not in contradicted}
    return Listing(
        name=name,
        source=FileSource(list(kept), options.dim, options.channel_axis),
        ids=[sample.name for sample in kept.values()],
        labels=[sample.label for sample in kept.values()],
        classes=classes,
        parts=[sample.part for sample in kept.values()] if rows.parts is not None else None,
        groups=[sample.group for sample in kept.values()] if rows.groups is not None else None,
        findings=findings,
    )


def _sample(rows: Rows, number: int, path: str) -> _Sample:
    label = rows.labels[number]
    if isinstance(label, SampleError):
        raise label
    if not label:
        raise SampleError("it has no label")
    group = rows.groups[number] if rows.groups is not None else ""
    part = ""
    if rows.parts is not None:
        given = rows.parts[number]
        part = part_named(given) or ""
        if not part:
            raise SampleError(f'its part is "{given}", and train, validation or test is needed')
    return _Sample(rows.files[number], label, group or path, part)
