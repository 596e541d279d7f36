import itertools
import math

import pytest
import torch

import equimorph as em
from equimorph.errors import ConfigurationError
from equimorph.training import TrainingSettings, derived_seed
from equimorph.training.settings import derived_generator


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"epochs": 0}, "epochs is 0; it must be positive"),
        ({"epochs": -1.0}, "epochs is -1.0"),
        ({"epochs": math.nan}, "epochs is nan"),
        ({"epochs": math.inf}, "epochs is inf"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least one"),
        ({"batch_size": -5}, "batch_size is -5"),
        ({"batch_size": 1}, "batch_size is 1; batch normalisation needs at least two samples"),
        ({"optimizer": "lion"}, 'optimizer is "lion"; it is one of sgd, adam, adamw'),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
        ({"lr": -0.1}, "lr is -0.1"),
        ({"lr": math.nan}, "lr is nan"),
        ({"lr": math.inf}, "lr is inf"),
        ({"momentum": 1.0}, "momentum is 1.0; it must be at least 0 and below 1"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"momentum": math.nan}, "momentum is nan"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001; it must not be negative"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"weight_decay": math.inf}, "weight_decay is inf"),
        ({"schedule": "step"}, 'schedule is "step"; it is one of cosine, constant'),
        ({"precision": "16"}, 'precision is "16"; it is one of 32, 64, bf16-mixed, 16-mixed'),
        ({"seed": -1}, "seed is -1; it must not be negative"),
        ({"device": "tpu"}, 'device is "tpu"; it is auto, cpu, cuda, cuda:1 or mps'),
        ({"device": "cuda:x"}, 'device is "cuda:x"'),
        ({"device": "cpu:0"}, 'device is "cpu:0"'),
        ({"device": ""}, 'device is ""'),
    ],
    ids=str,
)
def test_a_value_outside_its_range_is_refused_in_one_line(setting, said):
    with pytest.raises(ConfigurationError) as caught:
        TrainingSettings(**setting)
    assert str(caught.value).startswith(f"training: {said}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:3", "mps"])
def test_devices_have_these_names(device):
    assert TrainingSettings(device=device).device == device


@pytest.mark.parametrize(
    ("optimizer", "rate", "kind"),
    [("sgd", 0.05, torch.optim.SGD), ("adam", 1e-3, torch.optim.Adam), ("adamw", 1e-3, torch.optim.AdamW)],
)
def test_each_optimizer_has_its_own_rate_unless_one_is_given(optimizer, rate, kind):
    assert TrainingSettings(optimizer=optimizer).learning_rate == rate
    assert TrainingSettings(optimizer=optimizer, lr=0.3).learning_rate == 0.3
    assert TrainingSettings(optimizer=optimizer).optimizer_class is kind


def test_the_cosine_begins_at_one_falls_all_the_way_and_ends_near_zero():
    settings, total = TrainingSettings(schedule="cosine"), 200
    factors = [settings.rate_factor(step, total) for step in range(total)]
    assert factors[0] == 1 and factors[total // 2] == pytest.approx(0.5) and 0 < factors[-1] < 1e-4
    assert all(later < earlier for earlier, later in itertools.pairwise(factors))
    assert settings.rate_factor(total, total) == settings.rate_factor(total + 5, total) == pytest.approx(0, abs=1e-15)


def test_the_constant_schedule_leaves_the_rate():
    assert {TrainingSettings(schedule="constant").rate_factor(step, 10) for step in range(12)} == {1.0}


def test_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        TrainingSettings().epochs = 3


def test_derived_seeds_differ_by_seed_and_by_path():
    paths = [(1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2), (1, 0, 1), (2, 3, 4), (4, 3, 2)]
    seeds = {derived_seed(seed, *path) for seed in range(20) for path in paths}
    assert len(seeds) == 20 * len(paths)
    assert derived_seed(3, 1, 4) == em.training.derived_seed(3, 1, 4)


def test_derived_seeds_differ_when_a_path_goes_on_with_a_zero():
    assert len({derived_seed(0), derived_seed(0, 0), derived_seed(0, 0, 0)}) == 3
    assert derived_seed(5, 1) != derived_seed(5, 1, 0)


def test_a_generator_takes_every_derived_seed():
    drawn = {float(torch.rand((), generator=derived_generator(seed, 1))) for seed in (0, 1, 2**31, 2**63, 2**100)}
    assert len(drawn) == 5
    one, two = (torch.rand(3, generator=derived_generator(5, 2)) for _ in range(2))
    assert torch.equal(one, two)
