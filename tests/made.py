"""Made images in small folders and archives, for tests of what reads data."""

import io

import numpy as np
from PIL import Image

COUNTS = {"ants": 12, "bees": 9, "cows": 9}


def pixels(number, sides=(6, 6), channels=3, dtype=np.uint8):
    """Noise that the number alone decides, shape (*sides, channels), or sides alone for one channel."""
    shape = sides if channels == 1 else (*sides, channels)
    return np.random.RandomState(number).randint(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def write(path, array):
    """An image file, or an array file where its name ends so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def make_folder(root, counts=None, **kind):
    """`root/ants/00.png` and so on, each of its own noise."""
    number = 0
    for label, count in (counts or COUNTS).items():
        for place in range(count):
            write(root / label / f"{place:02d}.png", pixels(number, **kind))
            number += 1
    return root


def packed(**arrays):
    """The bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def splits_of(data):
    return data.train, data.validation, data.test
