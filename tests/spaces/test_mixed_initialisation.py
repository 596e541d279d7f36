"""A fresh mixture has the variance of a fresh layer of one subgroup, so that one learning rate serves both."""

import pytest
import torch

import equimorph as em
from equimorph.layers import Conv2d, Linear
from equimorph.spaces import KernelShape, MixedSpace, TiedMixedSpace, TiedSpace

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SIX = [H.name for H in em.search_groups("D4")]
LISTS = {"six": SIX, "two": ["C1", "D4"], "mirrors": ["D1@0", "D1@45", "C4"], "one": ["C4"]}
every_mixture = pytest.mark.parametrize("start", ["uniform", "prior"])
both_families = pytest.mark.parametrize("kind", [MixedSpace, TiedMixedSpace], ids=["untied", "tied"])


def fresh(kind, shape, names, **options):
    generator = torch.Generator().manual_seed(3)
    return kind(shape, [shape.group.subgroup(name) for name in names], generator=generator, **options)


@torch.no_grad()
def variance_ratio(space):
    """Mean square of the kernel's entries, in units of He's 2 / fan-in."""
    return space.dense_weight().double().square().mean().item() * space.shape.fan_in / 2


@every_mixture
@both_families
@pytest.mark.parametrize("names", LISTS)
def test_kernels_of_a_mixture_have_the_variance_of_a_static_layer(names, kind, start):
    # 72 free values and more for each of 1024 pairs of fields: a standard error below 1 %.
    for target, source, extents in (("regular", "trivial", (3, 3)), ("regular", "regular", (2, 2))):
        shape = KernelShape(D4, 32, 32, extents, target, source)
        assert variance_ratio(fresh(kind, shape, LISTS[names], start=start)) == pytest.approx(1, rel=0.04)
        assert variance_ratio(TiedSpace(shape, D4.subgroup("C4"))) == pytest.approx(1, rel=0.04)


@every_mixture
@both_families
@pytest.mark.parametrize("extents", [(1, 1), (3, 3), (5, 5)], ids=str)
def test_maps_of_images_have_it_too_although_pixels_have_orbits_of_different_sizes(extents, kind, start):
    # Down to one free value for each of 10,000 pairs of fields: a standard error of 1.4 %.
    shape = KernelShape(D4, 100, 100, extents, "trivial", "trivial")
    for names in LISTS.values():
        assert variance_ratio(fresh(kind, shape, names, start=start)) == pytest.approx(1, rel=0.07)


@every_mixture
@both_families
@pytest.mark.parametrize("extents", [(), (3, 3)], ids=["linear", "convolution"])
def test_sums_over_equal_features_have_the_variance_of_a_static_layer(extents, kind, start):
    """From regular to trivial: what counts are features that are equal along orbits, that is the sum of the kernel."""
    shape = KernelShape(D4, 100, 100, extents, "trivial", "regular")

    def sums(space):
        dense = space.dense_weight().detach().unflatten(1, (-1, 8))
        return dense.sum(dim=tuple(range(2, dense.ndim))).square().mean().item()

    static = [sums(TiedSpace(shape, H, generator=torch.Generator().manual_seed(1))) for H in D4.subgroups()]
    for names in LISTS.values():  # 10,000 values each: a standard error of 1.4 %
        found = sums(fresh(kind, shape, names, start=start))
        assert all(found == pytest.approx(scale, rel=0.1) for scale in static)  # measured: 0.06


@both_families
@pytest.mark.parametrize(("group", "names"), [(Z2, ["C1", "Z2"]), (OH, ["C1", "C3@xyz", "O", "Oh"])], ids=str)
def test_signals_and_volumes_have_it_too(group, names, kind):
    shape = KernelShape(group, 60, 60, (2,) * group.dim, "regular", "trivial")
    for start in ("uniform", "prior"):
        assert variance_ratio(fresh(kind, shape, names, start=start)) == pytest.approx(1, rel=0.06)


@both_families
def test_logits_that_a_search_has_moved_are_taken_into_account(kind):
    space = fresh(kind, KernelShape(D4, 32, 32, (3, 3), "regular", "trivial"), SIX)
    space.logits.data = torch.tensor([-1.0, 2, 0.5, -3, 1, 0])
    before = space.logits.clone()
    space.reset_parameters(torch.Generator().manual_seed(0))
    assert variance_ratio(space) == pytest.approx(1, rel=0.04) and torch.equal(space.logits, before)


@every_mixture
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_mixed_network_that_is_drawn_anew_has_the_variance_of_a_static_one(tied, start):
    network = torch.nn.Sequential(
        Conv2d(16, 32, 3, group=D4, source="trivial"), Conv2d(32, 16, 3, group=D4), Linear(16, 64, group=D4)
    )
    mixed = em.mix(network, tied=tied, start=start)
    drawn = em.reinitialize(mixed, torch.Generator().manual_seed(5))
    for one, other in zip(list(drawn)[:2], list(mixed)[:2], strict=True):
        assert variance_ratio(one.space) == pytest.approx(1, rel=0.05)
        assert not torch.equal(one.dense_weight(), other.dense_weight())
        assert torch.equal(one.space.logits, other.space.logits) and not one.dense_bias().any()


@both_families
def test_fresh_kernels_are_drawn_about_zero_and_their_biases_are_zero(kind):
    space = fresh(kind, KernelShape(D4, 32, 32, (3, 3)), SIX, bias=True)
    W = space.dense_weight().detach()
    assert abs(W.mean()) < 0.01 * W.std() and not space.dense_bias().any()
