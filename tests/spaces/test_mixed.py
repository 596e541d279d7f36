"""A mixture is the weighted sum of its members, whose convolutions are run one by one here and never there."""

import pytest
import reference
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError, MorphismError, ShapeError
from equimorph.layers import Conv1d, Conv2d, Conv3d, Linear
from equimorph.spaces import KernelShape, MixedSpace, TiedMixedSpace
from equimorph.testing import TOLERANCES, assert_equivariant, equivariance_errors

Z2, D4, OH = em.group("Z2"), em.group("D4"), em.group("Oh")
MEMBERS = {
    Z2: ["C1", "Z2"],
    D4: ["C1", "C2", "C4", "D1@90", "D2@0", "D4"],
    OH: ["C1", "C3@xyz", "C4v@z", "O", "Oh"],
}
TYPES = [("trivial", "regular"), ("regular", "regular"), ("regular", "trivial")]
CASES = [
    *((group, source, target, 3) for group in (Z2, D4) for source, target in TYPES),
    (D4, "trivial", "trivial", 5),
    *((group, "regular", "trivial", None) for group in (Z2, D4, OH)),
    (D4, "regular", "regular", None),
    (OH, "trivial", "regular", 2),
    (OH, "regular", "regular", 1),
    (OH, "regular", "trivial", 2),
]
every_case = pytest.mark.parametrize(
    ("group", "source", "target", "kernel_size"), CASES, ids=lambda value: "linear" if value is None else str(value)
)
both_families = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])


def layer_of(subgroup, source, target, kernel_size, fields, dtype):
    """An ordinary layer, the plain one of this library, that is constrained to a subgroup; linear with no kernel."""
    options = {"group": subgroup.group, "subgroup": subgroup, "source": source, "target": target, "dtype": dtype}
    if kernel_size is None:
        return Linear(*fields, **options)
    convolution = {1: Conv1d, 2: Conv2d, 3: Conv3d}[subgroup.group.dim]
    return convolution(*fields, kernel_size, padding="same" if kernel_size % 2 else 0, **options)


@torch.no_grad()
def mixed_layer(
    group,
    source="regular",
    target="regular",
    kernel_size=3,
    *,
    members=None,
    fields=(2, 3),
    tied=False,
    dtype=torch.float64,
    **options,
):
    """A layer whose mixture has random weights, biases and logits, so that no |w_i| is what it was at the start."""
    layer = layer_of(group.whole, source, target, kernel_size, fields, dtype)
    subgroups = [group.subgroup(name) for name in members or MEMBERS[group]]
    kind = TiedMixedSpace if tied else MixedSpace
    layer = layer.on(kind(layer.space.shape, subgroups, **{"bias": True, "dtype": dtype} | options))
    for parameter in layer.parameters():
        parameter.normal_()
    return layer


def random_input(layer, side=4, batch=2):
    shape = layer.space.shape
    return torch.randn(batch, shape.in_channels, *(side,) * len(shape.kernel_size), dtype=layer.space.logits.dtype)


def parameters_of(module):
    return dict(module.named_parameters())


def call_with(module, names, *tensors):
    """The module's output as a function of its parameters alone, for gradcheck."""
    return torch.func.functional_call(module, dict(zip(names, tensors, strict=False)), tensors[len(names) :])


# What a mixture is.


@every_case
@torch.no_grad()
def test_untied_mixture_is_the_weighted_sum_of_its_members_run_one_by_one(group, source, target, kernel_size, dtype):
    fields = (1, 2) if group is OH else (2, 3)
    layer = mixed_layer(group, source, target, kernel_size, fields=fields, dtype=dtype)
    space, x = layer.space, random_input(layer)
    z = torch.softmax(space.logits, 0)
    expected = 0
    for i, H in enumerate(space.members):
        member = layer_of(H, source, target, kernel_size, fields, dtype)
        member.space.weight.copy_(space.weights[i] * space.norms[i] / space.weights[i].norm())
        member.space.bias.copy_(space.biases[i])
        expected += z[i] * member(x)
    assert reference.relative_error(layer(x), expected) < TOLERANCES[dtype]


