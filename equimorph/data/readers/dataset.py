"""The user's own `torch.utils.data.Dataset`, or one for each part, as a listing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from equimorph.data.problems import SampleError
from equimorph.data.readers._base import Listing, part_named
from equimorph.data.readers.array_names import quoted
from equimorph.data.readers.dataset_samples import DatasetSource, array_of, kind_of
from equimorph.data.readers.joining import Portion, join
from equimorph.data.readers.labels import label_values, text_of
from equimorph.data.sources import ChannelAxis
from equimorph.errors import DataError

Values = Iterable[Any] | Mapping[str, Iterable[Any]] | None


def listing_of(
    dataset: Dataset[Any] | Mapping[str, Dataset[Any]],
    *,
    dim: int,
    labels: Values = None,
    groups: Values = None,
    ids: Values = None,
    classes: Sequence[str] | None = None,
    name: str = "own",
    channel_axis: ChannelAxis = "auto",
) -> Listing:
    """List the samples of a map-style dataset, or of {"train": ..., "validation": ..., "test": ...}.

    It gives pairs (sample, label), or dictionaries with such keys as "image" and "label"; a sample is a tensor, an
    array or a PIL image. Labels are those given, else `dataset.targets` or `dataset.labels` where nothing transforms
    them, else each sample is asked for its own, one after the other.

    Args:
        dataset: Anything with `__len__` and `__getitem__`.
        dim: Spatial axes of a sample.
        labels, groups, ids: One for each sample; by part where the datasets are.
        classes: The names of label numbers; `dataset.classes` when left out, where there is such a thing.
        name: What the data set is called.
        channel_axis: Which axis counts channels; of a tensor, left to be found, the first.
    Raises:
        DataError: A dataset can only be iterated, a part has no usual name, or what is given does not fit together.
    Example:
        >>> pairs = torch.utils.data.TensorDataset(torch.zeros(2, 3, 8, 8), torch.tensor([1, 0]))
        >>> listing_of(pairs, dim=2).labels
        ['1', '0']
    """
    datasets = _by_part(dataset, name)
    given = {"labels": labels, "groups": groups, "ids": ids}
    for what, values in given.items():
        if isinstance(dataset, Mapping) and values is not None and not isinstance(values, Mapping):
            raise DataError(f"data: {name}: {what} for several datasets; give a dictionary of them, by part.")
    portions = []
    for key, one in datasets.items():
        source = DatasetSource(one, dim, channel_axis)
        own = {what: _of_part(values, key) for what, values in given.items()}
        portions.append(
            Portion(
                key or "sample",
                source,
                _values(own["labels"], name) if own["labels"] is not None else _found_labels(source, name),
                part_named(key) if key else None,
                ids=[text_of(each) for each in own["ids"]] if own["ids"] is not None else None,
                groups=[text_of(each) for each in _values(own["groups"], name)] if own["groups"] is not None else None,
            )
        )
    return join(name, portions, tuple(classes) if classes is not None else _found_classes(datasets.values()))


def _by_part(dataset: Any, name: str) -> dict[str, Any]:
    """The datasets by part; under "" the only one."""
    datasets = dict(dataset) if isinstance(dataset, Mapping) else {"": dataset}
    for one in datasets.values():
        if isinstance(one, IterableDataset) or not (hasattr(one, "__getitem__") and hasattr(one, "__len__")):
            raise DataError(
                f"data: {name}: {kind_of(one)} can only be iterated; a dataset with __len__ and __getitem__ is needed, "
                "such as a list of its pairs."
            )
    parts = [part_named(key) for key in datasets if key]
    if isinstance(dataset, Mapping) and (None in parts or "train" not in parts or len(set(parts)) < len(datasets)):
        raise DataError(f'data: {name}: datasets {quoted(datasets)}; call them "train", "validation" and "test".')
    return datasets


def _of_part(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, Mapping) else values


def _values(values: Any, name: str) -> list[Any]:
    if not isinstance(values, torch.Tensor | np.ndarray):
        return [each.item() if isinstance(each, torch.Tensor) else each for each in values]
    try:
        return label_values(array_of(values))
    except SampleError as error:
        raise DataError(f"data: {name}: {error}.") from None


def _found_labels(source: DatasetSource, name: str) -> list[Any]:
    if getattr(source.dataset, "target_transform", None) is None:
        for attribute in ("targets", "labels"):
            values: Any = getattr(source.dataset, attribute, None)
            if hasattr(values, "__len__") and len(values) == len(source):
                return _values(values, name)
    found: list[Any] = []
    for index in range(len(source)):
        try:
            found.append(source.label(index))
        except SampleError as error:
            found.append(error)
    return found


def _found_classes(datasets: Iterable[Any]) -> tuple[str, ...] | None:
    """What the dataset calls its classes, as those of torchvision do."""
    first = next(iter(datasets))
    names = getattr(first, "classes", None) if getattr(first, "target_transform", None) is None else None
    is_names = isinstance(names, list | tuple) and all(isinstance(each, str) for each in names)
    return tuple(names) if is_names and names else None
