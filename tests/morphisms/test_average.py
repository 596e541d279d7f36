import copy
import math

import pytest
import torch
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, ShapeError
from equimorph.layers import transform
from equimorph.morphisms.average import GroupAverage, average_over_group
from equimorph.testing import TOLERANCES, assert_equivariant

GROUPS = [em.group(name) for name in ("Z2", "C4", "D4", "D1@0", "C4v@z", "O")]
every_group = pytest.mark.parametrize("group", GROUPS, ids=str)
both_ways = pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
every_weighting = pytest.mark.parametrize("weights", ["mean", "learned", "own"])
every_output = pytest.mark.parametrize("dense", [False, True], ids=["vector", "map"])


class OwnWeights(nn.Module):
    """Positive, and different for the copies of an image."""

    def __init__(self, dim, *, column):
        super().__init__()
        self.register_buffer("mask", torch.rand(2, *(5,) * dim, dtype=torch.float64))
        self.column = column

    def forward(self, x):
        weights = (x * self.mask).flatten(1).sum(1).exp()
        return weights[:, None] if self.column else weights


def ordinary(dim, dense=False):
    """A model without any symmetry."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dim - 1](2, 3, 3, padding=1)
    tail = [] if dense else [nn.Flatten(), nn.Linear(3 * 5**dim, 4)]
    return nn.Sequential(conv, nn.ELU(), *tail).double()


def images(group, batch=2):
    return torch.randn(batch, 2, *(5,) * group.dim, dtype=torch.float64)


def averaged(model, group, weights="mean", **options):
    """With weights that differ among the copies."""
    if weights == "own":
        return average_over_group(model, group, OwnWeights(group.dim, column=True), **options)
    average = average_over_group(model, group, weights, in_channels=2, **options)
    if average.weighting is not None:
        for parameter in average.weighting.parameters():
            nn.init.normal_(parameter)
    return average


def assert_commutes(average, group, dense):
    assert_equivariant(average, images(group), source="trivial", target="trivial", constraint=group.whole)
    assert average(images(group)).ndim == (2 + group.dim if dense else 2)


@both_ways
@every_output
@every_weighting
@every_group
def test_an_average_commutes_with_every_element(group, weights, dense, at_once):
    assert_commutes(averaged(ordinary(group.dim, dense), group, weights, at_once=at_once).eval(), group, dense)


@every_group
def test_the_models_themselves_do_not(group):
    for dense in (False, True):
        with pytest.raises(AssertionError):
            assert_commutes(ordinary(group.dim, dense), group, dense)


@both_ways
@every_output
@every_weighting
@every_group
def test_it_is_the_weighted_mean_written_by_hand(group, weights, dense, at_once):
    average, x = averaged(ordinary(group.dim, dense), group, weights, at_once=at_once), images(group)
    total, scale = 0, 0
    for g in range(group.order):
        moved = transform(x, g, group, "trivial")
        answer = transform(average.model(moved), int(group.inverses[g]), group, "trivial")
        weight = torch.ones(2, 1).double() if average.weighting is None else average.weighting(moved)
        weight = weight.reshape(2, *(1,) * (answer.ndim - 1))
        total, scale = total + weight * answer, scale + weight
    torch.testing.assert_close(average(x), total / scale, rtol=0, atol=TOLERANCES[torch.float64])


@every_output
@every_group
def test_learned_weights_begin_as_the_mean(group, dense):
    model, x = ordinary(group.dim, dense), images(group)
    mean, learned = averaged(model, group), average_over_group(model, group, "learned", in_channels=2)
    torch.testing.assert_close(learned(x), mean(x), rtol=0, atol=1e-14)
    assert learned.weighting(x).tolist() == [[pytest.approx(1)]] * 2


@every_weighting
@every_group
def test_a_model_that_commutes_already_stays_the_same(group, weights):
    conv = {1: em.layers.Conv1d, 2: em.layers.Conv2d, 3: em.layers.Conv3d}[group.dim]
    options = {"group": group, "source": "trivial", "target": "trivial", "padding": "same", "dtype": torch.float64}
    dense = nn.Sequential(conv(2, 3, 3, **options), nn.ELU())
    x = images(group)
    for model in (dense, nn.Sequential(dense, em.layers.GlobalAvgPool())):
        torch.testing.assert_close(averaged(model, group, weights)(x), model(x), rtol=0, atol=1e-12)


def test_own_weights_are_one_number_for_each_image_in_either_shape():
    group, x = em.group("D4"), images(em.group("D4"))
    row, column = OwnWeights(2, column=False), OwnWeights(2, column=True)
    column.mask.copy_(row.mask)
    model = ordinary(2)
    one, two = (average_over_group(model, group, weights) for weights in (row, column))
    assert torch.equal(one(x), two(x))


def test_the_model_and_the_weights_stay_as_they_were():
    model, weights = ordinary(2), OwnWeights(2, column=True)
    before = copy.deepcopy(model.state_dict())
    average = average_over_group(model, "D4", weights)
    with torch.no_grad():
        for tensor in average.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert average.weighting is not weights and not torch.equal(weights.mask, average.weighting.mask)


@both_ways
@pytest.mark.parametrize("weights", ["mean", "learned"])
def test_training_runs_and_keeps_the_law(weights, at_once):
    group = em.group("D4")
    average = average_over_group(ordinary(2), group, weights, in_channels=2, at_once=at_once)
    before = copy.deepcopy(average.state_dict())
    optimizer = torch.optim.SGD(average.parameters(), lr=0.1)
    x, y = images(group, 8), torch.arange(8) % 4
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(average(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and math.isfinite(losses[-1])
    assert all(not torch.equal(tensor, before[name]) for name, tensor in average.state_dict().items())
    assert_commutes(average.eval(), group, dense=False)


def test_a_batch_norm_of_the_model_keeps_the_law_in_training_mode_too():
    group = em.group("D4")
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4)).double()
    for at_once in (True, False):
        assert_commutes(average_over_group(model, group, at_once=at_once).train(), group, dense=False)


def test_the_model_is_called_once_or_once_for_each_element():
    sizes = []
    model = ordinary(2)
    for at_once in (True, False):
        average = average_over_group(model, "D4", at_once=at_once)
        average.model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        average(images(em.group("D4"), batch=3))
    assert sizes == [24, *[3] * 8]


@both_ways
@every_output
@pytest.mark.parametrize("weights", ["mean", "learned"])
@pytest.mark.parametrize("group", [em.group("Z2"), em.group("D4"), em.group("C4v@z")], ids=str)
def test_traced_and_exported_programs_agree(group, weights, dense, at_once):
    average = averaged(ordinary(group.dim, dense), group, weights, at_once=at_once).eval()
    x = images(group)
    expected = average(x)
    average.answers_are_maps = expected.ndim > 2  # which shapes would tell
    torch.testing.assert_close(torch.fx.symbolic_trace(average)(x), expected, rtol=0, atol=0)
    program = torch.export.export(average, (x,)).module()
    torch.testing.assert_close(program(x), expected, rtol=0, atol=1e-14)


def test_an_exported_program_takes_batches_of_any_size():
    group = em.group("D4")
    average = averaged(ordinary(2), group, "learned").eval()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(average, (images(group, 3),), dynamic_shapes=shapes).module()
    for batch in (2, 5):
        x = images(group, batch)
        torch.testing.assert_close(program(x), average(x), rtol=0, atol=1e-14)


def test_sides_may_differ_where_the_group_keeps_the_axes():
    x = torch.randn(2, 2, 4, 6, dtype=torch.float64)
    conv = nn.Conv2d(2, 3, 3, padding=1).double()
    average = average_over_group(conv, "D2")
    assert_equivariant(average, x, source="trivial", target="trivial", constraint=em.group("D2").whole)


def test_initial_values_of_learned_weights_are_the_generators_alone():
    model = ordinary(2)
    before = torch.get_rng_state()
    one, two, other = (
        average_over_group(model, "D4", "learned", in_channels=2, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    states = [average.weighting.state_dict() for average in (one, two, other)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


def test_learned_weights_have_the_models_dtype():
    for model in (ordinary(2), ordinary(2).float()):
        average = average_over_group(model, "C4", "learned", in_channels=2)
        dtypes = {parameter.dtype for parameter in average.weighting.parameters()}
        assert dtypes == {model[0].weight.dtype}
    without = average_over_group(nn.Flatten(), "C4", "learned", in_channels=2)
    assert without(torch.zeros(3, 2, 4, 4)).shape == (3, 32)


@pytest.mark.parametrize(
    ("shape", "group", "said"),
    [
        ((2, 2, 5, 6), "D4", r"D4 exchanges axes, which need equal sides, got \(5, 6\).*D2"),
        ((2, 2, 5), "D4", r"D4 acts on 2 spatial axes.*of 4 axes, got \(2, 2, 5\)"),
        ((2, 2, 5, 5), "Z2", "Z2 acts on 1 spatial axes"),
        ((2, 2, 5, 5), "O", "O acts on 3 spatial axes"),
        ((2, 2, 5, 5, 6), "O", r"O exchanges axes.*\(5, 5, 6\)"),
    ],
    ids=str,
)
def test_images_that_the_group_cannot_move_are_refused(shape, group, said):
    with pytest.raises(ShapeError, match=said):
        average_over_group(nn.Identity(), group)(torch.zeros(shape))


class Answers(nn.Module):
    """A model whose output is what it was given for it."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: {"out": x}, "the model returns a dict; it needs one tensor"),
        (lambda x: (x, x), "the model returns a tuple"),
        (lambda x: x.flatten(2), r"output has 3 axes; it needs a vector \(batch, k\) or a map.*of 4 axes"),
        (lambda x: x.flatten(1).sum(1), "output has 1 axes"),
        (lambda x: x[..., 1:], r"the model's output: the group exchanges axes.*got \(5, 4\)"),
    ],
    ids=["dict", "tuple", "three axes", "one axis", "unequal sides"],
)
def test_outputs_that_are_no_vector_and_no_map_are_refused(answer, said):
    with pytest.raises(ShapeError, match=said):
        average_over_group(Answers(answer), "D4")(torch.zeros(2, 2, 5, 5))


def test_weights_that_are_not_one_number_for_each_image_are_refused():
    with pytest.raises(ShapeError, match=r"the weights have shape \(16, 50\); they are one number for each image"):
        average_over_group(nn.Flatten(), "D4", nn.Flatten())(torch.zeros(2, 2, 5, 5))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"weights": "learned"}, ConfigurationError, "learned weights need in_channels"),
        ({"weights": "learned", "in_channels": 0}, ConfigurationError, "in_channels is 0"),
        ({"weights": "median"}, ConfigurationError, 'weights is \'median\'; give "mean", "learned" or a module'),
        ({"group": "D5"}, GroupError, 'no group "D5"'),
    ],
    ids=str,
)
def test_settings_that_make_no_average_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        average_over_group(nn.Identity(), **{"group": "D4"} | options)


def test_it_prints_its_group():
    assert "group=D4, at_once=True" in repr(average_over_group(nn.Identity(), em.group("D4")))
    assert isinstance(average_over_group(nn.Identity(), "D4"), GroupAverage)