@every_case
@torch.no_grad()
def test_untied_mixture_has_the_kernel_and_bias_that_slow_expansions_add_up_to(
    group, source, target, kernel_size, dtype
):
    layer = mixed_layer(group, source, target, kernel_size, fields=(1, 2), dtype=dtype)
    space, types = layer.space, {"target": target, "source": source}
    weight, bias = 0, 0
    for z, nu, w, b, H in zip(
        torch.softmax(space.logits, 0), space.norms, space.weights, space.biases, space.members, strict=True
    ):
        rescaled = w * nu / w.square().sum().sqrt()
        extents = space.shape.kernel_size
        weight += z * reference.expand_table(rescaled, H, **types, kernel_size=extents, out_fields=2)
        bias += z * reference.expand_bias(b, H, target)
    assert reference.relative_error(layer.dense_weight(), weight) < TOLERANCES[dtype]
    assert reference.relative_error(layer.dense_bias(), bias) < TOLERANCES[dtype]


@every_case
@torch.no_grad()
def test_tied_mixture_is_the_weighted_sum_of_projections_of_one_kernel(group, source, target, kernel_size, dtype):
    layer = mixed_layer(group, source, target, kernel_size, tied=True, fields=(1, 2), dtype=dtype)
    space, types = layer.space, {"target": target, "source": source}
    extents = space.shape.kernel_size
    V = reference.expand_table(space.weight, group.trivial, **types, kernel_size=extents, out_fields=2)
    b = reference.expand_bias(space.bias, group.trivial, target)
    weight, bias = 0, 0
    for z, H in zip(torch.softmax(space.logits, 0), space.members, strict=True):
        weight += z * reference.project_kernel(V, H, **types)
        bias += z * sum(reference.act(b[None], h, group, target)[0] for h in H.indices) / H.order
    assert reference.relative_error(layer.dense_weight(), weight) < TOLERANCES[dtype]
    assert reference.relative_error(layer.dense_bias(), bias) < TOLERANCES[dtype]


@both_families
@torch.no_grad()
def test_members_that_are_all_there_or_any_two_are_mixed_alike(tied):
    """Not the six of a search alone: every pair of subgroups, and all ten."""
    lists = [[H.name, K.name] for H in D4.subgroups() for K in D4.subgroups() if H.order < K.order]
    for names in [*lists, [H.name for H in D4.subgroups()], ["D2@45"]]:
        layer = mixed_layer(D4, "trivial", "regular", 2, members=names, tied=tied, fields=(1, 1))
        space, expected = layer.space, 0
        for i, (z, H) in enumerate(zip(torch.softmax(space.logits, 0), space.members, strict=True)):
            types = {"target": "regular", "source": "trivial"}
            table, owner = (space.weight, D4.trivial) if tied else (space.weights[i], H)
            dense = reference.expand_table(table, owner, **types, kernel_size=(2, 2), out_fields=1)
            nu = 1 if tied else space.norms[i] / table.norm()
            expected += z * nu * reference.project_kernel(dense, H, **types)
        assert reference.relative_error(layer.dense_weight(), expected) < 1e-12


@pytest.mark.parametrize("group", [Z2, D4], ids=str)
@torch.no_grad()
def test_a_mixture_with_all_its_weight_on_one_member_is_that_member(group, dtype):
    for source, target in TYPES:
        layer = mixed_layer(group, source, target, dtype=dtype)
        x = random_input(layer)
        for i, H in enumerate(layer.space.members):
            layer.space.logits.fill_(-1e4)[i] = 0
            member = layer_of(H, source, target, 3, (2, 3), dtype)
            table = layer.space.weights[i]
            member.space.weight.copy_(table * layer.space.norms[i] / table.norm())
            member.space.bias.copy_(layer.space.biases[i])
            assert reference.relative_error(layer(x), member(x)) < TOLERANCES[dtype]
            assert_equivariant(layer, x, source=source, target=target, constraint=H)


@both_families
@pytest.mark.parametrize("group", [Z2, D4, OH], ids=str)
@torch.no_grad()
def test_a_skip_member_adds_its_weight_times_the_input(group, tied, dtype):
    kernel_size = 1 if group is OH else 3
    options = {"fields": (1, 1) if group is OH else (2, 2), "tied": tied, "dtype": dtype}
    layer = mixed_layer(group, kernel_size=kernel_size, skip=True, **options)
    without = mixed_layer(group, kernel_size=kernel_size, **options)
    state = layer.space.state_dict()
    without.space.load_state_dict({**state, "logits": state["logits"][:-1]})
    z, x = torch.softmax(layer.space.logits, 0), random_input(layer)
    expected = (1 - z[-1]) * without(x) + z[-1] * x
    assert layer.space.member_names[-1] == "skip" and len(z) == len(layer.space.members) + 1
    assert reference.relative_error(layer(x), expected) < TOLERANCES[dtype]


