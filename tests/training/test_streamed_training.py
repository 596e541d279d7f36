"""Training on samples that are decoded when they are needed is training on the same samples kept in memory."""

import multiprocessing

import pytest
import torch
from made import make_folder

import equimorph as em
from equimorph.data import Augmentation, ReadOptions
from equimorph.data.stream import Stream
from equimorph.training import Batches, Trainer, TrainingSettings, divided
from equimorph.training.metrics import class_weights

COUNTS = {"ants": 30, "bees": 20, "cows": 10}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("own") / "beasts", COUNTS)


@pytest.fixture(scope="module")
def kept(folder):
    return em.data.load(folder, options=ReadOptions(workers=0))


@pytest.fixture(scope="module", params=[0, 2], ids=["alone", "with workers"])
def streamed(request, folder):
    data = em.data.load(folder, options=ReadOptions(memory_gib=0, workers=request.param))
    assert isinstance(data.train.x, Stream)
    return data


def same_batch(one, two):
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(one, two, strict=True))


def weights_of(data):
    return class_weights(data.train.y, 3)[data.train.y]


@pytest.mark.parametrize("weighted", [False, True], ids=["as they are", "weighted"])
@pytest.mark.parametrize("words", ["", "move=D4", "turn, mirror, shift=0.1, intensity=0.1"])
def test_batches_of_a_stream_are_those_of_the_samples_in_memory(kept, streamed, words, weighted, dtype):
    augmentation = Augmentation.parse(words, dim=2) if words else None
    one, two = (
        Batches(
            data,
            data.train,
            8,
            seed=1,
            dtype=dtype,
            augmentation=augmentation,
            weights=weights_of(data) if weighted else None,
        )
        for data in (kept, streamed)
    )
    assert (one.size, one.per_pass) == (two.size, two.per_pass) == (8, 5)
    for step in (*range(12), 3, 40, 41):  # on through two passes, back, and far ahead
        assert same_batch(one.at(step), two.at(step))


def test_parts_of_a_stream_are_those_of_the_samples_in_memory(kept, streamed):
    for one, two in zip(divided(kept.train, 0.3, seed=2), divided(streamed.train, 0.3, seed=2), strict=True):
        assert isinstance(two.x, Stream) and torch.equal(one.x, two.x[:]) and torch.equal(one.y, two.y)
        assert one.ids == two.ids


def make_network():
    return em.models.PaperNetwork(
        group="D4",
        image_size=6,
        in_channels=3,
        num_classes=3,
        fields=1,
        depth=1,
        kernel_size=3,
        head_units=4,
        generator=torch.Generator().manual_seed(0),
    )


@pytest.mark.parametrize(
    "changes",
    [{}, {"augment": "turn, mirror", "class_weights": "sampling"}, {"class_weights": "loss"}],
    ids=["plain", "augmented and drawn", "weighed"],
)
def test_a_training_on_a_stream_is_the_training_on_the_samples_in_memory(kept, streamed, changes):
    histories, states = [], []
    for data in (kept, streamed):
        trainer = Trainer(data, TrainingSettings(epochs=2, batch_size=10, device="cpu", **changes))
        state = trainer.start(make_network())
        reports = []
        trainer.advance(state, 3, on_report=reports.append)
        trainer.advance(state, trainer.total_steps, on_report=reports.append)
        outputs, targets = trainer.predict(state.network, "test")
        histories.append((reports, trainer.evaluate(state.network, "validation"), outputs.tolist(), targets.tolist()))
        states.append(state.network.state_dict())
    assert histories[0] == histories[1] and len(histories[0][0]) == 3
    assert all(torch.equal(table, states[1][name]) for name, table in states[0].items())


def test_no_worker_is_left_when_a_training_is_done_with(folder):
    data = em.data.load(folder, options=ReadOptions(memory_gib=0, workers=1))
    trainer = Trainer(data, TrainingSettings(epochs=1, batch_size=20, device="cpu"))
    trainer.advance(trainer.start(make_network()), 2)
    assert len(multiprocessing.active_children()) == 1  # it holds the next batches ready
    del trainer  # at once, and not when the collector comes by
    assert not multiprocessing.active_children()
