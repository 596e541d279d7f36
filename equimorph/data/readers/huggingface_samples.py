"""Samples in a column of a Hugging Face data set: encoded images, or arrays."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from equimorph.data.decoding import IMAGE_FORMATS, image_header, image_pixels, reasons
from equimorph.data.problems import SampleError
from equimorph.data.sources import ChannelAxis, Form, Header, Source, channels_first, header_of

if TYPE_CHECKING:
    import datasets


class EncodedSource(Source):
    """Images of a column, decoded by the rules of `FileSource`.

    Args:
        dataset: Its `column` gives dictionaries of "bytes" and "path".
        column: The column's name.
    """

    def __init__(self, dataset: datasets.Dataset, column: str) -> None:
        self.dataset, self.column = dataset.select_columns(column), column

    def __len__(self) -> int:
        return len(self.dataset)

    def header(self, index: int) -> Header:
        """What the header of the image says."""
        with reasons(), self._image(index) as image:
            return image_header(image)

    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The pixels of the image."""
        with reasons(), self._image(index) as image:
            return image_pixels(image, form)

    def _image(self, index: int) -> Image.Image:
        encoded = self.dataset[index][self.column]
        if encoded is None or not (encoded["bytes"] or encoded["path"]):
            raise SampleError("there is no image in its row")
        return Image.open(BytesIO(encoded["bytes"]) if encoded["bytes"] else encoded["path"], formats=IMAGE_FORMATS)


class ColumnSource(Source):
    """Arrays of a column.

    Args:
        dataset: Its `column` gives numbers, nested or not.
        column: The column's name.
        dim: Spatial axes of a sample.
        axis: Which axis of an array counts channels.
    """

    def __init__(self, dataset: datasets.Dataset, column: str, dim: int, axis: ChannelAxis = "auto") -> None:
        self.dtype = _dtype(dataset.features[column])
        self.dataset = dataset.select_columns(column).with_format("numpy", dtype=self.dtype)
        self.column, self.dim, self.axis = column, dim, axis

    def __len__(self) -> int:
        return len(self.dataset)

    def header(self, index: int) -> Header:
        """What the shape of its row says."""
        return header_of(self._row(index).shape, self.dtype, self.dim, self.axis)

    def array(self, index: int, form: Form) -> NDArray[Any]:
        """The array of its row."""
        return channels_first(self._row(index), self.dim, self.axis)

    def _row(self, index: int) -> NDArray[Any]:
        with reasons():
            row = np.asarray(self.dataset[index][self.column])
        if row.dtype != self.dtype:
            raise SampleError("its row is empty, or no array: some of its rows are longer than others")
        return row


def _dtype(feature: Any) -> np.dtype[Any]:
    """The dtype of the numbers in a column, nested or not."""
    while hasattr(feature, "feature"):
        feature = feature.feature
    try:
        dtype: np.dtype[Any] = np.dtype(feature.dtype)
        return dtype
    except (AttributeError, TypeError):
        return np.dtype(object)
