"""Samples that are decoded when they are needed: the right ones, in order, ahead, and without a worker left over."""

import gc
import itertools
import multiprocessing
import time

import numpy as np
import pytest
import torch
from made import make_folder, pixels

import equimorph as em
from equimorph.data import ReadOptions
from equimorph.data.sources import Form, Header, Source
from equimorph.data.stream import AheadOfSteps, Stream
from equimorph.errors import DataError

SAMPLES = 40
CHANNELS, SIDES = 2, (3, 4)


class Numbered(Source):
    """Sample i is full of the number i, its second channel of 2 i; counts which ones are read in this process."""

    def __init__(self):
        self.read_here = []

    def __len__(self):
        return SAMPLES

    def header(self, index):
        return Header(CHANNELS, SIDES)

    def array(self, index, form):
        self.read_here.append(index)
        return np.full((CHANNELS, *SIDES), index, np.uint8) * np.array([1, 2], np.uint8)[:, None, None]


def stream_of(indices=range(SAMPLES), workers=0):
    numbers = np.arange(SAMPLES)
    sums = np.stack([np.stack([n * numbers * 12, (n * numbers) ** 2 * 12]) for n in (1, 2)], 2).astype(float)
    return Stream(Numbered(), Form(CHANNELS, SIDES), np.array(indices), sums, workers=workers)


def numbers_of(x):
    assert x.dtype == torch.uint8 and x.shape[1:] == (CHANNELS, *SIDES)
    assert torch.equal(x[:, 1], 2 * x[:, 0]) and (x == x[:, :, :1, :1]).all()
    return x[:, 0, 0, 0].tolist()


def assert_no_workers_left():
    gc.collect()
    for _ in range(100):
        if not multiprocessing.active_children():
            return
        time.sleep(0.05)
    raise AssertionError(multiprocessing.active_children())


every_number_of_workers = pytest.mark.parametrize("workers", [0, 1, 2])


def test_a_stream_tells_its_shape_like_a_tensor_without_decoding():
    stream = stream_of(range(7))
    assert (len(stream), stream.shape, stream.ndim) == (7, (7, 2, 3, 4), 4)
    assert stream.source.read_here == []


@pytest.mark.parametrize(
    "chosen",
    [slice(None), slice(2, 5), slice(None, None, 3), slice(-2, None), torch.tensor([4, 0, 4]), torch.tensor([6])],
    ids=str,
)
def test_indices_and_slices_choose_what_they_choose_of_a_tensor(chosen):
    indices = [5, 3, 30, 1, 8, 12, 39]
    assert numbers_of(stream_of(indices)[chosen]) == torch.tensor(indices)[chosen].tolist()


def test_a_part_of_a_part_is_still_to_be_decoded():
    stream = stream_of([9, 8, 7, 6, 5]).part(torch.tensor([4, 2, 0])).part(torch.tensor([1, 0]))
    assert isinstance(stream, Stream) and stream.source.read_here == [] and numbers_of(stream[:]) == [7, 5]
    assert numbers_of(stream.having(np.array([20, 2]))[:]) == [20, 2]


@pytest.mark.parametrize("indices", [range(SAMPLES), [3, 3, 17], [0], [0, 1]], ids=str)
def test_mean_and_deviation_are_those_of_the_samples_in_it(indices):
    stream = stream_of(indices)
    x = stream[:].double()
    mean, std = stream.mean_and_std()
    assert mean == pytest.approx(x.mean((0, 2, 3)).tolist())
    expected = x.std((0, 2, 3), correction=0).tolist()
    assert std == pytest.approx([value if value > 0 else 1.0 for value in expected])


@every_number_of_workers
def test_batches_come_in_the_order_they_were_asked_for(workers):
    orders = torch.randint(0, SAMPLES, (25, 3), generator=torch.Generator().manual_seed(0))
    found = [numbers_of(x) for x in stream_of(workers=workers).batches(orders)]
    assert found == orders.tolist()
    assert_no_workers_left()


@every_number_of_workers
def test_batches_without_end_are_decoded_ahead_by_a_few_alone(workers):
    asked = []

    def endless():
        for step in itertools.count():
            asked.append(step)
            yield torch.tensor([step % SAMPLES])

    batches = stream_of(workers=workers).batches(endless())
    for step in range(6):
        assert numbers_of(next(batches)) == [step]
    ahead = len(asked) - 6
    assert ahead == 0 if workers == 0 else 0 < ahead <= 2 * workers
    del batches
    assert_no_workers_left()


@every_number_of_workers
def test_the_batch_of_a_step_is_its_own_whichever_was_before(workers):
    def order_at(step):
        return torch.tensor([step % SAMPLES, (3 * step + 1) % SAMPLES])

    ahead = AheadOfSteps(stream_of(workers=workers), order_at)
    for step in (0, 1, 2, 7, 8, 8, 3, 4, 100, 101, 0):
        assert numbers_of(ahead.at(step)) == order_at(step).tolist()
    assert len(multiprocessing.active_children()) <= workers  # those of earlier steps have ended
    del ahead
    assert_no_workers_left()


def test_drawing_batches_leaves_torchs_global_generator_alone():
    before = torch.get_rng_state()
    for workers in (0, 1):
        list(stream_of(workers=workers).batches([torch.tensor([1])]))
    assert torch.equal(torch.get_rng_state(), before)


@every_number_of_workers
def test_a_sample_that_vanishes_is_one_clear_error(tmp_path, workers):
    folder = make_folder(tmp_path / "own")
    data = em.data.load(folder, options=ReadOptions(memory_gib=0, workers=workers))
    gone = data.train.ids[4]
    (folder / gone).unlink()
    batches = data.train.x.batches(torch.arange(len(data.train)).split(3))
    next(batches)
    with pytest.raises(DataError) as caught:
        next(batches)
    assert str(caught.value) == f"data: {gone} changed while it was in use: there is no such file."
    del batches, caught
    assert_no_workers_left()


def test_a_sample_that_changed_its_channels_is_told_too(tmp_path):
    folder = make_folder(tmp_path / "own", {"ants": 6, "bees": 6})
    data = em.data.load(folder, options=ReadOptions(memory_gib=0, workers=0, shares=em.data.Shares(0.25, 0.25)))
    (folder / data.test.ids[0]).write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=f"{data.test.ids[0]} changed while it was in use"):
        data.test.x[:]
    np.testing.assert_array_equal(data.test.x[1:].shape, (len(data.test) - 1, 3, 6, 6))


def test_a_sample_can_be_read_again_after_its_file_came_back(tmp_path):
    folder = make_folder(tmp_path / "own", channels=1)
    data = em.data.load(folder, options=ReadOptions(memory_gib=0, workers=0))
    path = folder / data.validation.ids[0]
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(DataError):
        data.validation.x[:1]
    path.write_bytes(whole)
    number = sorted(str(other) for other in folder.rglob("*.png")).index(str(path))
    assert np.array_equal(data.validation.x[:1][0, 0], pixels(number, channels=1))
