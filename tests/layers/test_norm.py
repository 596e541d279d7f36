import pytest
import reference
import torch
from torch.func import functional_call

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, MorphismError, ShapeError
from equimorph.layers import BatchNorm
from equimorph.testing import TOLERANCES, assert_equivariant

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
SUBGROUPS = [*Z2.subgroups(), *D4.subgroups(), *(OH.subgroup(name) for name in ("Cs@x-y", "C3@xyz", "C4v@z", "Oh"))]
PAIRS = [(H, K) for H in D4.subgroups() for K in D4.subgroups() if K <= H]
TABLES = ("weight", "bias", "running_mean", "running_var")
every_subgroup = pytest.mark.parametrize("H", SUBGROUPS, ids=lambda H: f"{H}-{H.group}")


def random_norm(H, *, fields=2, **options):
    norm = BatchNorm(fields, group=H.group, subgroup=H, **options)
    for name in TABLES:
        table = getattr(norm, name)
        with torch.no_grad():
            table.copy_(torch.rand_like(table) + 0.5)
    return norm


def random_input(norm, *sides, batch=16, dtype=None):
    return torch.randn(batch, norm.channels, *sides, dtype=dtype) * 2 + 1


def cosets_of(H):
    """The elements of each right coset, in the order of their first ones."""
    moved = {h: reference.index_images(H.group, h) for h in H.indices}
    return [[moved[h][r] for h in H.indices] for r in reference.coset_representatives(H)]


@torch.no_grad()
def pooled_normalisation(norm, x):
    """What the norm puts out in training mode, and its statistics afterwards, one field and coset at a time."""
    fields = x.unflatten(1, (norm.fields, -1))
    y, mean, var = torch.full_like(fields, torch.nan), norm.running_mean.clone(), norm.running_var.clone()
    for row, coset in enumerate(cosets_of(norm.constraint)):
        for c in range(norm.fields):
            pooled = fields[:, c, coset]
            centred = pooled - pooled.mean()
            biased = centred.square().mean()
            y[:, c, coset] = norm.weight[row, c] * centred / (biased + norm.eps).sqrt() + norm.bias[row, c]
            mean[row, c] += norm.momentum * (pooled.mean() - mean[row, c])
            var[row, c] += norm.momentum * (biased - var[row, c])
    return y.flatten(1, 2), mean, var


@every_subgroup
def test_training_pools_each_coset_and_keeps_its_biased_variance(H, dtype):
    for sides in ((), (3,) * H.group.dim):
        norm = random_norm(H, momentum=0.3, eps=1e-3, dtype=dtype)
        x = random_input(norm, *sides, dtype=dtype)
        y, mean, var = pooled_normalisation(norm, x)
        assert reference.relative_error(norm(x), y) < TOLERANCES[dtype]
        assert reference.relative_error(norm.running_mean, mean) < TOLERANCES[dtype]
        assert reference.relative_error(norm.running_var, var) < TOLERANCES[dtype]


@every_subgroup
def test_evaluation_uses_the_running_statistics_of_each_coset(H, dtype):
    norm = random_norm(H, dtype=dtype).eval()
    before = {name: table.clone() for name, table in norm.state_dict().items()}
    x = random_input(norm, *(3,) * H.group.dim, dtype=dtype)
    fields = x.unflatten(1, (norm.fields, -1))
    y = torch.full_like(fields, torch.nan)
    for row, coset in enumerate(cosets_of(H)):
        for c in range(norm.fields):
            scale = norm.weight[row, c] / (norm.running_var[row, c] + norm.eps).sqrt()
            y[:, c, coset] = (fields[:, c, coset] - norm.running_mean[row, c]) * scale + norm.bias[row, c]
    assert reference.relative_error(norm(x), y.flatten(1, 2)) < TOLERANCES[dtype]
    assert all(torch.equal(table, before[name]) for name, table in norm.state_dict().items())


