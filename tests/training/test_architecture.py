"""Architecture steps: what moves when, on which samples, at which temperature, and in which direction."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.data import ImageData, Split
from equimorph.morphisms import mix
from equimorph.search.session import How
from equimorph.training import (
    ArchitectureSteps,
    Trainer,
    TrainingSettings,
    architecture_parameters,
    divided,
)
from equimorph.training.settings import SeedBranch

STEPS = 6
OPTIMIZERS = ["sgd", "adam", "adamw"]


@pytest.fixture(scope="module")
def noise():
    generator = torch.Generator().manual_seed(0)

    def split(count):
        y = torch.arange(count) % 3
        return Split(torch.randn(count, 1, 6, 6, generator=generator) + y[:, None, None, None], y)

    return ImageData.from_splits("noise", split(35), split(20), split(10), classes=("a", "b", "c"))


def make_mixture(**options):
    network = em.models.PaperNetwork(
        group="D4",
        image_size=6,
        in_channels=1,
        num_classes=3,
        fields=1,
        depth=2,
        kernel_size=3,
        head_units=4,
        generator=torch.Generator().manual_seed(0),
    )
    mixture = mix(network, ["C1", "C4", "D4"], **options)
    for logits in architecture_parameters(mixture):
        logits.requires_grad_(False)
    return mixture


def make_trainer(data, **changes):
    return Trainer(data, TrainingSettings(**{"epochs": 2, "batch_size": 10, "device": "cpu"} | changes))


def own_batches(trainer):
    return trainer.batches_of(trainer.train_samples, branch=SeedBranch.ARCHITECTURE_BATCHES)


class Recorder(ArchitectureSteps):
    """Architecture steps that keep the state of all tensors before the weights' step and around the logits'."""

    def __post_init__(self):
        super().__post_init__()
        self.before_weights_steps, self.before_own_steps, self.after_own_steps = [], [], []
        self.gradients, self.temperatures_seen = [], []

    def _state(self):
        return {name: parameter.detach().clone() for name, parameter in self.network.named_parameters()}

    def before_weights(self, step):
        self.before_weights_steps.append(self._state())
        super().before_weights(step)
        self.temperatures_seen.append(
            {float(site.space.temperature) for site in self.network.modules() if hasattr(site, "space")}
        )

    def step(self, step):
        self.before_own_steps.append(self._state())
        super().step(step)
        self.gradients.append([logits.grad.clone() for logits in self.logits])
        self.after_own_steps.append(self._state())


def trained(data, *, own=True, optimizer="sgd", mixture=None, weight_batches=None, steps=STEPS, **options):
    """A recorder after some steps of training, and the trainer."""
    trainer = make_trainer(data, optimizer=optimizer)
    mixture = make_mixture() if mixture is None else mixture
    state = trainer.start(mixture)
    batches = own_batches(trainer) if own else None
    recorder = Recorder(mixture, **{"lr": 0.05, "batches": batches, "total_steps": steps} | options)
    trainer.advance(state, steps, architecture=recorder, batches=weight_batches)
    return recorder, trainer


def moved(one, two):
    """Which of two states' tensors differ: logits, weights."""
    names = {name for name in one if not torch.equal(one[name], two[name])}
    logits = {name for name in one if name.endswith("logits")}
    return names & logits, names - logits


def test_the_logits_are_those_of_every_site_and_no_weight_is_among_them():
    mixture = make_mixture()
    logits = architecture_parameters(mixture)
    assert [len(one) for one in logits] == [3, 3, 3]
    steps = ArchitectureSteps(mixture, lr=0.1, batches=None)
    ids = {id(p) for p in steps.logits} | {id(p) for p in steps.weights}
    assert ids == {id(p) for p in mixture.parameters()} and len(ids) == len(steps.logits) + len(steps.weights)
    assert architecture_parameters(em.relax(nn.Sequential(em.layers.Conv2d(1, 1, 3, group="D4")), "C4")) == []


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_batches_of_their_own_each_step_moves_either_weights_or_logits(noise, optimizer):
    recorder, _ = trained(noise, optimizer=optimizer)
    assert len(recorder.after_own_steps) == STEPS
    for before, between, after in zip(
        recorder.before_weights_steps, recorder.before_own_steps, recorder.after_own_steps, strict=True
    ):
        logits, weights = moved(before, between)
        assert not logits and len(weights) > 6
        logits, weights = moved(between, after)
        assert len(logits) == 3 and not weights
    for after, following in zip(recorder.after_own_steps, recorder.before_weights_steps[1:], strict=False):
        assert moved(after, following) == (set(), set())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_the_same_batch_both_are_moved_and_nothing_else_moves_the_logits(noise, optimizer):
    recorder, _ = trained(noise, own=False, optimizer=optimizer)
    for before, between, after in zip(
        recorder.before_weights_steps, recorder.before_own_steps, recorder.after_own_steps, strict=True
    ):
        logits, weights = moved(before, between)
        assert not logits and len(weights) > 6  # the optimizer of the weights passes the logits over
        logits, weights = moved(between, after)
        assert len(logits) == 3 and not weights


