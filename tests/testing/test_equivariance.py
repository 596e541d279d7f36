import pytest
import reference
import torch
from torch import nn

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError
from equimorph.layers import BatchNorm, Conv2d, Linear
from equimorph.testing import TOLERANCES, assert_equivariant, equivariance_errors

D4 = em.group("D4")
every_subgroup = pytest.mark.parametrize("H", [H for H in D4.subgroups() if H.order > 1], ids=str)


class Broken(nn.Module):
    """Calls a function; commutes with nothing on its own account."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def index_of(matrix):
    return D4.elements.tolist().index(matrix)


TURN, UPSIDE_DOWN, HALF_TURN = index_of([[0, -1], [1, 0]]), index_of([[-1, 0], [0, 1]]), index_of([[-1, 0], [0, -1]])


@every_subgroup
def test_an_ordinary_convolution_is_rejected(H, dtype):
    conv = nn.Conv2d(2, 3, 3, padding=1, dtype=dtype)
    x = torch.randn(2, 2, 6, 6, dtype=dtype)
    with pytest.raises(AssertionError, match="Conv2d does not commute with element"):
        assert_equivariant(conv, x, source="trivial", target="trivial", constraint=H)
    assert_equivariant(conv, x, source="trivial", target="trivial", constraint=D4.trivial)


@every_subgroup
def test_a_lift_whose_channels_are_permuted_wrongly_is_rejected(H, dtype):
    conv = Conv2d(1, 2, 3, group=D4, subgroup=H, source="trivial", dtype=dtype)
    x = torch.randn(2, 1, 6, 6, dtype=dtype)
    shifted = nn.Sequential(conv, Broken(lambda feature: feature.roll(1, dims=1)))
    with pytest.raises(AssertionError, match="Sequential does not commute"):
        assert_equivariant(shifted, x, source="trivial", constraint=H)


def test_a_stride_on_a_size_it_does_not_fit_is_rejected():
    conv = Conv2d(1, 1, 3, group=D4, source="trivial", stride=2, padding=1)
    assert_equivariant(conv, torch.randn(1, 1, 7, 7), source="trivial")
    with pytest.raises(AssertionError, match="relative error"):
        assert_equivariant(conv, torch.randn(1, 1, 8, 8), source="trivial")


def test_a_norm_freer_than_its_network_is_rejected():
    norm = BatchNorm(2, group="D4", subgroup="C1").eval()
    nn.init.uniform_(norm.weight)
    network = nn.Sequential(Conv2d(1, 2, 3, group="D4", source="trivial"), norm)
    with pytest.raises(AssertionError, match="does not commute"):
        assert_equivariant(network, torch.randn(2, 1, 6, 6), source="trivial")


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
def test_outputs_that_are_no_numbers_are_rejected(value):
    x = torch.randn(1, 1, 4, 4)
    everywhere = Broken(lambda x: x * value)
    with pytest.raises(AssertionError, match="relative error nan"):
        assert_equivariant(everywhere, x, source="trivial", target="trivial", constraint=D4.whole)


def test_a_value_that_is_no_number_at_one_element_alone_is_named():
    x = torch.randn(1, 1, 4, 4)
    turned = reference.act(x, TURN, D4, "trivial")
    fails_once = Broken(lambda y: y * torch.nan if torch.equal(y, turned) else y * torch.arange(4.0))
    with pytest.raises(AssertionError, match=rf"element {TURN} of D4, \[\[0, -1\], \[1, 0\]\]: relative error nan"):
        assert_equivariant(fails_once, x, source="trivial", target="trivial", constraint=D4.whole)


def test_error_of_each_element_is_the_largest_difference_relative_to_the_output():
    # Multiplies by 1 + row / 4 + column / 2, rows and columns from -1.5 to 1.5; on ones, the output is that ramp.
    places = torch.arange(4.0) - 1.5
    ramp = 1 + places[:, None] / 4 + places / 2
    errors = equivariance_errors(
        Broken(lambda x: x * ramp),
        torch.ones(1, 1, 4, 4),
        source="trivial",
        target="trivial",
        constraint=D4.subgroup("D2"),
    )
    left_right = index_of([[1, 0], [0, -1]])
    largest = 1 + 1.5 / 4 + 1.5 / 2
    assert errors == pytest.approx(
        {0: 0, UPSIDE_DOWN: 0.75 / largest, left_right: 1.5 / largest, HALF_TURN: 2.25 / largest}
    )


def test_message_names_the_module_the_worst_element_its_matrix_and_its_error():
    ramp = torch.arange(16.0).view(4, 4)  # the half turn moves it most
    broken, x = Broken(lambda x: x * ramp), torch.ones(1, 1, 4, 4)
    with pytest.raises(AssertionError) as caught:
        assert_equivariant(broken, x, source="trivial", target="trivial", constraint=D4.subgroup("D2"))
    assert str(caught.value) == (
        f"Broken does not commute with element {HALF_TURN} of D4, [[-1, 0], [0, -1]]: "
        "relative error 1.00e+00, allowed 1e-05."
    )


def test_tolerance_is_the_tables_unless_given():
    for dtype, bound in TOLERANCES.items():
        x = torch.ones(1, 1, 4, 4, dtype=dtype)
        for share, accepted in ((0.4, True), (2.5, False)):
            tilt = 1 + share * bound * torch.tensor([0.0, 0, 0, 1], dtype=dtype)
            options = {"source": "trivial", "target": "trivial", "constraint": D4.subgroup("D1")}
            module = Broken(lambda x, tilt=tilt: x * tilt)
            if accepted:
                assert_equivariant(module, x, **options)
            else:
                with pytest.raises(AssertionError):
                    assert_equivariant(module, x, **options)
            assert_equivariant(module, x, **options, tolerance=1e-3)


def test_running_statistics_mode_and_parameters_are_left_alone():
    network = nn.Sequential(Conv2d(1, 2, 3, group="D4", source="trivial"), BatchNorm(2, group="D4"))
    before = {name: table.clone() for name, table in network.state_dict().items()}
    assert_equivariant(network, torch.randn(16, 1, 6, 6), source="trivial")
    assert network.training
    assert all(torch.equal(table, before[name]) for name, table in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_constraint_is_the_modules_own_or_what_all_sites_keep_unless_given():
    conv = Conv2d(1, 1, 3, group="D4", subgroup="C4")
    x = torch.randn(1, 8, 5, 5)
    assert set(equivariance_errors(conv, x)) == set(D4.subgroup("C4").indices)
    assert set(equivariance_errors(conv, x, constraint=D4.subgroup("C2"))) == set(D4.subgroup("C2").indices)
    network = nn.Sequential(conv, Conv2d(1, 1, 3, group="D4", subgroup="D2"))
    assert set(equivariance_errors(network, x)) == set(D4.subgroup("C2").indices)


def test_invariant_vectors_are_compared_as_they_are():
    head = Linear(2, 3, group="D4")
    assert_equivariant(head, torch.randn(2, 16), target="trivial")
    with pytest.raises(AssertionError, match="Linear does not commute"):
        assert_equivariant(
            Linear(2, 3, group="D4", subgroup="C1"), torch.randn(2, 16), target="trivial", constraint=D4.whole
        )


def test_a_module_without_a_constraint_asks_for_one():
    with pytest.raises(GroupError, match=r"Conv2d has no constraint of its own; pass constraint="):
        assert_equivariant(nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 4, 4))


def test_a_dtype_without_a_usual_tolerance_needs_one():
    conv = em.layers.Conv2d(1, 1, 3, group="D4", padding=1, dtype=torch.bfloat16)
    x = torch.randn(2, 8, 5, 5, dtype=torch.bfloat16)
    with pytest.raises(ConfigurationError, match="pass tolerance="):
        assert_equivariant(conv, x)
    assert_equivariant(conv, x, tolerance=0.1)
