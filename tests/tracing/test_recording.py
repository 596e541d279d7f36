"""A run written down: which calls, in which order, under which paths, and of which values."""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from own_forward import Forward, hooks_of
from torch import nn
from torch.nn.utils import parametrizations

import equimorph as em
from equimorph.tracing import is_layer, record


class SameLinear(nn.Linear):
    def forward(self, input):
        return F.linear(input, self.weight, self.bias)


class ScaledLinear(nn.Linear):
    def forward(self, input):
        return 2 * F.linear(input, self.weight, self.bias)


class StandardisedConv(nn.Conv2d):
    def _conv_forward(self, input, weight, bias):
        return super()._conv_forward(input, weight - weight.mean(), bias)


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


def names(network, x, **options):
    return [call.name for call in record(network, x, **options).calls]


IMAGE = torch.randn(2, 3, 6, 6)


def test_calls_come_in_order_with_paths_and_names():
    network = Forward(lambda self, x: self.head(F.relu(self.body(x)).mean((2, 3))), body=nn.Sequential(), head=None)
    network.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    network.head = nn.Linear(4, 2)
    calls = record(network.eval(), IMAGE).calls
    assert [(call.path, call.name) for call in calls] == [
        ("body.0", "Conv2d"),
        ("body.1", "BatchNorm2d"),
        ("", "relu"),
        ("", "mean"),
        ("head", "Linear"),
    ]


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, 3), nn.GroupNorm(1, 3), nn.GELU(), nn.MaxPool2d(2), nn.Upsample(scale_factor=2)], ids=repr
)
def test_a_layer_of_torch_is_one_call(layer):
    (call,) = record(layer, IMAGE).calls
    assert call.module is layer and call.outputs[0].shape == tuple(layer(IMAGE).shape)


def test_a_layer_of_this_library_is_one_call():
    assert names(em.layers.Conv2d(3, 2, 3, group="C4", source="trivial"), IMAGE) == ["Conv2d"]


def test_containers_are_looked_into():
    assert not is_layer(nn.Sequential()) and not is_layer(nn.ModuleList())
    assert names(nn.Sequential(nn.Sequential(nn.ReLU()), nn.Sigmoid()), IMAGE) == ["ReLU", "Sigmoid"]


def test_a_linear_map_whose_own_forward_computes_the_same_is_one_call():
    (call,) = record(Forward(lambda self, x: self.head(x), head=SameLinear(3, 2)), torch.randn(2, 3)).calls
    assert (call.path, call.name) == ("head", "SameLinear") and isinstance(call.module, SameLinear)


def test_a_linear_map_whose_own_forward_computes_something_else_is_not():
    calls = record(Forward(lambda self, x: self.head(x), head=ScaledLinear(3, 2)), torch.randn(2, 3)).calls
    assert {call.path for call in calls} == {"head"} and all(call.module is None for call in calls)
    assert calls[0].name == "linear" and len(calls) == 2


def test_a_convolution_that_changes_its_weight_is_not_one_call():
    assert not is_layer(StandardisedConv(3, 4, 3))
    assert "conv2d" in names(StandardisedConv(3, 4, 3), IMAGE)


@pytest.mark.parametrize("parametrization", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_a_parametrized_layer_is_looked_into(parametrization):
    layer = parametrization(nn.Conv2d(3, 4, 3))
    assert not is_layer(layer)
    assert "conv2d" in names(layer, IMAGE) and "ParametrizedConv2d" not in names(layer, IMAGE)


def test_a_parametrized_linear_map_is_looked_into():
    assert "linear" in names(parametrizations.weight_norm(nn.Linear(3, 2)), torch.randn(2, 3))


def test_functions_are_recorded_under_the_path_of_the_module_that_calls_them():
    inner = Forward(lambda self, x: torch.sigmoid(self.norm(x)), norm=nn.BatchNorm2d(3))
    network = Forward(lambda self, x: torch.tanh(self.inner(x)), inner=inner)
    calls = record(network, IMAGE).calls
    assert [call.where for call in calls] == ["inner.norm", "inner: sigmoid", "tanh"]


def test_what_changes_in_place_makes_a_new_value():
    calls = record(Forward(lambda self, x: F.relu(x.add(1).mul_(-1))), IMAGE, keep=True).calls
    add, multiply, relu = calls
    assert multiply.name == "mul_" and multiply.inputs[0] is add.outputs[0]
    assert multiply.outputs[0] is not add.outputs[0] and relu.inputs[0] is multiply.outputs[0]
    assert torch.equal(multiply.outputs[0].tensor, -add.outputs[0].tensor)


def test_what_is_written_into_a_tensor_makes_a_new_value():
    def write(self, x):
        y = x + 1
        y[:, 0] = 5
        return y

    add, setitem = record(Forward(write), IMAGE, keep=True).calls
    assert setitem.name == "__setitem__" and setitem.inputs[0] is add.outputs[0] is not setitem.outputs[0]
    assert (setitem.outputs[0].tensor[:, 0] == 5).all() and not (add.outputs[0].tensor[:, 0] == 5).any()


def test_a_layer_that_works_in_place_makes_a_new_value():
    first, second = record(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True)), IMAGE, keep=True).calls
    assert second.inputs[0] is first.outputs[0] is not second.outputs[0]
    assert first.outputs[0].tensor.min() < 0 <= second.outputs[0].tensor.min()


