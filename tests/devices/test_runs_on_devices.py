"""Trainings and searches on every device: they run, repeat to the bit, and leave networks that load on a CPU."""

import itertools

import pytest
import torch

import equimorph as em
from equimorph.search import strategy_named
from equimorph.training import Trainer, TrainingSettings

WAYS = ["static:C4", "augmented", "growth", "differentiable", "evolutionary", "rpp"]


@pytest.fixture(scope="module")
def data():
    return em.data.load("digits")


def network(fields=1):
    return em.models.PaperNetwork(
        group="D4",
        image_size=12,
        in_channels=1,
        num_classes=10,
        fields=fields,
        depth=2,
        kernel_size=3,
        head_units=8,
        generator=torch.Generator().manual_seed(0),
    )


def settings_for(device, **changes):
    return TrainingSettings(**{"epochs": 4, "batch_size": 120, "device": device, **changes})


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("mixed", [False, True], ids=["static", "mixture"])
def test_two_runs_are_equal_to_the_bit(mixed, precision, data, device):
    settings = settings_for(device, precision=precision, augment="move=C4,shift=0.1,intensity=0.1")
    states = []
    for _ in range(2):
        trainer = Trainer(data, settings)
        state = trainer.start(em.mix(network(4)) if mixed else network(4))
        trainer.advance(state, 12)
        states.append(state.network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("way", WAYS)
def test_every_search_runs_and_its_network_loads_on_a_cpu(way, data, device, tmp_path):
    search = strategy_named(way, groups=["C1", "C4", "D4"])
    result = search.run(network(), data, training=settings_for(device), out=tmp_path / "run")
    found = em.load(tmp_path / "run")
    x = data.standardize(data.test.x[:8], torch.float32)
    torch.testing.assert_close(found(x), result.best(x))
    assert next(found.parameters()).device.type == "cpu" and 0 <= result.test_error <= 1


def test_a_run_in_mixed_precision_learns(data, device):
    settings = settings_for(device, precision="bf16-mixed", epochs=8, optimizer="adam", lr=0.01)
    assert strategy_named("static:C4").run(network(2), data, training=settings).test_error < 0.6


def test_augmentations_are_the_same_wherever_they_are_made(data, device):
    both = [
        Trainer(data, settings_for(where, augment="move=D4,turn,shift=0.1,scale=0.1,intensity=0.1")).batches
        for where in ("cpu", device)
    ]
    for step in (0, 9):
        (x, y), (other, label) = (batches.at(step) for batches in both)
        assert torch.equal(y, label.cpu())
        torch.testing.assert_close(other.cpu(), x, rtol=1e-4, atol=1e-4)


def test_data_that_fit_live_on_the_device(data, device):
    trainer = Trainer(data, settings_for(device))
    kinds = {split.x.device.type for split in trainer._splits.values()}
    assert kinds == {torch.device(device).type}
    assert all(x.device.type in kinds for x, _ in itertools.islice(iter([trainer.batches.at(0)]), 1))
