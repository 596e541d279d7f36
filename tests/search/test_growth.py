"""Growth: three stretches of one lineage, at the price of one training."""

import pytest
import torch

import equimorph as em
from equimorph.errors import ConfigurationError
from equimorph.search import Growth


def test_one_lineage_is_trained_and_no_more(data, network, settings):
    result = Growth(result="continued").run(network, data, training=settings)
    lines = [line for line in result.history if line["event"] == "candidate"]
    assert [line["move"] for line in lines] == ["start", "relax all sites", "project on what grew"]
    assert result.history[-1]["samples"] == 3 * 96
    assert [set(lines[0]["constraints"]), set(lines[1]["constraints"])] == [{"D4"}, {"C1"}]


def test_retrained_it_is_the_chain_trained_by_hand(data, network, settings):
    result = Growth(groups=["C4"]).run(network, data, training=settings)
    by_hand = em.search.Static(list(result.candidate.constraints)).run(network, data, training=settings)
    assert (result.test_error, result.candidate.validation_loss) == (
        by_hand.test_error,
        by_hand.candidate.validation_loss,
    )
    # A sixth and a third of the 9 steps of the lineage, rounded, come before.
    assert result.history[-1]["samples"] == (9 + 2 + 3) * 32


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ({"groups": ["D4"]}, "nothing to search"),
        ({"groups": ["C3"]}, 'no subgroup "C3"'),
        ({"initial_epochs": 3.0}, "each of the three stretches needs a step"),
        ({"probe_epochs": 0.01}, "each of the three stretches needs a step"),
        ({"clear": 0.0}, "clear is 0.0"),
        ({"faint": -1.0}, "faint is -1.0"),
        ({"result": "mixture"}, 'result is "mixture"; it is one of continued, retrained'),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(options, needed, data, network, settings, tmp_path):
    with pytest.raises(em.EquimorphError, match=needed):
        Growth(**options).run(network, data, training=settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nonsense_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="probe_epochs is -1"):
        Growth(probe_epochs=-1)


@pytest.mark.parametrize("truth", ["C4", "D1@90"])
def test_the_symmetry_that_a_task_is_known_to_have_is_found(truth):
    textures = em.data.make_textures(truth, num_train=1000, num_validation=200, num_test=200)
    start = em.models.PaperNetwork(
        group="D4",
        image_size=16,
        in_channels=1,
        num_classes=2,
        fields=(2, 2),
        depth=3,
        head_units=16,
        generator=torch.Generator().manual_seed(0),
    )
    settings = em.training.TrainingSettings(epochs=10, batch_size=50, device="cpu")
    result = Growth(result="continued").run(start, textures, training=settings)
    assert result.candidate.constraints[-1] == truth
    evidence = next(line["evidence"] for line in result.history if line["event"] == "growth")
    assert max(evidence, key=evidence.get) == truth
    assert result.test_error < 0.05  # chance is 0.5
