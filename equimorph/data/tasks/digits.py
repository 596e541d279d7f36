"""The built-in data set: scikit-learn's digits, each turned by a random angle."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from equimorph.data._base import ImageData, Split
from equimorph.data.rotation import random_angles, rotate

_SEED = 0
_SIDE = 12  # 8 x 8 digits fill their frame; sqrt(2) * 8 < 12 leaves room for every turn


def load_digits() -> ImageData:
    """1,797 handwritten digits of 8 x 8 pixels in a frame of 12 x 12, turned by angles uniform in [0, 360).

    Splits (stratified, always the same): 1,000 for training, 297 for validation, 500 for the test.

    Example:
        >>> data = load_digits()
        >>> [len(split) for split in (data.train, data.validation, data.test)], data.image_size
        ([1000, 297, 500], 12)

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), CC BY 4.0.
    """
    import sklearn.datasets
    from sklearn.model_selection import train_test_split

    raw = sklearn.datasets.load_digits()
    images = torch.from_numpy(raw.images)[:, None]
    labels = torch.from_numpy(raw.target).long()
    margin = (_SIDE - images.shape[-1]) // 2
    images = F.pad((images * (255 / 16)).round().to(torch.uint8), [margin] * 4)
    images = rotate(images, random_angles(len(images), _SEED))
    rest, test = train_test_split(range(len(labels)), test_size=500, stratify=labels, random_state=_SEED)
    train, validation = train_test_split(rest, test_size=297, stratify=labels[rest], random_state=_SEED)
    splits = (Split(images[indices], labels[indices]) for indices in (train, validation, test))
    return ImageData.from_splits("digits", *splits, classes=tuple(str(digit) for digit in range(10)))
