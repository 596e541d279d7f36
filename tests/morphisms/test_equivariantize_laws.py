"""The laws of a converted network, tried on well-known architectures and on every element of their groups."""

import copy
import functools

import pytest
import reference
import torch
from architectures import ARCHITECTURES, Architecture, architecture, strided_windows
from torch import nn

import equimorph as em
from equimorph.errors import EquivarianceWarning

every_architecture = pytest.mark.parametrize("case", ARCHITECTURES, ids=lambda case: case.name)
with_strides = pytest.mark.parametrize(
    "case", [case for case in ARCHITECTURES if case.breaking_sides], ids=lambda case: case.name
)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def some(*names):
    return pytest.mark.parametrize("case", [architecture(name) for name in names], ids=lambda case: case.name)


def group_of(case):
    return em.group(case.group, dim=len(case.sides))


def convert(case, model, x, *, seed=0, **options):
    return em.equivariantize(model, group_of(case), x, generator=torch.Generator().manual_seed(seed), **options)


@functools.cache
def conversion(case: Architecture, dtype=torch.float64):
    """A model, what its state was before the conversion, and the network, past its initial running statistics."""
    model = case.model().to(dtype)
    before = copy.deepcopy(model.state_dict())
    network = convert(case, model, case.example(dtype=dtype))
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(case.example(4, dtype=dtype))
    return model, before, network.eval()


def errors_of(case, network, x):
    whole = group_of(case).whole
    found = em.testing.equivariance_errors(network, x, source="trivial", target="trivial", constraint=whole)
    assert len(found) == whole.order
    return found


def relative_difference(found, expected):
    return reference.relative_error(found.detach(), expected.detach())


@every_architecture
def test_equation_4_holds_at_the_sizes_that_say_so_and_at_no_other(case):
    model = case.model().eval()
    assert all(window.is_compatible for window in strided_windows(model, case.example()))
    if case.breaking_sides is None:
        assert not strided_windows(model, case.example())
    else:
        assert not all(window.is_compatible for window in strided_windows(model, case.example(breaking=True)))


@torch.no_grad()
def with_symmetric_kernels(case, model):
    """Each kernel averaged over the moves of its window alone: all features are then trivial ones."""
    group = group_of(case)
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS):
            moved = [reference.act(module.weight, h, group, "trivial") for h in range(group.order)]
            module.weight.copy_(sum(moved) / len(moved))
    return model


@pytest.mark.parametrize(
    "case", [case for case in ARCHITECTURES if case.name not in ("vgg", "lenet")], ids=lambda case: case.name
)
def test_with_symmetric_kernels_only_the_strided_windows_break_an_architecture(case):
    model = with_symmetric_kernels(case, case.model().double()).eval()
    assert max(errors_of(case, model, case.example(dtype=torch.float64)).values()) < 1e-12
    if case.breaking_sides:
        assert max(errors_of(case, model, case.example(breaking=True, dtype=torch.float64)).values()) > 1e-9


@every_architecture
def test_a_converted_network_commutes_with_every_element(case):
    _, _, network = conversion(case)
    assert network.conversion.exact and not network.conversion.breaks
    assert max(errors_of(case, network, case.example(dtype=torch.float64)).values()) < 1e-11


@some("vgg", "resnet", "mobilenetv3", "densenet", "convnext", "unet", "resnet3d", "resnet1d")
def test_it_does_so_in_single_precision(case):
    _, _, network = conversion(case, torch.float32)
    assert network.conversion.exact
    assert max(errors_of(case, network, case.example()).values()) < 1e-5


@every_architecture
def test_its_output_depends_on_its_input_and_its_weights(case):
    _, _, network = conversion(case)
    x, y = case.example(2, dtype=torch.float64), case.example(2, dtype=torch.float64)
    other = convert(case, case.model().double(), x, seed=1).eval()
    assert relative_difference(network(x), network(y)) > 1e-6
    assert relative_difference(network(x), other(x)) > 1e-3


@every_architecture
def test_its_output_has_the_shape_and_dtype_of_the_original(case):
    model, _, network = conversion(case)
    for batch in (1, 3):
        x = case.example(batch, dtype=torch.float64)
        expected = copy.deepcopy(model).eval()(x)
        assert (network(x).shape, network(x).dtype) == (expected.shape, expected.dtype)


@every_architecture
def test_a_training_step_changes_every_parameter(case):
    network = copy.deepcopy(conversion(case)[2]).train()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    largest = dict.fromkeys(before, 0.0)
    optimizer = torch.optim.SGD(em.parameter_groups(network, lr=0.05))
    for _ in range(3):  # a random branch may be left out in one
        optimizer.zero_grad()
        output = network(case.example(4, dtype=torch.float64))
        (output - torch.randn_like(output)).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            largest[name] = max(largest[name], float(parameter.grad.abs().max()))
        optimizer.step()
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    # A bias in front of a norm over each channel has no gradient but rounding, in the original as well.
    assert {name for name, size in largest.items() if size > 1e-12} <= changed
    without = {name for name, size in largest.items() if size <= 1e-12}
    assert all("bias" in name for name in without) and len(without) < len(before) / 2