@pytest.mark.parametrize(("own", "passes"), [(False, 1), (True, 2)])
def test_the_same_batch_takes_one_pass_and_batches_of_their_own_two(noise, own, passes):
    mixture, calls, backward = make_mixture(), [], []
    mixture.register_forward_pre_hook(lambda module, inputs: calls.append(module.training))
    mixture.head.classifier.register_full_backward_hook(lambda module, given, gradients: backward.append(1))
    trained(noise, own=own, mixture=mixture)
    assert sum(calls) == len(backward) == passes * STEPS


def test_the_gradient_of_the_same_batch_is_that_of_its_loss_at_the_weights_before_the_step(noise):
    recorder, trainer = trained(noise, own=False, steps=1)
    twin = make_mixture().train()
    logits = architecture_parameters(twin)
    for one in logits:
        one.requires_grad_(True)
    x, y = trainer.batches.at(0)
    expected = torch.autograd.grad(F.cross_entropy(twin(x), y), logits)
    assert all(torch.equal(g, e) for g, e in zip(recorder.gradients[0], expected, strict=True))


def test_the_gradient_of_batches_of_their_own_is_that_of_their_loss_at_the_moved_weights(noise):
    recorder, trainer = trained(noise, steps=1)
    twin = make_mixture().train()
    twin.load_state_dict(recorder.before_own_steps[0], strict=False)
    logits = architecture_parameters(twin)
    for one in logits:
        one.requires_grad_(True)
    x, y = own_batches(trainer).at(0)
    expected = torch.autograd.grad(F.cross_entropy(twin(x), y), logits)
    assert all(torch.equal(g, e) for g, e in zip(recorder.gradients[0], expected, strict=True))


def test_weights_move_as_without_architecture_steps_while_the_logits_stand_still(noise):
    still, _ = trained(noise, lr=0.0, own=True, steps=1)
    trainer, alone = make_trainer(noise), make_mixture()
    trainer.advance(trainer.start(alone), 1)
    found = still.after_own_steps[-1]
    assert all(torch.equal(parameter, found[name]) for name, parameter in alone.named_parameters())


def test_a_held_out_part_reaches_the_logits_alone(noise):
    trainer = make_trainer(noise)
    rest, held = divided(trainer.train_samples, 0.4, seed=0)
    held_batches = trainer.batches_of(held, branch=SeedBranch.ARCHITECTURE_BATCHES)
    mixture, seen = make_mixture(), []

    def note(module, inputs):
        if module.training:
            seen.append((inputs[0], architecture_parameters(module)[0].requires_grad))

    mixture.register_forward_pre_hook(note)
    trained(noise, mixture=mixture, weight_batches=trainer.batches_of(rest), batches=held_batches)
    for part, for_logits in ((rest, False), (held, True)):
        rows = {row.numpy().tobytes() for row in noise.standardize(part.x)}
        batches = [x for x, logits in seen if logits is for_logits]
        assert len(batches) == STEPS and all(row.numpy().tobytes() in rows for x in batches for row in x)


def test_weights_learn_again_after_the_logits_step_even_when_it_fails():
    steps = ArchitectureSteps(make_mixture(), lr=0.1, batches=None)
    with pytest.raises(RuntimeError, match="out of memory"), steps.weights_fixed():
        assert not any(parameter.requires_grad for parameter in steps.weights)
        assert all(logits.requires_grad for logits in steps.logits)
        raise RuntimeError("out of memory")
    assert all(parameter.requires_grad for parameter in steps.weights)


def test_parameters_that_were_frozen_before_stay_frozen():
    mixture = make_mixture()
    mixture.head.classifier.bias.requires_grad_(False)
    steps = ArchitectureSteps(mixture, lr=0.1, batches=None)
    with steps.weights_fixed():
        pass
    assert [name for name, p in mixture.named_parameters() if not p.requires_grad] == ["head.classifier.bias"]


