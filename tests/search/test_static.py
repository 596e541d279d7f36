"""Fixed architectures: the constraints that were asked for, trained from scratch for the whole lineage."""

import pytest
import torch

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError
from equimorph.search import Static, strategy_named


@pytest.mark.parametrize(
    ("name", "chain"), [("static:C4", ["C4"] * 3), ("chain:D4,C4,C1", ["D4", "C4", "C1"]), ("static:D1", ["D1@90"] * 3)]
)
def test_the_network_has_the_constraints_that_were_named(name, chain, data, network, settings):
    result = strategy_named(name).run(network, data, training=settings)
    assert list(result.candidate.constraints) == chain
    assert result.candidate.samples == 3 * 96
    assert len([line for line in result.history if line["event"] == "candidate"]) == 1


def test_training_starts_from_fresh_weights_that_the_seed_alone_decides(data, network, settings):
    other = em.reinitialize(network, torch.Generator().manual_seed(99))
    one, two = (Static("D4").run(start, data, training=settings) for start in (network, other))
    assert one.history == two.history


@pytest.mark.parametrize(
    ("name", "error", "needed"),
    [
        ("chain:D4,C4", ConfigurationError, "2 subgroups for 3 sites; there are block1.conv"),
        ("chain:C4,D4,D4", ConfigurationError, "grow with depth"),
        ("static:C3", GroupError, 'no subgroup "C3"'),
        ("static", ConfigurationError, 'no strategy "static"'),
        ("annealing", ConfigurationError, "there are evolutionary, differentiable, growth, static:H"),
    ],
)
def test_wrong_names_are_refused(name, error, needed, data, network, settings):
    with pytest.raises(error, match=needed):
        strategy_named(name).run(network, data, training=settings)