def test_free_norm_is_torchs_own_but_for_the_bias_of_the_variance(dtype):
    norm, plain = random_norm(D4.trivial, dtype=dtype), torch.nn.BatchNorm2d(16, dtype=dtype)
    names = ("running_mean", "running_var", "weight", "bias")
    with torch.no_grad():
        for name, table in zip(names, norm.dense_statistics(), strict=True):
            getattr(plain, name).copy_(table)
    before = norm.running_var.clone()
    x = random_input(norm, 3, 4, dtype=dtype)
    torch.testing.assert_close(norm(x), plain(x), rtol=0, atol=TOLERANCES[dtype])
    mean, var, _, _ = norm.dense_statistics()
    torch.testing.assert_close(mean, plain.running_mean, rtol=0, atol=TOLERANCES[dtype])
    count, kept = 16 * 3 * 4, 0.9 * before.T.flatten()
    biased = kept + (plain.running_var - kept) * (count - 1) / count
    torch.testing.assert_close(var, biased, rtol=0, atol=TOLERANCES[dtype])
    with torch.no_grad():
        plain.running_var.copy_(var)
        plain.running_mean.copy_(mean)
    assert torch.equal(norm.eval()(x), plain.eval()(x))


@every_subgroup
def test_norm_commutes_with_every_element_in_training_and_evaluation(H, dtype):
    for training in (True, False):
        norm = random_norm(H, fields=1, dtype=dtype).train(training)
        for sides in ((), (2,) * H.group.dim, (3,) * H.group.dim):
            assert_equivariant(norm, random_input(norm, *sides, dtype=dtype))


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_gradients_are_right_however_the_cosets_lie(H):
    norm = random_norm(H, fields=1, dtype=torch.float64)
    x = random_input(norm, 2, batch=2, dtype=torch.float64).requires_grad_()

    def normalise(x, weight, bias):
        return functional_call(norm, {"weight": weight, "bias": bias}, x)

    assert torch.autograd.gradcheck(normalise, (x, norm.weight, norm.bias))


def test_cosets_of_both_kinds_occur():  # so that the laws above saw both ways through the code
    kinds = {H.name: random_norm(H).cosets_are_contiguous for H in D4.subgroups()}
    assert kinds["D4"] and kinds["C1"] and kinds["C4"] and not kinds["D1@90"] and not kinds["D2@0"]


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_trivial_features_are_normalised_per_channel_whatever_the_constraint(H, dtype):
    norm, plain = random_norm(H, fields=3, representation="trivial", dtype=dtype), torch.nn.BatchNorm2d(3, dtype=dtype)
    with torch.no_grad():
        plain.weight.copy_(norm.weight[0])
        plain.bias.copy_(norm.bias[0])
    x = random_input(norm, 4, 4, dtype=dtype)
    torch.testing.assert_close(norm(x), plain(x), rtol=0, atol=TOLERANCES[dtype])
    assert_equivariant(norm, x, source="trivial", target="trivial")


@pytest.mark.parametrize(("H", "K"), PAIRS, ids=str)
def test_relaxed_norm_evaluates_the_same_to_the_bit(H, K, dtype):
    norm = random_norm(H, eps=1e-3, momentum=0.2, dtype=dtype).eval()
    x = random_input(norm, 3, 3, dtype=dtype)
    before = {name: table.clone() for name, table in norm.state_dict().items()}
    relaxed = norm.relaxed(K)
    assert torch.equal(relaxed(x), norm(x))
    for kept, found in zip(norm.dense_statistics(), relaxed.dense_statistics(), strict=True):
        assert torch.equal(kept, found)
    assert relaxed.constraint == K and norm.constraint == H and not relaxed.training
    assert (relaxed.eps, relaxed.momentum) == (1e-3, 0.2)
    relaxed.train()(x)  # which moves the child's statistics
    assert all(torch.equal(table, before[name]) for name, table in norm.state_dict().items())