def test_parameters_and_buffers_are_named():
    scaled = Forward(lambda self, x: x * self.gamma + self.shift, gamma=nn.Parameter(torch.ones(3, 1, 1)))
    scaled.register_buffer("shift", torch.ones(3, 1, 1))
    calls = record(nn.Sequential(scaled), IMAGE).calls
    assert [call.inputs[1].parameter for call in calls] == ["0.gamma", "0.shift"]
    assert calls[0].inputs[0].parameter is None and calls[0].outputs[0].parameter is None


def test_views_of_a_parameter_bear_its_name():
    network = Forward(
        lambda self, x: x * self.gamma.view(1, -1, 1, 1).expand(1, 3, 6, 6), gamma=nn.Parameter(torch.ones(3))
    )
    assert record(network, IMAGE).calls[-1].inputs[1].parameter == "gamma"


def test_an_opaque_module_is_one_call():
    inner = Forward(lambda self, x: torch.sigmoid(self.conv(x)), conv=nn.Conv2d(3, 4, 1))
    network = Forward(lambda self, x: torch.tanh(self.inner(x)), inner=inner)
    assert names(network, IMAGE) == ["Conv2d", "sigmoid", "tanh"]
    assert [call.where for call in record(network, IMAGE, opaque=["inner"]).calls] == ["inner", "tanh"]


def test_values_keep_their_tensors_only_when_asked():
    assert record(nn.ReLU(), IMAGE).calls[0].outputs[0].tensor is None
    assert torch.equal(record(nn.ReLU(), IMAGE, keep=True).calls[0].outputs[0].tensor, IMAGE.relu())


def test_arguments_are_found_by_position_and_by_keyword():
    network = Forward(lambda self, x: F.max_pool2d(F.max_pool2d(x, 2), kernel_size=3))
    first, second = record(network, IMAGE).calls
    assert (first.argument(1, "kernel_size"), second.argument(1, "kernel_size")) == (2, 3)
    assert first.argument(9, "nothing", 7) == 7


@pytest.mark.parametrize("name", ["relu", "relu_"])
def test_an_observer_may_replace_the_results_of_functions_in_place_too(name):
    def zeros(number, call, results):
        return [torch.zeros_like(result) for result in results] if call.name == name else None

    network = Forward(lambda self, x: getattr(x + 1, name)() + 3)
    assert torch.equal(record(network, IMAGE, observer=zeros).results[0], torch.full_like(IMAGE, 3.0))


def test_what_an_observer_puts_in_the_place_of_an_in_place_result_is_in_the_tensor_itself():
    def change(self, x):
        y = x + 1
        y.mul_(5)
        return y

    found = record(
        Forward(change), IMAGE, observer=lambda n, call, r: [torch.ones_like(r[0])] if call.name == "mul_" else None
    )
    assert torch.equal(found.results[0], torch.ones_like(IMAGE))


def test_an_observer_may_replace_the_results_of_a_layer():
    found = record(
        nn.Sequential(nn.ReLU(), nn.Tanh()), IMAGE, observer=lambda number, call, r: [torch.full_like(r[0], number)]
    )
    assert torch.equal(found.results[0], torch.ones_like(IMAGE))


def test_an_observer_is_told_numbers_in_order():
    seen = []
    record(
        nn.Sequential(nn.ReLU(), nn.Tanh()), IMAGE, observer=lambda number, call, r: seen.append((number, call.name))
    )
    assert seen == [(0, "ReLU"), (1, "Tanh")]


def test_what_an_observer_computes_is_not_recorded():
    def compute(number, call, results):
        torch.sigmoid(results[0])

    assert names(nn.ReLU(), IMAGE, observer=compute) == ["ReLU"]


@pytest.mark.parametrize(
    "pack",
    [lambda a, b: (a, b), lambda a, b: [a, b], lambda a, b: {"out": a, "aux": b}, Pair],
    ids=["tuple", "list", "dictionary", "named tuple"],
)
def test_nested_results_are_all_outputs(pack):
    found = record(Forward(lambda self, x: pack(x + 1, x.mean((2, 3)))), IMAGE)
    assert [value.shape for value in found.outputs] == [(2, 3, 6, 6), (2, 3)]
    assert torch.equal(found.results[0], IMAGE + 1)


def test_hooks_are_gone_after_a_run():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    record(network, IMAGE)
    assert not hooks_of(network)


def test_hooks_are_gone_after_a_run_that_raises_and_the_error_says_where():
    inner = Forward(lambda self, x: x.view(7, -1))
    network = nn.Sequential(nn.ReLU(), inner)
    with pytest.raises(RuntimeError) as raised:
        record(network, IMAGE)
    assert not hooks_of(network)
    assert raised.value.__notes__ == ['in "1"']


def test_functions_after_a_run_that_raised_are_not_recorded():
    network = Forward(lambda self, x: torch.tanh(x.view(7, -1)))
    with pytest.raises(RuntimeError):
        record(network, IMAGE)
    assert names(nn.ReLU(), IMAGE) == ["ReLU"]


def test_a_run_computes_what_the_network_does_without_gradients():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    (result,) = record(network, IMAGE).results
    assert torch.equal(result, network(IMAGE)) and not result.requires_grad


def test_a_run_leaves_the_mode_as_it_is():
    network = nn.Sequential(nn.BatchNorm2d(3))
    record(network.eval(), IMAGE)
    assert not network.training and int(network[0].num_batches_tracked) == 0
    record(network.train(), IMAGE)
    assert network.training and int(network[0].num_batches_tracked) == 1


def test_a_module_that_is_used_twice_is_recorded_twice():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    calls = record(nn.Sequential(conv, conv), IMAGE).calls
    assert [call.module for call in calls] == [conv, conv]
