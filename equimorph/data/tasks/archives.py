"""Small copies of public data sets, each one `.npz` file with the arrays x, y of three parts and the class names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from equimorph.data._base import ImageData, Split
from equimorph.data.files import check_arrays, find_file, read_arrays
from equimorph.errors import DataError

_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Archive:
    """What a file holds: so many samples in each part, of these classes.

    Attributes:
        file: Its name.
        source: Where it comes from, for messages.
        num_samples: In the parts train, val and test.
        shape: Of one sample as it is stored; three numbers that end in 3 are an RGB image, others have no channels.
        classes: The name of each label.
    """

    file: str
    source: str
    num_samples: tuple[int, int, int]
    shape: tuple[int, ...]
    classes: tuple[str, ...]

    def load(
        self, name: str, data_dir: str | Path | None, *, renamed: Mapping[str, str | None] | None = None
    ) -> ImageData:
        """The data set under a name of its own, some of the classes under other names.

        Args:
            name: What the data set is called.
            data_dir: The folder with the file; EQUIMORPH_DATA when left out.
            renamed: The new name of a class; classes of one name are merged, those of None are left out.
        Raises:
            DataError: There is no such file, or it is not what it should be.
        """
        arrays = self._read(find_file(self.file, data_dir, source=self.source))
        new_names = [(renamed or {}).get(label, label) for label in self.classes]
        classes = tuple(dict.fromkeys(label for label in new_names if label is not None))
        numbers = np.array([-1 if label is None else classes.index(label) for label in new_names])
        splits = (self._split(arrays[f"x_{part}"], numbers[arrays[f"y_{part}"]]) for part in _PARTS)
        return ImageData.from_splits(name, *splits, classes=classes)

    def _read(self, path: Path) -> dict[str, NDArray[Any]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for part, count in zip(_PARTS, self.num_samples, strict=True):
            shapes |= {f"x_{part}": (count, *self.shape), f"y_{part}": (count,)}
        arrays = read_arrays(path, [*shapes, "classes"], source=self.source)
        check_arrays(path, arrays, shapes, num_classes=len(self.classes), source=self.source)
        classes = arrays["classes"].tolist()
        if classes != list(self.classes):
            raise DataError(f"{path}: classes {classes}, expected {list(self.classes)}; get it from {self.source}.")
        return arrays

    def _split(self, samples: NDArray[Any], labels: NDArray[Any]) -> Split:
        """The samples with a label that is not negative, channels first."""
        kept = samples[labels >= 0]
        kept = np.moveaxis(kept, -1, 1) if self.shape[-1] == 3 else kept[:, None]
        return Split(torch.from_numpy(np.ascontiguousarray(kept)), torch.from_numpy(labels[labels >= 0]))