@torch.no_grad()
def test_a_skip_member_works_for_images_and_vectors_too():
    for source, target, kernel_size in (("trivial", "trivial", 5), ("regular", "regular", None)):
        layer = mixed_layer(D4, source, target, kernel_size, fields=(3, 3), skip=True)
        layer.space.logits.fill_(-1e4)[-1] = 0
        x = random_input(layer)
        assert torch.equal(layer(x), x)


@both_families
@torch.no_grad()
def test_temperature_divides_the_logits(tied):
    layer = mixed_layer(D4, tied=tied)
    x, logits = random_input(layer), layer.space.logits.clone()
    layer.space.temperature.fill_(0.25)
    cold = layer(x)
    layer.space.temperature.fill_(1)
    layer.space.logits.copy_(4 * logits)
    assert torch.equal(layer(x), cold)
    assert torch.allclose(layer.space.mixture_weights(), torch.softmax(4 * logits, 0), rtol=1e-14, atol=0)


@torch.no_grad()
def test_the_size_of_a_member_says_nothing():
    layer = mixed_layer(D4)
    before = layer.dense_weight()
    for table, factor in zip(layer.space.weights, (1e-4, 0.3, 1, 7, 1e3, 1e6), strict=True):
        table.mul_(factor)
        assert reference.relative_error(layer.dense_weight(), before) < 1e-12
    layer.space.weights[2].mul_(-1)
    assert reference.relative_error(layer.dense_weight(), before) > 0.01


@torch.no_grad()
def test_the_size_of_a_member_counts_where_a_penalty_could_not_work_otherwise():
    layer = mixed_layer(D4, "trivial", "regular", 2, members=["C1", "D4"], penalties={"C1": 1e-6}, fields=(1, 1))
    z, types = torch.softmax(layer.space.logits, 0), {"target": "regular", "source": "trivial"}
    expected = sum(
        z[i] * reference.expand_table(layer.space.weights[i], H, **types, kernel_size=(2, 2), out_fields=1)
        for i, H in enumerate(layer.space.members)
    )
    assert reference.relative_error(layer.dense_weight(), expected) < 1e-12


def test_the_tied_mixture_of_the_six_subgroups_of_the_square_has_038_of_the_parameters():
    sizes = []
    for kind in (TiedMixedSpace, MixedSpace):
        space = kind(KernelShape(D4, 4, 3, (5, 5)), [D4.subgroup(name) for name in MEMBERS[D4]])
        sizes.append(sum(parameter.numel() for name, parameter in space.named_parameters() if name != "logits"))
    assert sizes[0] == 4 * 3 * 8 * 8 * 25
    assert sizes[0] / sizes[1] == pytest.approx(0.38, abs=0.005)


# What it commutes with.

LISTS = [
    (D4, ["C4", "D2@0"], "C2"),
    (D4, ["D2@0", "D2@45"], "C2"),
    (D4, ["D4", "D1@0"], "D1@0"),
    (D4, ["D2@45", "D1@45", "D4"], "D1@45"),
    (D4, ["D4", "C4"], "C4"),
    (D4, ["D2@0"], "D2@0"),
    (D4, ["D1@0", "D1@90"], "C1"),
    (D4, ["C1", "D4"], "C1"),
    (Z2, ["Z2", "C1"], "C1"),
    (OH, ["O", "D4h@z"], "D4@z"),
    (OH, ["C4v@z", "Td"], "C2v@z+xy"),
]


@both_families
@pytest.mark.parametrize(("group", "names", "common"), LISTS, ids=str)
def test_a_mixture_commutes_with_what_all_its_members_contain_and_with_nothing_else(group, names, common, tied, dtype):
    for source, target in (("trivial", "regular"), ("regular", "regular")) if group.dim < 3 else TYPES[:1]:
        layer = mixed_layer(group, source, target, members=names, tied=tied, fields=(1, 1), dtype=dtype)
        layer.space.logits.data.mul_(0.3)  # no member so light that it could be overlooked
        x = random_input(layer, side=5, batch=1)
        assert layer.constraint == group.subgroup(common)
        assert_equivariant(layer, x, source=source, target=target)
        errors = equivariance_errors(layer, x, source=source, target=target, constraint=group.whole)
        assert {h for h, error in errors.items() if error < 1e-3} == set(layer.constraint.indices)