@pytest.mark.parametrize(("first", "last"), [(1.0, 1.0), (5.0, 0.1), (0.5, 4.0)])
def test_the_temperature_goes_geometrically_from_the_first_step_to_the_last(noise, first, last):
    recorder, _ = trained(noise, temperatures=(first, last))
    seen = [temperature for (temperature,) in recorder.temperatures_seen]  # the same at every site
    assert seen[0] == pytest.approx(first) and seen[-1] == pytest.approx(last)
    ratios = [later / earlier for earlier, later in itertools.pairwise(seen)]
    # Measured: 1e-7, the rounding of a buffer in single precision.
    assert ratios == pytest.approx([(last / first) ** (1 / (STEPS - 1))] * (STEPS - 1), rel=1e-6)


def test_the_last_temperature_stays_and_one_step_alone_has_the_first():
    mixture = make_mixture()
    steps = ArchitectureSteps(mixture, lr=0.1, batches=None, temperatures=(4.0, 0.5), total_steps=3)
    for step, expected in ((0, 4.0), (1, math.sqrt(2)), (2, 0.5), (3, 0.5), (50, 0.5)):
        steps.before_weights(step)
        assert mixture.block1.conv.space.temperature.item() == pytest.approx(expected)
    ArchitectureSteps(mixture, lr=0.1, batches=None, temperatures=(4.0, 0.5), total_steps=1).before_weights(0)
    assert mixture.block1.conv.space.temperature.item() == 4.0


def shuffled(seed, *, step=0, mixture=None):
    """The gradients after one shuffled step, where they were 0, 1, 2, ... before it."""
    mixture = make_mixture() if mixture is None else mixture
    steps = ArchitectureSteps(mixture, lr=0.1, batches=None, shuffle_seed=seed)
    for logits, values in zip(steps.logits, torch.arange(9.0).split(3), strict=True):
        logits.grad = values.clone()
    steps.step(step)
    return torch.cat([logits.grad for logits in steps.logits]).tolist()


def test_shuffling_permutes_the_entries_of_the_gradient_among_all_sites():
    orders = [shuffled(0, step=step) for step in range(60)]
    assert all(sorted(order) == list(map(float, range(9))) for order in orders)
    for place in range(9):
        assert {order[place] for order in orders} == set(map(float, range(9)))
    assert len({tuple(order) for order in orders}) == 60


def test_shuffling_repeats_with_its_seed_and_step_alone():
    expected = [shuffled(4, step=step) for step in range(5)]
    torch.manual_seed(8)  # which must not matter
    before = torch.get_rng_state()
    assert [shuffled(4, step=step) for step in reversed(range(5))] == expected[::-1]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(shuffled(5, step=step) != expected[step] for step in range(5))


def test_without_a_seed_nothing_is_shuffled():
    assert shuffled(None) == list(map(float, range(9)))


@pytest.mark.parametrize("own", [True, False])
def test_a_shuffled_training_has_the_gradients_of_the_other_in_another_order(noise, own):
    plain, _ = trained(noise, own=own, steps=1)
    mixed, _ = trained(noise, own=own, steps=1, shuffle_seed=0)
    one, two = (torch.cat(recorder.gradients[0]) for recorder in (plain, mixed))
    assert not torch.equal(one, two) and torch.equal(one.sort().values, two.sort().values)


@pytest.mark.parametrize(("batch_size", "expected"), [(10, 10), (1000, 35)])
def test_samples_of_a_step_are_those_of_the_weights_and_those_of_the_logits(noise, batch_size, expected):
    trainer = make_trainer(noise, batch_size=batch_size)
    own = ArchitectureSteps(make_mixture(), lr=0.1, batches=own_batches(trainer))
    same = ArchitectureSteps(make_mixture(), lr=0.1, batches=None)
    assert (own.samples_per_step, same.samples_per_step) == (expected, 0)
    assert How().samples_per_step(trainer) == How(architecture=same).samples_per_step(trainer) == expected
    assert How(architecture=own).samples_per_step(trainer) == 2 * expected
    rest, held = divided(trainer.train_samples, 0.2, seed=0)
    held_out = ArchitectureSteps(make_mixture(), lr=0.1, batches=trainer.batches_of(held))
    both = How(batches=trainer.batches_of(rest), architecture=held_out)
    assert both.samples_per_step(trainer) == min(batch_size, 28) + min(batch_size, 7)


def test_training_with_architecture_steps_repeats_to_the_bit(noise):
    one, two = (trained(noise, shuffle_seed=3, temperatures=(2.0, 0.5))[0].after_own_steps[-1] for _ in range(2))
    assert moved(one, two) == (set(), set())


def test_no_gradient_is_kept_after_training(noise):
    mixture = make_mixture()
    trained(noise, mixture=mixture)
    assert all(parameter.grad is None for parameter in mixture.parameters())
