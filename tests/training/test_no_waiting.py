"""A GPU runs ahead of the program as long as nothing asks it for a number: the loop asks once in an interval."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import equimorph as em
from equimorph.search.differentiable import Differentiable
from equimorph.training import Trainer, TrainingSettings
from equimorph.training.trainer import _CHECK_EVERY

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Questions(TorchDispatchMode):
    """Counts the numbers that tensors are asked for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def trainer_of(augment="", device="cpu", targets=None):
    x = torch.randn(64 * 8, 1, 8, 8)
    train = em.data.Split(x, torch.randint(3, (len(x),)))
    few = train.part(torch.arange(4))
    data = em.data.ImageData.from_splits("noise", train, few, few, classes=tuple("abc"))
    return Trainer(data, TrainingSettings(batch_size=8, augment=augment, device=device))


def prepared(trainer, mixed):
    network = em.models.PaperNetwork(group="D4", image_size=8, in_channels=1, num_classes=3, fields=1, depth=2)
    network = em.mix(network) if mixed else network
    state = trainer.start(network)
    way = Differentiable(batches="train")
    return state, way.training_of(network, trainer, trainer.total_steps).architecture if mixed else None


@pytest.mark.parametrize("augment", ["", "move=D4,turn,mirror,shift=0.1,scale=0.1,intensity=0.1"])
@pytest.mark.parametrize("mixed", [False, True], ids=["static", "mixture"])
def test_a_step_asks_for_no_number_between_the_looks_at_the_loss(mixed, augment):
    trainer = trainer_of(augment)
    state, architecture = prepared(trainer, mixed)
    trainer.advance(state, 1, architecture=architecture)
    seen = {}
    for stretch in (2, 2 + _CHECK_EVERY):  # which end with a look each; the longer has one more on its way
        with Questions() as questions:
            trainer.advance(state, state.step + stretch, architecture=architecture)
        seen[stretch] = questions.count
    in_adam = _CHECK_EVERY * len(architecture.logits) if mixed else 0  # its counts of steps, which stay on the CPU
    assert seen[2 + _CHECK_EVERY] - seen[2] <= 2 + in_adam


@needs_gpu
@pytest.mark.parametrize("mixed", [False, True], ids=["static", "mixture"])
def test_no_step_waits_for_the_gpu(mixed):
    trainer = trainer_of("move=D4,turn,shift=0.1,intensity=0.1", device="cuda")
    state, architecture = prepared(trainer, mixed)
    trainer.advance(state, 3, architecture=architecture)
    network, optimizer = trainer._prepared(state)
    torch.cuda.set_sync_debug_mode("error")
    try:
        x, y = trainer.batches.at(state.step)
        optimizer.zero_grad()
        trainer.fabric.backward(trainer.loss(network(x), y))
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
