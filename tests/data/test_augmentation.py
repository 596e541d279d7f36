import pytest
import torch

from equimorph.data import move_randomly
from equimorph.errors import ShapeError
from equimorph.groups import group
from equimorph.layers.features import transform

D4 = group("D4")
every_subgroup = pytest.mark.parametrize("subgroup", D4.subgroups(), ids=str)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images_of(sample, subgroup):
    """The sample moved by each element of the subgroup, shape (|H|, channels, *spatial)."""
    return torch.cat([transform(sample[None], element, subgroup.group, "trivial") for element in subgroup.indices])


def elements_of(x, moved, subgroup):
    """Which element took each sample to where it is: positions in the subgroup; every sample has trivial stabiliser."""
    found = []
    for before, after in zip(x, moved, strict=True):
        equal = [torch.equal(image, after) for image in images_of(before, subgroup)]
        assert sum(equal) == 1
        found.append(equal.index(True))
    return torch.tensor(found)


@every_subgroup
def test_every_sample_is_moved_by_one_element_and_every_element_occurs_as_often(subgroup):
    x = torch.randn(400, 2, 3, 3)
    counts = elements_of(x, move_randomly(x, subgroup, generator()), subgroup).bincount(minlength=subgroup.order)
    # Each count is binomial; four of its standard deviations.
    share = 1 / subgroup.order
    assert (counts - 400 * share).abs().max() <= 4 * (400 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize(
    ("name", "shape"), [("Z2", (5,)), ("C2", (4, 6)), ("D2", (4, 6)), ("Oh", (3, 3, 3)), ("C4v", (3, 3, 2))], ids=str
)
def test_signals_volumes_and_oblong_images_are_moved_too(name, shape):
    subgroup = group(name, dim=len(shape)).whole
    x = torch.randn(30 * subgroup.order, 1, *shape)
    elements = elements_of(x, move_randomly(x, subgroup, generator()), subgroup)
    assert elements.unique().tolist() == list(range(subgroup.order))


def test_the_trivial_subgroup_moves_nothing_and_returns_a_new_tensor():
    x = torch.randn(5, 2, 4, 6)
    moved = move_randomly(x, D4.trivial, generator())
    assert torch.equal(moved, x) and moved.data_ptr() != x.data_ptr()


@every_subgroup
def test_what_was_handed_in_stays_as_it_was(subgroup):
    x = torch.randn(20, 1, 4, 4)
    before = x.clone()
    move_randomly(x, subgroup, generator())
    assert torch.equal(x, before)


def test_samples_are_moved_independently_of_each_other():
    x = torch.randn(1600, 1, 3, 3)
    elements = elements_of(x, move_randomly(x, D4.whole, generator()), D4.whole)
    pairs = (elements[:-1] * 8 + elements[1:]).bincount(minlength=64)
    assert (pairs - 1599 / 64).abs().max() < 5 * 5  # each has a standard deviation of 5


@every_subgroup
def test_the_generator_alone_decides(subgroup):
    x = torch.randn(50, 1, 4, 4)
    before = torch.get_rng_state()
    first, again, other = (move_randomly(x, subgroup, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (subgroup.order == 1)
    one = generator()
    assert torch.equal(move_randomly(x, subgroup, one), move_randomly(x, subgroup, one)) == (subgroup.order == 1)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float16, torch.float32, torch.float64], ids=str)
def test_the_dtype_is_kept(kind):
    x = torch.arange(48).view(3, 1, 4, 4).to(kind)
    moved = move_randomly(x, D4.whole, generator())
    assert moved.dtype == kind
    elements_of(x, moved, D4.whole)


def test_images_that_are_no_contiguous_batch_are_moved_alike():
    x = torch.randn(40, 3, 4, 4)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(move_randomly(last, D4.whole, generator()), move_randomly(x, D4.whole, generator()))
    expanded = x[:1].expand(40, -1, -1, -1)
    elements_of(expanded, move_randomly(expanded, D4.whole, generator()), D4.whole)


def test_an_empty_batch_stays_empty():
    assert move_randomly(torch.zeros(0, 3, 4, 4), D4.whole, generator()).shape == (0, 3, 4, 4)


def test_gradients_are_moved_back():
    x = torch.randn(20, 1, 3, 3, requires_grad=True)
    weight = torch.randn(20, 1, 3, 3)
    (move_randomly(x, D4.whole, generator()) * weight).sum().backward()
    moved = move_randomly(x.detach(), D4.whole, generator())
    assert float((x.grad * x.detach()).sum()) == pytest.approx(float((moved * weight).sum()), abs=1e-4)


@pytest.mark.parametrize("name", ["C4", "D1@45", "D1@135", "D2@45", "D4"])
def test_a_subgroup_that_exchanges_unequal_sides_is_refused(name):
    with pytest.raises(ShapeError, match=rf"move_randomly: {name} exchanges axes, and the sides \(4, 6\)"):
        move_randomly(torch.zeros(2, 1, 4, 6), D4.subgroup(name), generator())


@pytest.mark.parametrize("shape", [(2, 8), (2, 1, 4), (2, 1, 4, 4, 4)], ids=str)
def test_samples_of_another_dimension_are_refused(shape):
    with pytest.raises(ShapeError, match="D4 acts on 2 spatial axes, got samples of shape"):
        move_randomly(torch.zeros(*shape), D4.trivial, generator())
