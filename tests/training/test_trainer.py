import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em
from equimorph.data import ImageData, Split
from equimorph.errors import ConfigurationError, DivergedError
from equimorph.training import Trainer, TrainingSettings, error_rate

OPTIMIZERS = ["sgd", "adam", "adamw"]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


@pytest.fixture(scope="module")
def noise():
    """Three classes of noise with means apart: 35 samples for training, 20 for validation, 10 for the test."""
    generator = torch.Generator().manual_seed(0)

    def split(count):
        y = torch.arange(count) % 3
        return Split(torch.randn(count, 1, 6, 6, generator=generator) + y[:, None, None, None], y)

    return ImageData.from_splits("noise", split(35), split(20), split(10), classes=("a", "b", "c"))


@pytest.fixture
def make_network():
    """Networks of D4 whose initial values are always the same; with dropout before the classifier when asked for."""

    def make(*, dropout=0.0):
        network = em.models.PaperNetwork(
            group="D4",
            image_size=6,
            in_channels=1,
            num_classes=3,
            fields=1,
            depth=1,
            kernel_size=3,
            head_units=4,
            generator=torch.Generator().manual_seed(0),
        )
        if dropout:
            network.head = nn.Sequential(nn.Dropout(dropout), network.head)
        return network

    return make


def settings_of(**changes):
    return TrainingSettings(**{"epochs": 3, "batch_size": 10, "device": "cpu"} | changes)  # 3 steps an epoch, 9 in all


def trained(data, network, *ends, candidate=0, **changes):
    """The network, the evaluation and the reports after a training cut at these steps."""
    trainer = Trainer(data, settings_of(**changes))
    state = trainer.start(network)
    reports = []
    for end in ends or (trainer.total_steps,):
        evaluation = trainer.advance(state, end, candidate=candidate, on_report=reports.append)
    return network, evaluation, reports


def assert_same_state(one, two):
    states = one.state_dict(), two.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(table, states[1][name]) for name, table in states[0].items())


def same_state(one, two):
    return all(torch.equal(table, two.state_dict()[name]) for name, table in one.state_dict().items())


class Batches:
    """A loss that keeps which samples it was given in training; their labels must be their numbers."""

    def __init__(self):
        self.seen = []

    def __call__(self, outputs, targets):
        if torch.is_grad_enabled():
            self.seen.append(targets.tolist())
        return outputs.square().mean()


@pytest.fixture
def numbered():
    """Data whose labels are the numbers of their samples."""

    def split(first, count):
        return Split(torch.randn(count, 1, 6, 6), torch.arange(first, first + count))

    return ImageData.from_splits(
        "numbered", split(0, 35), split(100, 20), split(200, 10), classes=tuple(map(str, range(210)))
    )


def zero_metric(outputs, targets):
    return outputs.new_zeros(())


def test_the_length_of_a_lineage_is_its_epochs_in_whole_batches(noise):
    for epochs, batch_size, per_epoch, total in (
        (3, 10, 3, 9),
        (0.5, 10, 3, 2),
        (1, 35, 1, 1),
        (2, 1000, 1, 2),
        (0.001, 10, 3, 1),
        (2.5, 12, 2, 5),
    ):
        trainer = Trainer(noise, settings_of(epochs=epochs, batch_size=batch_size))
        assert (trainer.steps_per_epoch, trainer.total_steps) == (per_epoch, total)
        assert trainer.batch_size == min(batch_size, 35)


@every_optimizer
def test_training_learns(noise, make_network, optimizer):
    before = Trainer(noise, settings_of()).evaluate(make_network(), "validation")
    rate = 0.1 if optimizer == "sgd" else 0.03
    _, after, reports = trained(noise, make_network(), epochs=15, lr=rate, optimizer=optimizer)
    assert after.loss < 0.7 * before.loss and after.error < before.error
    assert reports[-1].train_loss < reports[0].train_loss


@every_optimizer
def test_cutting_a_training_in_stretches_changes_nothing_to_the_bit(noise, make_network, optimizer):
    whole, evaluation, _ = trained(noise, make_network(), 9, optimizer=optimizer)
    for cuts in ((4, 9), (3, 9), (1, 2, 5, 8, 9), (9, 9)):
        pieces, found, _ = trained(noise, make_network(), *cuts, optimizer=optimizer)
        assert_same_state(whole, pieces)
        assert found == evaluation


