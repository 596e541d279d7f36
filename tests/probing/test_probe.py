"""The probe's laws, its verdict where the symmetry is known, and what it says to what it cannot use."""

from dataclasses import replace

import pytest
import torch

import equimorph as em
from equimorph.data import ImageData, Split
from equimorph.errors import ConfigurationError, DataError, ShapeError
from equimorph.layers.features import transform
from equimorph.probing import draw_features
from equimorph.probing._probe import _Averages

GROUPS = {"Z2": 24, "D4": 12, "Oh": 8}  # and the sides of samples
NUM_SUBGROUPS = {"Z2": 2, "D4": 10, "Oh": 98}


def data_of(x, y, classes=("a", "b"), **more):
    split = Split(x, y, **more)
    return ImageData.from_splits("made", split, split, split, classes=classes)


def noise(n=60, shape=(1, 8, 8)):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def halves(n=60):
    return torch.arange(n) % 2


@pytest.mark.parametrize("name", GROUPS)
def test_averages_over_a_subgroup_do_not_change_when_a_sample_is_moved_by_it(name):
    group = em.group(name, dim=3) if name == "Oh" else em.group(name)
    x = torch.randn(3, 2, *[GROUPS[name]] * group.dim)
    phi = draw_features(x, group, generator=torch.Generator().manual_seed(0))
    subgroups = group.subgroups()
    assert len(subgroups) == NUM_SUBGROUPS[name]
    with torch.no_grad():
        averages = _Averages(phi, x, group, subgroups, None)
        scale = averages.over(group.trivial).abs().max()
        turned = [transform(x, h, group, "trivial") for h in range(group.order)]
        moved = [_Averages(phi, one, group, subgroups, None) for one in turned]
    for H in subgroups:
        for h in H.indices:
            difference = (moved[h].over(H) - averages.over(H)).abs().max()
            assert float(difference / scale) < 1e-5  # measured: 6e-7


def test_sums_and_copies_are_the_same_averages():
    group, x = em.group("C4"), noise(5)
    phi = draw_features(x, group, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        kept = _Averages(phi, x, group, group.subgroups(), None)
        copies = _Averages(phi, x, group, [*group.subgroups()] * 2, None)
    assert copies.as_copies and not kept.as_copies
    for H in group.subgroups():
        torch.testing.assert_close(kept.over(H), copies.over(H))


@pytest.mark.parametrize("truth", [H.name for H in em.group("D4").subgroups()])
def test_textures_are_of_the_symmetry_that_they_were_made_with(truth):
    found = em.probe(em.data.make_textures(truth, num_train=375, seed=3))
    assert found.best.name == truth and found[truth].z == 0 and found[truth].left
    for one in found.elements:
        assert one.kept == (one.element in found.best)
        assert one.kept or one.changes


def test_the_same_seed_gives_the_same_verdict_to_the_bit():
    data = em.data.make_textures("C2", num_train=150)
    one, other = (replace(em.probe(data, seed=5), seconds=0) for _ in range(2))
    assert one == other
    assert replace(em.probe(data, seed=6), seconds=0) != one


def test_features_of_ones_own_are_judged_by_the_same_equations():
    data = em.data.make_textures("C1", num_train=100)
    found = em.probe(data, "C4", features=torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()))
    # The mean of an image is the same however it is turned.
    losses = [one.loss for one in found.subgroups]
    assert max(losses) - min(losses) < 1e-6 and not any(one.visible for one in found.elements)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(256), torch.nn.Dropout())
    em.probe(data, "C4", features=network)
    assert all(module.training for module in network.modules()) and network[1].num_batches_tracked == 0
    with pytest.raises(ShapeError, match="one vector for each sample"):
        em.probe(data, "C4", features=torch.nn.Identity())


def test_only_what_is_ruled_out_is_said_to_change_labels():
    """With few samples single classes differ by chance where the group as a whole does not."""
    found = em.probe(em.data.make_textures("D4", num_train=60), seed=1)
    for one in found.elements:
        joined = found.best.group.subgroup_generated_by([*found.best.indices, one.element])
        assert not (one.changes and found[joined.name].left)


def test_a_name_is_no_data_set():
    with pytest.raises(ConfigurationError, match=r"got str; em\.data\.load makes one"):
        em.probe("digits")