def test_relaxing_to_a_group_that_is_not_smaller_is_refused():
    with pytest.raises(MorphismError, match="D4 is not contained in C4"):
        random_norm(D4.subgroup("C4")).relaxed(D4.whole)


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_projected_norm_has_the_statistics_of_the_pooled_channels(H, dtype):
    for K in D4.subgroups():
        norm = random_norm(K, momentum=1.0, dtype=dtype)
        x = random_input(norm, 3, 3, dtype=dtype) * torch.linspace(1, 2, norm.channels, dtype=dtype)[:, None, None]
        norm(x)
        projected = norm.projected(H)
        mean, var, weight, bias = (table.view(2, 8) for table in norm.dense_statistics())
        for row, coset in enumerate(cosets_of(H)):
            average = mean[:, coset].mean(1)
            pooled = (var[:, coset] + (mean[:, coset] - average[:, None]).square()).mean(1)
            expected = {
                "running_mean": average,
                "running_var": pooled,
                "weight": weight[:, coset].mean(1),
                "bias": bias[:, coset].mean(1),
            }
            for name, values in expected.items():
                found = getattr(projected, name)[row]
                torch.testing.assert_close(found, values, rtol=10 * TOLERANCES[dtype], atol=0)


@pytest.mark.parametrize(("H", "K"), PAIRS, ids=str)
def test_projected_norm_has_seen_what_a_tied_one_would_have_seen(H, K, dtype):
    free, tied = (BatchNorm(2, group="D4", subgroup=it, momentum=1.0, dtype=dtype) for it in (K, H))
    x = random_input(free, 3, 3, dtype=dtype)
    free(x), tied(x)
    projected = free.projected(H)
    torch.testing.assert_close(projected.running_mean, tied.running_mean, rtol=10 * TOLERANCES[dtype], atol=0)
    torch.testing.assert_close(projected.running_var, tied.running_var, rtol=10 * TOLERANCES[dtype], atol=0)


@every_subgroup
def test_dense_statistics_list_each_channel_with_its_cosets_values(H):
    norm = random_norm(H)
    names = ("running_mean", "running_var", "weight", "bias")
    for name, dense in zip(names, norm.dense_statistics(), strict=True):
        assert dense.shape == (norm.channels,)
        for row, coset in enumerate(cosets_of(H)):
            for c in range(2):
                assert (dense.view(2, -1)[c, coset] == getattr(norm, name)[row, c]).all()


@pytest.mark.parametrize("H", D4.subgroups(), ids=str)
def test_state_holds_parameters_and_statistics_by_coset(H):
    norm = BatchNorm(3, group="D4", subgroup=H)
    for training in (True, False):
        state = norm.train(training).state_dict()
        assert {name: tuple(table.shape) for name, table in state.items()} == dict.fromkeys(TABLES, (8 // H.order, 3))
    assert {name: orbits.num_orbits for name, orbits in norm.parameter_orbits().items()} == dict.fromkeys(
        ("weight", "bias"), 8 // H.order
    )


def test_morphisms_carry_precision_and_frozen_parameters():
    norm = random_norm(D4.whole, dtype=torch.float64)
    norm.weight.requires_grad_(False)
    for moved in (norm.relaxed(D4.trivial), norm.projected(D4.subgroup("C2"))):
        assert all(table.dtype == torch.float64 for table in moved.state_dict().values()) and moved.training
        assert (moved.weight.requires_grad, moved.bias.requires_grad) == (False, True)


def test_reset_goes_back_to_the_identity():
    norm = random_norm(D4.subgroup("C2"))
    norm.reset_parameters()
    fresh = BatchNorm(2, group="D4", subgroup="C2").state_dict()
    assert all(torch.equal(table, fresh[name]) for name, table in norm.state_dict().items())


def test_norm_tells_its_fields_and_constraint():
    assert repr(BatchNorm(2, group="D4", subgroup="C4")).startswith("BatchNorm(\n  2 regular, constraint=C4")


def test_wrong_settings_and_inputs_are_refused():
    with pytest.raises(ShapeError, match=r"BatchNorm: needs 16 channels, got a tensor \(2, 8, 3, 3\)"):
        BatchNorm(2, group="D4")(torch.zeros(2, 8, 3, 3))
    with pytest.raises(ConfigurationError, match="fields is 0; a norm needs at least one field"):
        BatchNorm(0, group="D4")
    with pytest.raises(GroupError, match='no subgroup "C3"'):
        BatchNorm(1, group="D4", subgroup="C3")
