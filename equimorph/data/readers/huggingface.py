"""A data set of the Hugging Face `datasets` library: by its name, or from a folder that `save_to_disk` wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from equimorph.data.problems import Findings, SampleError
from equimorph.data.readers._base import Listing, Reader, ReadOptions, part_named, path_of
from equimorph.data.readers.array_names import GROUPS, LABELS, SAMPLES, quoted
from equimorph.data.readers.huggingface_samples import ColumnSource, EncodedSource
from equimorph.data.readers.joining import Portion, join
from equimorph.data.readers.labels import text_of
from equimorph.data.readers.telling import shortly
from equimorph.data.sources import Source, header_of
from equimorph.errors import DataError

if TYPE_CHECKING:
    import datasets

_PREFIX = "hf:"


class HuggingFaceReader(Reader):
    """`hf:NAME` or `hf:NAME:CONFIG`, which may be fetched from the network; or a folder that was saved to disk."""

    @property
    def form(self) -> str:
        """What it reads."""
        return "hf:NAME or hf:NAME:CONFIG from Hugging Face, or a folder of Dataset.save_to_disk"

    def recognises(self, given: str) -> bool:
        """Whether it begins with `hf:`, or is a folder with the files that `save_to_disk` writes."""
        if given.startswith(_PREFIX):
            return True
        path = path_of(given)
        return (path / "dataset_dict.json").is_file() or all(
            (path / name).is_file() for name in ("dataset_info.json", "state.json")
        )

    def read(self, given: str, options: ReadOptions) -> Listing:
        """Read labels; images stay as they are encoded.

        Raises:
            DataError: `datasets` is missing, there is no such data set, or it lacks a column that is needed.
        """
        name, splits = _loaded(given)
        findings = Findings()
        parts = _parts(splits, name, findings)
        features = splits[next(iter(parts))].features
        label = _column(features, LABELS, options.label_column, "ClassLabel", f"{name}: labels", "--label-column")
        if not hasattr(features[label], "dtype") or hasattr(features[label], "shape"):
            raise DataError(f'data: {name}: column "{label}" holds {features[label]}; one label for each is needed.')
        for split in parts:
            if splits[split].features.get(label) != features[label]:
                raise DataError(
                    f'data: {name}: column "{label}" is missing from the split "{split}", or is another there; give '
                    "all splits the same columns."
                )
        portions = [_portion(split, splits[split], part, label, name, options) for split, part in parts.items()]
        classes = getattr(features[label], "names", None)
        return join(name, portions, tuple(classes) if classes else None, findings=findings)


def _loaded(given: str) -> tuple[str, dict[str, datasets.Dataset]]:
    """What it is called, and its splits by their names."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            'data: this needs the library "datasets"; install it: pip install "equimorph[huggingface]".'
        ) from None
    try:
        if given.startswith(_PREFIX):
            name, _, config = given.removeprefix(_PREFIX).partition(":")
            loaded: Any = datasets.load_dataset(name, config or None)
        else:
            name = path_of(given).resolve().name
            loaded = datasets.load_from_disk(str(path_of(given)))
    except Exception as error:  # whatever the network, the hub, Arrow and the library itself raise
        reason = shortly(error, type(error).__name__)
        raise DataError(
            f"data: {given} cannot be loaded ({reason}); give hf:NAME or hf:NAME:CONFIG as on huggingface.co, or a "
            "folder that save_to_disk wrote."
        ) from None
    splits = dict(loaded) if isinstance(loaded, Mapping) else {"row": loaded}
    return name, {str(split): dataset for split, dataset in splits.items()}


def _parts(splits: Mapping[str, datasets.Dataset], name: str, findings: Findings) -> dict[str, str | None]:
    """The part of each split that is used; a single split is all there is, whatever it is called."""
    if len(splits) == 1:
        return dict.fromkeys(splits)
    parts = {split: part_named(split) for split in splits}
    if "train" not in parts.values():
        raise DataError(f"data: {name}: none of its splits {quoted(splits)} is called train; rename one.")
    for split in splits:
        if parts[split] is None:
            reason = f'samples of the split "{split}", which is none of train, validation and test'
            findings.left_out[reason] += len(splits[split])
    return {split: part for split, part in parts.items() if part is not None}


def _portion(
    split: str, dataset: datasets.Dataset, part: str | None, label: str, name: str, options: ReadOptions
) -> Portion:
    groups = _found(dataset.features, GROUPS, options.group_column, f"{name}: groups", "--group-column")
    # Hugging Face writes -1 where a test set hides its labels.
    hidden = -1 if hasattr(dataset.features[label], "names") else None
    return Portion(
        split,
        _source(dataset, name, options),
        [None if value == hidden else value for value in dataset[label][:]],
        part,
        groups=[text_of(value) for value in dataset[groups][:]] if groups is not None else None,
    )


def _source(dataset: datasets.Dataset, name: str, options: ReadOptions) -> Source:
    import datasets

    column = _column(dataset.features, SAMPLES, options.path_column, "Image", f"{name}: samples", "--path-column")
    if isinstance(dataset.features[column], datasets.Image):
        if options.dim != 2:
            raise DataError(
                f'data: {name}: column "{column}" holds images, and samples of dimension {options.dim} are needed.'
            )
        return EncodedSource(dataset.cast_column(column, datasets.Image(decode=False)), column)
    source = ColumnSource(dataset, column, options.dim, options.channel_axis)
    try:
        header_of((1,) * options.dim, source.dtype, options.dim)
    except SampleError as error:
        raise DataError(f'data: {name}: column "{column}": {error}.') from None
    return source


def _column(
    features: Mapping[str, Any], usual: Sequence[str], given: str | None, kind: str, role: str, option: str
) -> str:
    """The column that is given, else the only one of a kind, else one with a usual name."""
    typed = {column: feature for column, feature in features.items() if type(feature).__name__ == kind}
    if given is None and len(typed) == 1:
        return next(iter(typed))
    found = _found(typed if typed and given is None else features, usual, given, role, option)
    if found is None:
        raise DataError(f"data: {role}: its columns {quoted(features)} do not tell which; name one with {option}.")
    return found


def _found(features: Mapping[str, Any], usual: Sequence[str], given: str | None, role: str, option: str) -> str | None:
    if given is not None and given not in features:
        raise DataError(f'data: {role}: no column "{given}"; it has {quoted(features)} (see {option}).')
    named = [column for column in features if column.lower() in usual] if given is None else [given]
    if len(named) > 1:
        raise DataError(f"data: {role}: {quoted(named)} could both be these; name one with {option}.")
    return named[0] if named else None