@both_families
def test_a_skip_member_keeps_the_symmetry(tied, dtype):
    layer = mixed_layer(D4, members=["C4", "D4"], tied=tied, skip=True, fields=(2, 2), dtype=dtype)
    assert_equivariant(layer, random_input(layer, side=5), constraint=D4.subgroup("C4"))


# Gradients.

GRADIENT_CASES = {
    "untied": (D4, "trivial", "regular", 2, {}),
    "untied, invariant": (D4, "regular", "trivial", 1, {}),
    "untied, ragged orbits": (D4, "trivial", "trivial", 3, {}),
    "untied, skip": (Z2, "regular", "regular", 3, {"skip": True}),
    "untied, penalties": (D4, "trivial", "regular", 2, {"penalties": {"C1": 0.1}}),
    "untied, volume": (OH, "trivial", "regular", 1, {}),
    "tied": (D4, "trivial", "regular", 2, {"tied": True}),
    "tied, invariant": (D4, "regular", "trivial", 1, {"tied": True}),
    "tied, ragged orbits": (D4, "trivial", "trivial", 3, {"tied": True}),
    "tied, skip": (Z2, "regular", "regular", 3, {"tied": True, "skip": True}),
    "tied, volume": (OH, "trivial", "regular", 1, {"tied": True}),
}


@pytest.mark.parametrize("case", GRADIENT_CASES)
def test_gradients_of_kernel_and_bias_are_those_of_finite_differences(case):
    group, source, target, kernel_size, options = GRADIENT_CASES[case]
    space = mixed_layer(group, source, target, kernel_size, fields=(1, 1), **options).space
    names, tensors = zip(*parameters_of(space).items(), strict=True)
    assert any("weight" in name for name in names) and any("bias" in name for name in names) and "logits" in names
    assert torch.autograd.gradcheck(lambda *args: call_with(space, names, *args), tensors)


@pytest.mark.parametrize(
    ("tied", "skip"), [(False, False), (True, False), (False, True), (True, True)], ids=lambda value: str(value)
)
def test_gradients_through_a_whole_convolution_are_those_of_finite_differences(tied, skip):
    layer = mixed_layer(Z2, kernel_size=3, fields=(2, 2), tied=tied, skip=skip)
    names, tensors = zip(*parameters_of(layer).items(), strict=True)
    x = random_input(layer).requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: call_with(layer, names, *args), (*tensors, x))


@both_families
def test_gradients_of_a_convolution_of_images_are_those_of_its_members_run_one_by_one(tied):
    """By automatic differentiation of the slow sum: six convolutions, dense kernels made by plain indexing."""
    layer = mixed_layer(D4, tied=tied)
    x, direction = random_input(layer), torch.randn(2, 24, 4, 4, dtype=torch.float64)
    types = {"target": "regular", "source": "regular"}
    parameters = parameters_of(layer.space)
    slow = {name: parameter.detach().clone().requires_grad_() for name, parameter in parameters.items()}
    z, loss = torch.softmax(slow["logits"], 0), 0
    for i, H in enumerate(layer.space.members):
        owner = D4.trivial if tied else H
        table, bias = (slow["weight"], slow["bias"]) if tied else (slow[f"weights.{i}"], slow[f"biases.{i}"])
        dense = reference.expand_table(table, owner, **types, kernel_size=(3, 3), out_fields=3)
        b = reference.expand_bias(bias, owner, "regular")
        if tied:
            dense = reference.project_kernel(dense, H, **types)
            b = sum(reference.act(b[None], h, D4)[0] for h in H.indices) / H.order
        else:
            dense = dense * layer.space.norms[i] / table.square().sum().sqrt()
        loss = loss + z[i] * (reference.correlate(x, dense, padding=1) + b.view(-1, 1, 1)).mul(direction).sum()
    (layer(x) * direction).sum().backward()
    loss.backward()
    for name, parameter in parameters.items():
        assert reference.relative_error(parameter.grad, slow[name].grad) < 1e-12, name


@both_families
def test_parameters_that_are_frozen_get_no_gradient_and_the_others_still_do(tied):
    for frozen in ("logits", "weight"):
        layer = mixed_layer(D4, tied=tied)
        for name, parameter in parameters_of(layer.space).items():
            parameter.requires_grad_(frozen not in name)
        layer(random_input(layer)).square().sum().backward()
        for name, parameter in parameters_of(layer.space).items():
            assert (parameter.grad is None) == (frozen in name)


# What it costs.