def test_features_that_read_nothing_give_no_verdict():
    data = data_of(noise(200), torch.randint(2, (200,), generator=torch.Generator().manual_seed(0)))
    found = em.probe(data, "C4")
    assert not found.reads and found.best is None and found.left == ()
    assert "nothing can be said" in found.verdict and "cannot tell" in str(found)


def test_values_and_labels_are_probed_as_well():
    x = noise(200, (1, 12, 12))
    brightness = x.flatten(1).abs().mean(1)
    upper = x[:, 0, :6].flatten(1).abs().mean(1)
    assert em.probe(data_of(x, brightness, ()), "D4").best is not None
    both = torch.stack([(upper > upper.median()), (brightness > brightness.median())], 1).float()
    assert em.probe(data_of(x, both, ("upper", "all")), "D4").subgroups[0].by_class == {}


def test_samples_that_belong_together_are_left_out_together():
    """Twins with noise for labels: each tells the other's, unless both are left out."""
    base, label = noise(60, (1, 12, 12)), torch.randint(2, (60,), generator=torch.Generator().manual_seed(2))
    x, y, owner = base.repeat(2, 1, 1, 1), label.repeat(2), torch.arange(60).repeat(2)
    fooled = em.probe(data_of(x, y), "C2")
    honest = em.probe(data_of(x, y, groups=owner), "C2")
    assert fooled["C1"].error < 0.2 and honest["C1"].error > 0.35


def test_rare_classes_count_alike_where_that_is_asked_for():
    data = em.data.make_textures("C4", num_train=300)
    keep = torch.cat([(data.train.y == 0).nonzero().flatten(), (data.train.y == 1).nonzero().flatten()[:12]])
    data = replace(data, train=data.train.part(keep))
    plain, balanced = em.probe(data, "D4"), em.probe(data, "D4", balanced=True)
    assert plain["C1"].error < balanced["C1"].error and balanced.guess > plain.guess


def test_samples_are_drawn_and_reduced_and_it_says_so():
    x = noise(120, (1, 40, 40))
    found = em.probe(data_of(x, halves(120)), "C2", num_samples=80)
    assert (found.num_samples, found.num_train, found.side) == (80, 120, 32)
    assert "80 of 120 samples, reduced to 32 pixels" in str(found)


def test_progress_is_told_to_the_end():
    seen = []
    x = noise(100, (1, 32, 32))
    em.probe(data_of(x, halves(100)), "C2", progress=lambda done, of: seen.append((done, of)))
    assert seen == [(64, 100), (100, 100)]


def test_a_notebook_shows_names_as_text():
    data = replace(em.data.make_textures("C4", num_train=100), name="<b>")
    shown = em.probe(data, "C4")._repr_html_()
    assert shown.count("<tr>") == 4 and "<b>" not in shown


@pytest.mark.parametrize(
    ("data", "options", "error", "said"),
    [
        (lambda: data_of(noise(40), halves(40)), {}, DataError, "40 samples, and at least 50"),
        (lambda: data_of(noise(), torch.zeros(60, dtype=torch.long)), {}, DataError, "all samples are of one class"),
        (
            lambda: data_of(noise(), torch.cat([torch.zeros(57), torch.ones(3)]).long()),
            {},
            DataError,
            r"too few of b \(3\)",
        ),
        (lambda: data_of(torch.ones(60, 1, 8, 8), halves()), {}, DataError, "all samples are constant"),
        (lambda: data_of(noise().masked_fill(noise() > 3, torch.inf), halves()), {}, DataError, "not finite"),
        (lambda: data_of(noise(60, (1, 8, 10)), halves()), {}, ShapeError, "8x10; make them square"),
        (lambda: data_of(noise(60, (1, 8)), halves()), {}, ShapeError, "moves 2 axes"),
        (lambda: data_of(noise(60, (1, 4, 4)), halves()), {}, ShapeError, "at least 6 pixels"),
        (lambda: data_of(noise(), noise(), ("a",)), {}, ConfigurationError, "targets are maps"),
        (lambda: data_of(noise(), noise()[:, 0, 0, 0], ()), {"balanced": True}, ConfigurationError, "is for classes"),
    ],
)
def test_what_it_cannot_use_is_refused_with_what_is_needed(data, options, error, said):
    with pytest.raises(error, match=said):
        em.probe(data(), em.group("D4"), **options)
