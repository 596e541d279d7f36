"""A search that takes a second: two blocks of one field, a few digits."""

import pytest

import equimorph as em
from equimorph.data import ImageData, Split


@pytest.fixture(scope="session")
def data():
    digits = em.data.load("digits")

    def part(split, count):
        return Split(split.x[:count], split.y[:count])

    return ImageData.from_splits(
        "few digits", part(digits.train, 96), part(digits.validation, 60), part(digits.test, 60), classes=digits.classes
    )


@pytest.fixture
def network():
    import torch

    return em.models.PaperNetwork(
        group="D4",
        image_size=12,
        in_channels=1,
        num_classes=10,
        fields=1,
        depth=2,
        kernel_size=3,
        head_units=8,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.fixture
def settings():
    return em.training.TrainingSettings(epochs=3, batch_size=32, device="cpu")
