"""The samples of the user's own dataset: tensors, arrays or PIL images, alone or with a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from equimorph.data.decoding import image_header, image_pixels, reasons
from equimorph.data.problems import SampleError
from equimorph.data.readers.array_names import LABELS, SAMPLES
from equimorph.data.readers.labels import label_values
from equimorph.data.readers.telling import shortly
from equimorph.data.sources import ChannelAxis, Form, Header, Source, channels_first, header_of


class DatasetSource(Source):
    """The samples that a dataset gives; what it draws at random is drawn whenever one is asked for.

    Args:
        dataset: Anything with `__len__` and `__getitem__`; to be pickled, it must be possible to pickle this.
        dim: Spatial axes of a sample.
        axis: Which axis of an array counts channels; of a tensor, left to be found, the first.
    """

    def __init__(self, dataset: Any, dim: int, axis: ChannelAxis = "auto") -> None:
        self.dataset, self.dim, self.axis = dataset, dim, axis

    def __len__(self) -> int:
        return len(self.dataset)

    def header(self, index: int) -> Header:
        """The header of the sample, for which the sample must be made."""
        sample, axis = self._sample(index)
        with reasons():
            if isinstance(sample, Image.Image):
                return image_header(sample)
            return header_of(sample.shape, sample.dtype, self.dim, axis)

    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The sample."""
        sample, axis = self._sample(index)
        with reasons():
            if isinstance(sample, Image.Image):
                return image_pixels(sample, form)
            return channels_first(sample, self.dim, axis)

    def label(self, index: int) -> Any:
        """The label that comes with the sample, as `name_labels` takes it.

        Raises:
            SampleError: The dataset raised an error, or gives samples alone.
        """
        item = self._item(index)
        if isinstance(item, Mapping):
            label = next((item[key] for key in item if str(key).lower() in LABELS), None)
        elif isinstance(item, tuple | list) and len(item) > 1:
            label = item[1]
        else:
            raise SampleError(f"it is {kind_of(item)} without a label; give pairs (sample, label), or name the labels")
        return (
            label_values(array_of(label).reshape(1, -1))[0] if isinstance(label, torch.Tensor | np.ndarray) else label
        )

    def _sample(self, index: int) -> tuple[Any, ChannelAxis]:
        """The sample, as an image or an array, and the axis of its channels."""
        sample = self._item(index)
        if isinstance(sample, Mapping):
            sample = next((sample[key] for key in sample if str(key).lower() in SAMPLES), None)
        elif isinstance(sample, tuple | list) and sample:
            sample = sample[0]
        if isinstance(sample, torch.Tensor):
            return array_of(sample), "first" if self.axis == "auto" else self.axis
        if isinstance(sample, Image.Image) and self.dim != 2:
            raise SampleError(f"it is an image, and samples of dimension {self.dim} are needed")
        if not isinstance(sample, Image.Image | np.ndarray):
            raise SampleError(f"it is {kind_of(sample)}, and a tensor, an array or an image is needed")
        return sample, self.axis

    def _item(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:  # the user's own code may raise anything
            raise SampleError(f"{type(error).__name__}: {shortly(error, 'no message')}") from None


def array_of(values: torch.Tensor | NDArray[Any]) -> NDArray[Any]:
    """The numbers of a tensor or an array."""
    if isinstance(values, np.ndarray):
        return values
    values = values.detach().cpu()
    return np.asarray(values.float() if values.dtype == torch.bfloat16 else values)


def kind_of(given: Any) -> str:
    """What something is, for a message."""
    return f"a {type(given).__name__}"