class Counting(TorchDispatchMode):
    """Counts calls of the operators that do a layer's work."""

    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.calls[name] = self.calls.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


@both_families
@pytest.mark.parametrize("names", [["D4"], ["C1", "D4"], MEMBERS[D4], [H.name for H in D4.subgroups()]], ids=len)
def test_one_convolution_is_run_whatever_the_number_of_members(names, tied):
    layer = mixed_layer(D4, members=names, tied=tied, fields=(2, 2), skip=True)
    x = random_input(layer).requires_grad_()
    with Counting() as forward:
        loss = layer(x).sum()
    with Counting() as backward:
        loss.backward()
    for counting, expected in ((forward, "convolution"), (backward, "convolution_backward")):
        assert {name: calls for name, calls in counting.calls.items() if "conv" in name} == {expected: 1}
    assert not any(name.endswith("mm") for name in forward.calls)  # nor a convolution under another name


@both_families
def test_one_matrix_product_is_run_by_a_linear_mixture(tied):
    layer = mixed_layer(D4, "regular", "trivial", None, tied=tied)
    x = random_input(layer)
    with Counting() as counting, torch.no_grad():
        layer(x)
    assert {name: calls for name, calls in counting.calls.items() if "mm" in name or name == "linear"} == {"addmm": 1}


# What is saved, converted and read.


@both_families
def test_state_is_parameters_norms_and_temperature_whatever_the_mode(tied):
    layer = mixed_layer(D4, tied=tied, skip=True, fields=(2, 2), members=["C1", "D4"])
    training = {name: table.clone() for name, table in layer.train().space.state_dict().items()}
    tables = {"weight", "bias"} if tied else {"weights.0", "weights.1", "biases.0", "biases.1", "norms"}
    assert set(training) == tables | {"logits", "temperature"}
    evaluating = layer.eval().space.state_dict()
    assert training.keys() == evaluating.keys()
    assert all(torch.equal(training[name], evaluating[name]) for name in training)


@torch.no_grad()
def test_norms_of_the_start_are_kept_while_the_members_change():
    space = MixedSpace(KernelShape(D4, 2, 3, (3, 3)), [D4.trivial, D4.whole])
    expected = torch.stack([table.norm() for table in space.weights])
    for table in space.weights:
        table.normal_()
    assert torch.equal(space.norms, expected) and torch.equal(space.state_dict()["norms"], expected)
    other = MixedSpace(KernelShape(D4, 2, 3, (3, 3)), [D4.trivial, D4.whole])
    other.load_state_dict(space.state_dict())
    assert torch.equal(other.dense_weight(), space.dense_weight())


@both_families
@pytest.mark.parametrize("group", [D4, OH], ids=str)
@torch.no_grad()
def test_converting_to_single_precision_and_back_loses_nothing_of_the_index_tables(group, tied):
    """Orders of three have averages of thirds, which single precision cannot hold."""
    layer = mixed_layer(group, "trivial", "regular", 1, tied=tied, fields=(1, 2))
    layer = layer.float()
    there = {name: value.double() for name, value in layer.state_dict().items()}
    back = layer.double()
    fresh = mixed_layer(group, "trivial", "regular", 1, tied=tied, fields=(1, 2))
    fresh.load_state_dict(there)
    assert reference.relative_error(back.dense_weight(), fresh.dense_weight()) < 1e-12


