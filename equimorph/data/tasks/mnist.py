"""MNIST and RotMNIST from one file, `mnist.npz`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from equimorph.data._base import ImageData, Split
from equimorph.data.files import check_arrays, find_file, read_arrays
from equimorph.data.rotation import random_angles, rotate

_SEED = 0
_FILE = "mnist.npz"
_SOURCE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_CLASSES = tuple(str(digit) for digit in range(10))
_SHAPES = {"x_train": (60_000, 28, 28), "y_train": (60_000,), "x_test": (10_000, 28, 28), "y_test": (10_000,)}


def load_mnist(data_dir: str | Path | None = None) -> ImageData:
    """Upright handwritten digits, 28 x 28: 54,000 for training, 6,000 for validation, the official 10,000 for the test.

    Args:
        data_dir: The folder with `mnist.npz`; EQUIMORPH_DATA when left out.
    Raises:
        DataError: There is no such file, or it is not what it should be.
    Source: LeCun, Cortes and Burges, The MNIST database of handwritten digits.
    """
    train_x, train_y, test_x, test_y = _arrays(data_dir)
    order = _permutation(len(train_y))
    fit, held = order[:54_000], order[54_000:]
    return ImageData.from_splits(
        "mnist",
        Split(train_x[fit], train_y[fit]),
        Split(train_x[held], train_y[held]),
        Split(test_x, test_y),
        classes=_CLASSES,
    )


def load_rotmnist(data_dir: str | Path | None = None) -> ImageData:
    """Turned digits: 12,000 of MNIST's for training (1,200 of them for validation), 50,000 others for the test.

    Each is turned by an angle drawn uniformly from [0, 360), with bilinear interpolation. The choice of digits and the
    angles are always the same. It is the protocol of the original RotMNIST, drawn anew from the 28 x 28 originals.

    Args:
        data_dir: The folder with `mnist.npz`; EQUIMORPH_DATA when left out.
    Raises:
        DataError: There is no such file, or it is not what it should be.
    Source: Larochelle et al. (2007).
    """
    train_x, train_y, test_x, test_y = _arrays(data_dir)
    x, y = torch.cat([train_x, test_x]), torch.cat([train_y, test_y])
    chosen = _permutation(len(y))[:62_000]
    x, y = rotate(x[chosen], random_angles(len(chosen), _SEED)), y[chosen]
    splits = (Split(x[part], y[part]) for part in (slice(0, 10_800), slice(10_800, 12_000), slice(12_000, 62_000)))
    return ImageData.from_splits("rotmnist", *splits, classes=_CLASSES)


def _arrays(data_dir: str | Path | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    path = find_file(_FILE, data_dir, source=_SOURCE)
    found = read_arrays(path, _SHAPES, source=_SOURCE)
    check_arrays(path, found, _SHAPES, num_classes=len(_CLASSES), source=_SOURCE)
    x_train, x_test = (torch.from_numpy(found[name])[:, None] for name in ("x_train", "x_test"))
    y_train, y_test = (torch.from_numpy(found[name].astype(np.int64)) for name in ("y_train", "y_test"))
    return x_train, y_train, x_test, y_test


def _permutation(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(_SEED))