def test_the_rate_is_that_of_the_lineage_however_it_is_cut(noise, make_network):
    for cuts in ((9,), (4, 7, 9)):
        _, _, reports = trained(noise, make_network(), *cuts, lr=0.2)
        for report in reports:
            last_step = round(3 * report.epoch) - 1
            assert report.learning_rate == pytest.approx(0.2 * 0.5 * (1 + math.cos(math.pi * last_step / 9)))


def test_every_parameter_follows_the_schedule_from_its_own_rate(noise, make_network):
    trainer = Trainer(noise, settings_of(lr=0.2))
    state = trainer.start(make_network())
    initial = [group["lr"] for group in state.optimizer.param_groups]
    assert initial == [group["lr"] for group in em.parameter_groups(state.network, lr=0.2)]
    trainer.advance(state, 4)
    factor = trainer.settings.rate_factor(3, 9)
    assert [group["lr"] for group in state.optimizer.param_groups] == pytest.approx([rate * factor for rate in initial])


@pytest.mark.parametrize("batch_size", [5, 10, 16, 64])
def test_every_sample_comes_at_most_once_an_epoch_and_in_another_order_each(numbered, make_network, batch_size):
    loss = Batches()
    trainer = Trainer(numbered, settings_of(batch_size=batch_size, epochs=2), loss=loss, metric=zero_metric)
    trainer.advance(trainer.start(make_network()), trainer.total_steps)
    size = min(batch_size, 35)
    assert [len(batch) for batch in loss.seen] == [size] * (2 * (35 // size))
    first, second = (list(itertools.chain(*part)) for part in (loss.seen[: 35 // size], loss.seen[35 // size :]))
    for samples in (first, second):
        assert len(set(samples)) == len(samples) and set(samples) <= set(range(35))
    assert first != second


def test_all_lineages_of_a_run_see_the_same_batches_wherever_they_are_cut(numbered, make_network):
    seen = []
    for candidate, cuts in ((0, (9,)), (1, (2, 9)), (7, (5, 6, 9))):
        loss = Batches()
        trainer = Trainer(numbered, settings_of(), loss=loss, metric=zero_metric)
        state = trainer.start(make_network())
        for end in cuts:
            trainer.advance(state, end, candidate=candidate)
        seen.append(loss.seen)
    assert seen[0] == seen[1] == seen[2]


def test_two_lineages_that_take_turns_see_the_same_batches_too(numbered, make_network):
    loss = Batches()
    trainer = Trainer(numbered, settings_of(), loss=loss, metric=zero_metric)
    states = [trainer.start(make_network()) for _ in range(2)]
    for end in (4, 9):
        for state in states:
            trainer.advance(state, end)
    first, second = loss.seen[:4] + loss.seen[8:13], loss.seen[4:8] + loss.seen[13:]
    assert first == second


@every_optimizer
def test_the_same_seed_gives_the_same_weights_and_another_one_does_not(noise, make_network, optimizer):
    one, two, other = (trained(noise, make_network(), optimizer=optimizer, seed=seed)[0] for seed in (1, 1, 2))
    assert_same_state(one, two)
    assert not same_state(one, other)


def test_dropout_repeats_with_the_candidate_and_its_seed_alone(noise, make_network):
    runs = [(0, 0), (0, 0), (0, 1), (1, 0)]
    networks = []
    for number, (seed, candidate) in enumerate(runs):
        torch.manual_seed(number)  # which must not matter
        networks.append(trained(noise, make_network(dropout=0.5), seed=seed, candidate=candidate)[0])
    assert_same_state(networks[0], networks[1])
    assert not same_state(networks[0], networks[2]) and not same_state(networks[0], networks[3])


def test_the_candidates_number_matters_for_nothing_but_what_the_network_draws(noise, make_network):
    one, two = (trained(noise, make_network(), candidate=candidate)[0] for candidate in (0, 1))
    assert_same_state(one, two)


def test_training_leaves_the_global_generator_alone(noise, make_network):
    network = make_network(dropout=0.5)
    before = torch.get_rng_state()
    trained(noise, network)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("first_bad_step", [0, 1, 2, 5, 24, 25, 26, 29])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_told_with_its_first_step(noise, make_network, first_bad_step, value):
    steps = []

    def loss(outputs, targets):
        if torch.is_grad_enabled():
            steps.append(targets)
        bad = torch.is_grad_enabled() and len(steps) > first_bad_step
        return F.cross_entropy(outputs, targets) + (value if bad else 0.0)

    trainer = Trainer(noise, settings_of(epochs=10), loss=loss)
    with pytest.raises(DivergedError) as caught:
        trainer.advance(trainer.start(make_network()), trainer.total_steps)
    assert caught.value.step == first_bad_step
    assert f"not a finite number since step {first_bad_step + 1}; try a smaller --lr." in str(caught.value)
    assert len(steps) <= first_bad_step + 3  # it is noticed at the end of the epoch


@pytest.mark.parametrize("what", ["loss", "metric"])
def test_a_loss_or_error_that_is_no_number_in_validation_alone_is_told_too(noise, make_network, what):
    def measure(outputs, targets):
        return F.cross_entropy(outputs, targets) * (1 if torch.is_grad_enabled() else math.nan)

    trainer = Trainer(noise, settings_of(), **{what: measure})
    with pytest.raises(DivergedError) as caught:
        trainer.advance(trainer.start(make_network()), 9)
    assert caught.value.step == 2  # the last one before the validation


def test_a_rate_too_large_diverges_and_says_what_to_try(noise, make_network):
    with pytest.raises(DivergedError, match="try a smaller --lr"):
        trained(noise, make_network(), lr=1e30)


def test_reports_come_at_the_end_of_each_epoch_and_of_the_stretch(noise, make_network):
    for cuts, epochs in (((9,), [1, 2, 3]), ((4, 9), [1, 4 / 3, 2, 3]), ((3, 6), [1, 2]), ((1,), [1 / 3])):
        _, evaluation, reports = trained(noise, make_network(), *cuts)
        assert [report.epoch for report in reports] == pytest.approx(epochs)
        assert reports[-1].validation == evaluation


def test_the_training_loss_of_a_report_is_the_mean_since_the_last(noise, make_network):
    losses = []

    def loss(outputs, targets):
        value = F.cross_entropy(outputs, targets)
        if torch.is_grad_enabled():
            losses.append(float(value.detach()))
        return value

    trainer = Trainer(noise, settings_of(), loss=loss)
    reports = []
    state = trainer.start(make_network())
    for end in (4, 9):
        trainer.advance(state, end, on_report=reports.append)
    stretches = [losses[:3], losses[3:4], losses[4:6], losses[6:]]
    assert [report.train_loss for report in reports] == pytest.approx([sum(part) / len(part) for part in stretches])


def test_steps_are_told_as_they_are_done(noise, make_network):
    told = []
    trainer = Trainer(noise, settings_of(epochs=20))
    state = trainer.start(make_network())
    trainer.advance(state, 40, on_steps=told.append)
    trainer.advance(state, 60, on_steps=told.append)
    assert sum(told) == 60 == state.step and min(told) > 0


def test_choices_are_made_on_the_validation_split_and_nothing_else(noise, make_network):
    wrecked = {
        name: ImageData(**{**vars(noise), name: Split(getattr(noise, name).x.flip(0), getattr(noise, name).y)})
        for name in ("validation", "test")
    }
    network, evaluation, reports = trained(noise, make_network())
    for name, data in wrecked.items():
        same, found, others = trained(data, make_network())
        assert_same_state(network, same)  # neither split is learned from
        assert (found == evaluation) == (others == reports) == (name == "test")


def test_evaluation_is_the_mean_over_a_split_of_more_than_one_batch(make_network):
    count = 1100  # more than are measured at a time
    split = Split(torch.randn(count, 1, 6, 6), torch.arange(count) % 3)
    data = ImageData.from_splits("many", split, split, split, classes=("a", "b", "c"))
    trainer = Trainer(data, settings_of(precision="64"))
    network = trainer.start(make_network()).network
    found = trainer.evaluate(network, "test")
    outputs = network.eval()(data.standardize(split.x, torch.float64)).detach()
    assert found.loss == pytest.approx(float(F.cross_entropy(outputs, split.y)))
    assert found.error == pytest.approx(float((outputs.argmax(1) != split.y).double().mean()), abs=1e-6)


def test_evaluation_changes_neither_weights_nor_statistics(noise, make_network):
    network = make_network(dropout=0.5).train()
    before = copy.deepcopy(network)
    trainer = Trainer(noise, settings_of())
    one, two = (trainer.evaluate(network, "test") for _ in range(2))
    assert one == two  # so without dropout
    assert_same_state(network, before)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_stretch_of_no_steps_only_measures(noise, make_network):
    trainer = Trainer(noise, settings_of())
    state = trainer.start(make_network())
    before = copy.deepcopy(state.network)
    assert trainer.advance(state, 0) == trainer.evaluate(before, "validation")
    assert_same_state(state.network, before)


def test_gradients_are_not_kept(noise, make_network):
    network, _, _ = trained(noise, make_network())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_loss_and_metric_are_the_callers(noise, make_network):
    trainer = Trainer(
        noise,
        settings_of(),
        loss=lambda outputs, targets: outputs.sum() * 0 + 2,
        metric=lambda outputs, targets: targets.double().mean(),
    )
    state = trainer.start(make_network())
    evaluation = trainer.advance(state, 3)
    assert (evaluation.loss, evaluation.error) == (2, pytest.approx(float(noise.validation.y.double().mean())))


def test_the_error_rate_is_the_share_of_wrong_answers():
    outputs = torch.tensor([[1.0, 0, 0], [0, 2, 1], [0, 0, 3], [5, 4, 3]])
    assert float(error_rate(outputs, torch.tensor([0, 1, 0, 1]))) == 0.5
    assert float(error_rate(outputs[:3], torch.tensor([0, 1, 0]))) == 1 / 3  # no rounding to single precision


@every_optimizer
def test_double_precision_is_that_of_weights_statistics_and_moments(noise, make_network, optimizer):
    trainer = Trainer(noise, settings_of(precision="64", optimizer=optimizer))
    state = trainer.start(make_network())
    trainer.advance(state, 4)
    assert {table.dtype for table in state.network.state_dict().values()} == {torch.float64}
    moments = [table for entry in state.optimizer.state.values() for name, table in entry.items() if name != "step"]
    assert moments and {table.dtype for table in moments} == {torch.float64}


def test_double_precision_is_that_of_the_outputs_too(noise, make_network):
    seen = []

    def loss(outputs, targets):
        seen.append(outputs.dtype)
        return F.cross_entropy(outputs, targets)

    trainer = Trainer(noise, settings_of(precision="64"), loss=loss)
    trainer.advance(trainer.start(make_network()), 4)
    assert set(seen) == {torch.float64}


def test_mixed_precision_keeps_single_precision_weights_and_stays_near(noise, make_network):
    single, one, _ = trained(noise, make_network(), 3)
    mixed, two, _ = trained(noise, make_network(), 3, precision="bf16-mixed")
    assert {table.dtype for table in mixed.state_dict().values()} == {torch.float32}
    assert two.loss == pytest.approx(one.loss, rel=0.05) and not same_state(single, mixed)


@pytest.mark.parametrize(
    ("device", "there"),
    [("cuda", torch.cuda.is_available()), ("cuda:99", False), ("mps", torch.backends.mps.is_available())],
)
def test_a_device_that_is_not_there_is_refused(noise, device, there):
    if there:
        pytest.skip(f"{device} is there")
    with pytest.raises(ConfigurationError, match=f'no device "{device}" here; try "cpu" or "auto"'):
        Trainer(noise, settings_of(device=device))


@every_optimizer
def test_starting_takes_the_settings_of_the_optimizer(noise, make_network, optimizer):
    settings = settings_of(optimizer=optimizer, lr=0.2, momentum=0.7, weight_decay=0.01)
    state = Trainer(noise, settings).start(make_network())
    expected = em.parameter_groups(state.network, lr=0.2, weight_decay=0.01, optimizer=settings.optimizer_class)
    assert type(state.optimizer) is settings.optimizer_class and state.step == 0
    for group, wanted in zip(state.optimizer.param_groups, expected, strict=True):
        assert all(group[key] == wanted[key] for key in wanted if key != "params")
        assert optimizer != "sgd" or group["momentum"] == 0.7


def test_a_network_of_torchs_own_layers_trains_too(noise):
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    before = copy.deepcopy(network)
    trained(noise, network)
    assert not same_state(network, before)
