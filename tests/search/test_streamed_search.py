"""Every strategy finds the same on samples that are decoded when they are needed as on samples kept in memory."""

import numpy as np
import pytest

import equimorph as em
from equimorph.data import ReadOptions
from equimorph.data.stream import Stream
from equimorph.search import strategy_named
from equimorph.training import TrainingSettings


@pytest.fixture(scope="module")
def both(data, tmp_path_factory):
    """The few digits as a file, kept and streamed."""
    path = tmp_path_factory.mktemp("own") / "digits.npz"
    arrays = {}
    for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        arrays |= {f"x_{name}": split.x[:, 0].numpy(), f"y_{name}": split.y.numpy()}
    np.savez(path, **arrays)
    kept, streamed = (em.data.load(path, options=ReadOptions(memory_gib=memory, workers=0)) for memory in (4, 0))
    assert isinstance(streamed.train.x, Stream) and not isinstance(kept.train.x, Stream)
    return kept, streamed


@pytest.mark.parametrize(
    "text",
    [
        "evolutionary:generations=1+population=2+children=2+start=group+selection=pareto",
        "differentiable:batches=held-out",
        "differentiable:batches=train",
        "growth",
        "augmented",
        "narrow",
        "rpp",
    ],
)
def test_a_strategy_finds_the_same_on_a_stream(network, both, text, tmp_path):
    settings = TrainingSettings(epochs=2, batch_size=32, device="cpu", augment="shift=0.1")
    for name, data in zip(("kept", "streamed"), both, strict=True):
        strategy_named(text).run(network, data, training=settings, out=tmp_path / name)
    for file in ("history.jsonl", "splits.csv", "best/preprocessing.json", "best/weights.safetensors"):
        assert (tmp_path / "kept" / file).read_bytes() == (tmp_path / "streamed" / file).read_bytes(), file
