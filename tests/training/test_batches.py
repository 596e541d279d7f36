"""Batches: a function of seed and step, each sample at most once a pass, moved by every element when told to."""

import itertools
from collections import Counter

import pytest
import torch

import equimorph as em
from equimorph.data import Augmentation, ImageData, Split
from equimorph.errors import ConfigurationError
from equimorph.layers.features import transform
from equimorph.training import Batches, divided
from equimorph.training.settings import SeedBranch

D4 = em.group("D4")
FIRST, SECOND = [0, 16, 11, 19, 21, 4, 23, 9], [29, 3, 20, 22, 2, 34, 8, 30]
FIRST_WEIGHTED, SECOND_WEIGHTED = [18, 22, 31, 32, 32, 34, 10, 27], [24, 10, 28, 19, 16, 25, 25, 32]
MOVED_BY = [1, 6, 2, 4, 6, 7, 7, 4]  # elements of D4


@pytest.fixture(scope="module")
def samples():
    """35 samples whose labels are their numbers."""
    return Split(torch.randn(35, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(35))


@pytest.fixture(scope="module")
def numbered(samples):
    return ImageData.from_splits("numbered", samples, samples, samples, classes=tuple(map(str, range(35))))


def same_batch(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("augmentation", [None, Augmentation(2, move="D4")], ids=str)
def test_a_batch_depends_on_seed_and_step_alone(numbered, samples, augmentation):
    options = {"seed": 3, "augmentation": augmentation}
    straight = Batches(numbered, samples, 8, **options)
    expected = [straight.at(step) for step in range(20)]
    torch.manual_seed(5)  # which must not matter
    jumping = Batches(numbered, samples, 8, **options)
    for step in (19, 0, 7, 7, 3, 12, 4, 0, 19):
        assert same_batch(jumping.at(step), expected[step])
    other = Batches(numbered, samples, 8, **options | {"seed": 4})
    assert all(other.at(step)[1].tolist() != expected[step][1].tolist() for step in range(20))


def test_drawing_leaves_torchs_global_generator_alone(numbered, samples):
    before = torch.get_rng_state()
    Batches(numbered, samples, 8, seed=0, augmentation=Augmentation(2, move="D4")).at(3)
    divided(samples, 0.2, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_branches_of_a_seed_draw_different_orders(numbered, samples):
    orders = [
        Batches(numbered, samples, 35, seed=0, branch=branch).at(0)[1].tolist()
        for branch in (SeedBranch.BATCHES, SeedBranch.ARCHITECTURE_BATCHES)
    ]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize(("size", "per_pass"), [(1, 35), (5, 7), (8, 4), (18, 1), (35, 1), (36, 1), (1000, 1)])
def test_each_pass_visits_every_sample_at_most_once_in_an_order_of_its_own(numbered, samples, size, per_pass):
    batches = Batches(numbered, samples, size, seed=0)
    assert (batches.size, batches.per_pass) == (min(size, 35), per_pass)
    orders = []
    for number in range(4):
        chosen = [batches.at(number * per_pass + position)[1].tolist() for position in range(per_pass)]
        assert {len(batch) for batch in chosen} == {batches.size}
        orders.append(tuple(itertools.chain(*chosen)))
        assert len(set(orders[-1])) == len(orders[-1]) == per_pass * batches.size
    assert len(set(orders)) == 4
    left_out = 35 - per_pass * batches.size
    assert left_out < batches.size


def test_what_a_pass_leaves_out_comes_in_another(numbered, samples):
    batches = Batches(numbered, samples, 18, seed=0)
    assert len({number for step in range(12) for number in batches.at(step)[1].tolist()}) == 35


def test_samples_are_standardised_and_go_with_their_targets(numbered, samples, dtype):
    x, y = Batches(numbered, samples, 8, seed=0, dtype=dtype).at(2)
    assert x.dtype == dtype and torch.equal(x, numbered.standardize(samples.x[y], dtype))


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_augmentation_draws_every_element_and_no_other_for_each_sample_on_its_own(numbered, samples, H):
    batches = Batches(numbered, samples, 35, seed=0, augmentation=Augmentation(2, move=H.name))
    plain = Batches(numbered, samples, 35, seed=0)
    drawn, uniform_batches = Counter(), 0
    for step in range(40):
        (x, y), (original, labels) = batches.at(step), plain.at(step)
        assert torch.equal(y, labels)  # the same samples in the same order
        images = [transform(original, element, D4, "trivial") for element in range(D4.order)]
        found = [
            next(element for element in range(D4.order) if torch.equal(images[element][i], x[i])) for i in range(len(x))
        ]
        drawn.update(found)
        uniform_batches += len(set(found)) == 1
    assert set(drawn) == set(H.indices)
    expected = 35 * 40 / H.order
    # Six standard deviations of a count; the seed is fixed, so that this passes always or never.
    assert all(abs(count - expected) < 6 * expected**0.5 for count in drawn.values())
    assert uniform_batches == (40 if H.order == 1 else 0)


def test_augmentation_moves_a_sample_anew_in_each_pass_and_alike_in_each_run(numbered, samples):
    one, two = (Batches(numbered, samples, 35, seed=0, augmentation=Augmentation(2, move="D4")) for _ in range(2))
    assert all(same_batch(one.at(step), two.at(step)) for step in (0, 5, 1))
    poses = set()
    for step in range(60):
        x, y = one.at(step)
        poses.add(x[y == 17].numpy().tobytes())
    assert len(poses) == 8


@pytest.mark.parametrize("share", [0.06, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_divided_parts_have_no_sample_in_common_and_are_everything_together(samples, share, seed):
    rest, held = divided(samples, share, seed=seed)
    assert len(held) == round(share * 35) and len(rest) == 35 - len(held)
    assert sorted(rest.y.tolist() + held.y.tolist()) == list(range(35))
    for part in (rest, held):
        assert torch.equal(part.x, samples.x[part.y])


def test_a_division_repeats_with_its_seed_alone(samples):
    one, two, other = (divided(samples, 0.2, seed=seed)[1].y.tolist() for seed in (1, 1, 2))
    assert one == two and one != other


@pytest.mark.parametrize(
    ("count", "share", "said"),
    [
        (35, 0.01, "0.01 of 35 training samples leaves 0 held out and 35 to train on; both parts need at least two"),
        (35, 0.03, "leaves 1 held out"),
        (35, 0.99, "leaves 35 held out and 0 to train on"),
        (35, 0.97, "and 1 to train on"),
        (3, 0.5, "leaves 2 held out and 1 to train on"),
    ],
)
def test_parts_too_small_to_be_trained_on_are_refused(samples, count, share, said):
    with pytest.raises(ConfigurationError, match=said):
        divided(Split(samples.x[:count], samples.y[:count]), share, seed=0)


def test_four_samples_are_the_least_that_can_be_divided(samples):
    rest, held = divided(Split(samples.x[:4], samples.y[:4]), 0.5, seed=0)
    assert len(rest) == len(held) == 2


@pytest.mark.parametrize(
    ("weights", "first", "second"),
    [(None, FIRST, SECOND), (torch.arange(35.0).double(), FIRST_WEIGHTED, SECOND_WEIGHTED)],
    ids=["as they are", "weighted"],
)
def test_the_first_batches_are_the_same_on_every_machine(numbered, samples, weights, first, second):
    batches = Batches(numbered, samples, 8, seed=0, weights=weights)
    assert [batches.at(0)[1].tolist(), batches.at(1)[1].tolist()] == [first, second]


def test_a_drawn_augmentation_is_the_same_on_every_machine(numbered, samples):
    batches = Batches(numbered, samples, 8, seed=0, augmentation=Augmentation(2, move="D4"))
    plain = Batches(numbered, samples, 8, seed=0)
    (moved, _), (original, _) = batches.at(0), plain.at(0)
    found = [
        [torch.equal(transform(x[None], g, D4, "trivial")[0], y) for g in range(8)].index(True)
        for x, y in zip(original, moved, strict=True)
    ]
    assert found == MOVED_BY