@both_families
@torch.no_grad()
def test_kernels_are_made_in_full_precision_under_automatic_mixed_precision(tied):
    layer = mixed_layer(D4, tied=tied, skip=True, fields=(2, 2), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight, bias = layer.space()
    assert weight.dtype == bias.dtype == torch.float32
    assert reference.relative_error(weight, layer.dense_weight()) < 1e-5
    assert reference.relative_error(bias, layer.dense_bias()) < 1e-5


@both_families
def test_nothing_is_drawn_from_the_global_generator(tied):
    kind, shape = TiedMixedSpace if tied else MixedSpace, KernelShape(D4, 1, 2, (3, 3))
    state = torch.get_rng_state()
    draws = [
        kind(shape, [D4.trivial, D4.whole], generator=torch.Generator().manual_seed(seed)).dense_weight()
        for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_merging_gives_the_dense_kernel_without_a_gradient():
    layer = mixed_layer(D4)
    merged = layer.space.merge()
    assert torch.equal(merged, layer.dense_weight()) and not merged.requires_grad


def test_shares_of_an_untied_mixture_are_the_weights_of_its_subgroups():
    layer = mixed_layer(D4, fields=(2, 2), skip=True)
    shares = layer.space.shares()
    z = torch.softmax(layer.space.logits, 0)[:-1]
    largest_first = sorted(MEMBERS[D4], key=lambda name: (-D4.subgroup(name).order, D4.subgroup(name).indices))
    assert list(shares) == [H.name for H in layer.space.members] == largest_first
    assert list(shares.values()) == pytest.approx((z / z.sum()).tolist(), rel=1e-12)


def test_shares_are_numbers_also_where_the_skip_member_took_everything():
    layer = mixed_layer(D4, fields=(2, 2), skip=True, dtype=torch.float32)
    layer.space.logits.data = torch.tensor([0.0, 1, 2, 3, 4, 5, 1000])
    expected = torch.softmax(torch.arange(6, dtype=torch.float64), 0).tolist()
    assert list(layer.space.shares().values()) == pytest.approx(expected)


# Relaxing.


@both_families
@pytest.mark.parametrize(("group", "names", "common"), LISTS, ids=str)
@torch.no_grad()
def test_relaxing_to_what_the_members_have_in_common_keeps_the_function(group, names, common, tied, dtype):
    layer = mixed_layer(group, "trivial", "regular", members=names, tied=tied, fields=(1, 2), dtype=dtype)
    x = random_input(layer)
    relaxed = em.relax(layer, layer.constraint)
    assert type(relaxed.space).__name__ == "TiedSpace" and relaxed.constraint.name == common
    assert reference.relative_error(relaxed(x), layer(x)) < TOLERANCES[dtype]


@both_families
def test_relaxing_to_anything_else_is_refused_with_the_way_to_go(tied):
    layer = mixed_layer(D4, members=["C4", "D2@0"], tied=tied)
    for H in D4.subgroups():
        if H.name != "C2":
            with pytest.raises(MorphismError) as caught:
                em.relax(layer, H)
            message = str(caught.value)
            assert "\n" not in message and all(part in message for part in ("C4, D2@0", H.name, "C2", "em.discretize"))


# Mistakes.


def make(kind, members=("C1", "D4"), group=D4, shape=None, **options):
    subgroups = [group.subgroup(one) if isinstance(one, str) else one for one in members]
    return kind(shape or KernelShape(D4, 2, 2, (3, 3)), subgroups, **options)


@pytest.mark.parametrize("kind", [MixedSpace, TiedMixedSpace])
@pytest.mark.parametrize(
    ("arguments", "error", "needed"),
    [
        ({"members": []}, GroupError, "there are no members; name subgroups of D4"),
        ({"members": [em.group("Z2").whole]}, GroupError, "Z2 is a subgroup of Z2, not of D4; choose among C1"),
        ({"members": ["C4", "D4", "C4"]}, GroupError, "C4, D4, C4 names a subgroup twice; name each once"),
        ({"start": "sharp"}, ConfigurationError, 'start is "sharp"; it is one of uniform, prior'),
        (
            {"skip": True, "shape": KernelShape(D4, 3, 2, (3, 3))},
            ShapeError,
            "2 regular -> 3 regular.*leave skip out",
        ),
        (
            {"skip": True, "shape": KernelShape(D4, 2, 2, (3, 3), "regular", "trivial")},
            ShapeError,
            "2 trivial -> 2 regular.*leave skip out",
        ),
        ({"skip": True, "shape": KernelShape(D4, 2, 2, (2, 2))}, ShapeError, r"kernel \(2, 2\).*leave skip out"),
    ],
    ids=str,
)
def test_mistakes_are_refused_in_one_line(kind, arguments, error, needed):
    with pytest.raises(error, match=needed) as caught:
        make(kind, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("penalties", "error", "needed"),
    [
        ({"C4": 0.1}, GroupError, "a penalty for C4, which is no member; there are D4, C1"),
        ({"skip": 0.1}, GroupError, "a penalty for skip, which is no member; there are D4, C1"),
        ({"C1": -0.1}, ConfigurationError, "the penalty of C1 is -0.1; it must not be negative"),
        ({"C1": float("nan")}, ConfigurationError, "the penalty of C1 is nan; it must not be negative"),
    ],
    ids=str,
)
def test_penalties_that_could_not_be_applied_are_refused(penalties, error, needed):
    with pytest.raises(error, match=needed) as caught:
        make(MixedSpace, skip=True, penalties=penalties)
    assert "\n" not in str(caught.value)