@every_architecture
@pytest.mark.parametrize("training", [True, False], ids=["saved in training", "saved in evaluation"])
def test_its_state_loads_into_another_conversion_of_the_model(case, training):
    model, _, network = conversion(case)
    state = copy.deepcopy(network).train(training).state_dict()
    x = case.example(dtype=torch.float64)
    fresh = convert(case, model, x, seed=1).train(not training)
    fresh.load_state_dict(state, strict=True)
    assert torch.equal(fresh.eval()(x), network(x))


@every_architecture
def test_its_sites_are_at_the_whole_group_in_a_chain(case):
    sites = em.sites(conversion(case)[2])
    assert len(sites) >= 3
    assert set(sites.values()) == {group_of(case).whole}
    em.inspection.check_chain(sites)


@every_architecture
def test_relaxing_it_keeps_its_function_to_the_bit(case):
    network = conversion(case)[2]
    x = case.example(dtype=torch.float64)
    relaxed = em.relax(network, "C1").eval()
    assert torch.equal(relaxed(x), network(x))
    assert {constraint.order for constraint in em.sites(relaxed).values()} == {1}


@every_architecture
def test_its_plain_form_computes_the_same_without_the_library(case):
    network = conversion(case)[2]
    x = case.example(dtype=torch.float64)
    ordinary = em.plain(network, x)
    assert relative_difference(ordinary(x), network(x)) < 1e-6
    classes = {cls for module in ordinary.modules() for cls in type(module).__mro__}
    assert not [cls for cls in classes if cls.__module__.split(".")[0] == "equimorph"]


@with_strides
def test_at_a_size_that_breaks_the_grid_it_warns_and_the_audit_names_the_window(case):
    model, x = case.model(), case.example(breaking=True)
    with pytest.warns(EquivarianceWarning):
        network = convert(case, model, x)
    assert not network.conversion.exact
    assert network.conversion.breaks and all(found.remedy for found in network.conversion.breaks)
    window = next(found for found in strided_windows(model.eval(), x) if not found.is_compatible)
    first = em.audit(network.eval(), x).first
    if not list(model.get_submodule(window.path).children()):  # a call in a forward is not a module's own
        assert first.path == window.path
    assert any(word in first.reason for word in ("stride", "side", "size"))


@with_strides
def test_the_report_names_the_first_window_that_breaks_too(case):
    model, x = case.model(), case.example(breaking=True)
    with pytest.warns(EquivarianceWarning):
        report = convert(case, model, x).conversion
    assert "exact" not in str(report).lower() or "not exact" in str(report).lower()
    paths = {window.path for window in strided_windows(model.eval(), x) if not window.is_compatible}
    assert any(path == found.path or found.path.startswith(path) for path in paths for found in report.breaks)


@every_architecture
def test_the_model_is_left_as_it_was(case):
    model, before, _ = conversion(case)
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(entry, before[name]) for name, entry in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert type(case.model()) is type(model)


@every_architecture
def test_no_ordinary_convolution_is_left(case):
    assert not [path for path, module in conversion(case)[2].named_modules() if type(module) in CONVOLUTIONS]


@torch.no_grad()
def as_if_trained(model):
    """The model in evaluation mode with random statistics and affine values in its norms."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for scale in (module.running_var, module.weight):
                scale.uniform_(0.5, 1.5)
            for shift in (module.running_mean, module.bias):
                shift.normal_(0, 0.2)
    return model.eval()


@torch.no_grad()
def mean_over_group(case, model, x):
    """1/|G| * sum over g of  g^-1 M(g x)."""
    group = group_of(case)
    outputs = [
        reference.act(model(reference.act(x, g, group, "trivial")), int(group.inverses[g]), group, "trivial")
        for g in range(group.order)
    ]
    return sum(outputs) / len(outputs)


@some("vgg", "lenet", "bottleneck", "densenet", "mobilenetv2", "senet", "resnet3d", "resnet1d", "regression", "aspp")
def test_copied_weights_on_as_many_fields_give_the_mean_over_the_group(case):
    model = as_if_trained(case.model().double())
    x = case.example(dtype=torch.float64)
    network = convert(case, model, x, width="fields", weights="copy").eval()
    assert network.conversion.exact
    assert relative_difference(network(x), mean_over_group(case, model, x)) < 1e-10
    assert relative_difference(network(x), model(x)) > 1e-5  # and not the model itself


@some("lenet", "resnet", "mobilenetv2", "mobilenetv3", "densenet", "unet", "resnet1d")
def test_projected_weights_tell_how_far_each_layer_was(case):
    model = as_if_trained(case.model().double())
    x = case.example(dtype=torch.float64)
    network = convert(case, model, x, width="cost", weights="project").eval()
    distances = [layer.distance for layer in network.conversion.layers if layer.distance is not None]
    assert distances and all(0 <= distance <= 1 for distance in distances)
    assert max(distances) > 0.1  # random kernels are far from commuting
    assert max(errors_of(case, network, x).values()) < 1e-11
    again = convert(case, model, x, seed=1, width="cost", weights="project").eval()
    assert torch.equal(again(x), network(x))  # nothing is drawn


@some("resnet", "resnext", "mobilenetv2", "resnet3d")
def test_its_dense_kernels_are_as_large_as_those_of_the_model_and_its_parameters_fewer(case):
    model, _, network = conversion(case)
    for path, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            assert network.get_submodule(path).dense_weight().shape == module.weight.shape
    before, after = (sum(parameter.numel() for parameter in net.parameters()) for net in (model, network))
    assert after < before / 4
