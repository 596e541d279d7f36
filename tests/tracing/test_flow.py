"""Which types the flow of features forces, which parameters it finds, and what is a problem."""

import pytest
import torch
import torch.nn.functional as F
from own_forward import Forward
from torch import nn

from equimorph.tracing import follow_network

IMAGE = torch.randn(2, 3, 6, 6)


def kinds(flow):
    """Of what each layer returns, by path."""
    return {use.call.path: [segment.term.kind for segment in use.target.segments] for use in flow.weights}


def scaled(shape, forward=lambda self, x: self.conv(x) * self.gamma):
    """A convolution to 8 channels and a parameter."""
    return Forward(forward, conv=nn.Conv2d(3, 8, 1), gamma=nn.Parameter(torch.ones(shape)))


def test_the_image_is_trivial_and_what_convolutions_return_is_open():
    flow = follow_network(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)), IMAGE)
    assert [use.source.term().kind for use in flow.weights] == ["trivial", None]
    assert kinds(flow) == {"0": [None], "2": [None]}
    assert not flow.problems


def test_the_output_settles_the_last_layer_alone():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Tanh())
    assert kinds(follow_network(network, IMAGE, output="trivial")) == {"0": [None], "2": ["trivial"]}
    assert kinds(follow_network(network, IMAGE, output="regular")) == {"0": [None], "2": ["regular"]}


def test_the_output_settles_all_that_is_added_to_it():
    network = Forward(lambda self, x: self.one(x) + self.other(x), one=nn.Conv2d(3, 4, 1), other=nn.Conv2d(3, 4, 1))
    assert kinds(follow_network(network, IMAGE, output="trivial")) == {"one": ["trivial"], "other": ["trivial"]}


def test_one_channel_that_multiplies_all_is_trivial():
    network = Forward(lambda self, x: self.body(x) * self.gate(x), body=nn.Conv2d(3, 8, 1), gate=nn.Conv2d(3, 1, 1))
    assert kinds(follow_network(network, IMAGE)) == {"gate": ["trivial"], "body": [None]}


def test_one_channel_that_is_expanded_to_all_is_trivial():
    network = Forward(
        lambda self, x: self.body(x) + self.gate(x).expand(-1, 8, -1, -1),
        body=nn.Conv2d(3, 8, 1),
        gate=nn.Conv2d(3, 1, 1),
    )
    assert kinds(follow_network(network, IMAGE)) == {"gate": ["trivial"], "body": [None]}


def test_what_is_added_to_the_image_is_trivial():
    network = Forward(lambda self, x: x - self.body(x), body=nn.Conv2d(3, 3, 1))
    assert kinds(follow_network(network, IMAGE)) == {"body": ["trivial"]}


def test_a_depthwise_convolution_keeps_the_type():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    pointwise, depthwise = follow_network(network, IMAGE).weights
    assert depthwise.target.term().root is pointwise.target.term().root


def test_a_depthwise_convolution_of_the_image_is_trivial():
    assert kinds(follow_network(nn.Conv2d(3, 3, 3, groups=3), IMAGE)) == {"": ["trivial"]}


def test_a_grouped_convolution_that_is_not_depthwise_does_not_keep_the_type():
    assert kinds(follow_network(nn.Conv2d(3, 6, 3, groups=3), IMAGE)) == {"": [None]}


def test_a_shared_module_is_found_at_each_place():
    conv = nn.Conv2d(3, 3, 1)
    first, second = follow_network(nn.Sequential(conv, nn.ReLU(), conv), IMAGE).weights
    assert first.call.module is second.call.module and (first.number, second.number) == (0, 2)


def test_what_leads_to_a_map_is_found_behind_a_pool_too():
    def gated(self, x):
        x = self.body(x)
        return self.head((x * self.gate(x.mean((2, 3)))[:, :, None, None]).mean((2, 3)))

    network = Forward(gated, body=nn.Conv2d(3, 8, 1), gate=nn.Linear(8, 8), head=nn.Linear(8, 2))
    flow = follow_network(network, IMAGE)
    to_maps = flow.leads_to_map()
    assert {use.call.path: use.call.outputs[0] in to_maps for use in flow.weights} == {
        "body": True,
        "gate": True,
        "head": False,
    }


def channels_last(self, x):
    return (self.conv(x).movedim(1, -1) * self.gamma).movedim(-1, 1)


def normalised(self, x):
    return F.layer_norm(self.conv(x).movedim(1, -1), (8,), self.gamma)


@pytest.mark.parametrize(
    "network",
    [
        scaled((8, 1, 1)),
        scaled((1, 8, 1, 1)),
        scaled(8, channels_last),
        scaled((1, 1, 8), channels_last),
        scaled(8, lambda self, x: self.conv(x) + self.gamma[:, None, None]),
        scaled(8, lambda self, x: self.conv(x) + self.gamma.view(1, -1, 1, 1)),
        scaled(8, normalised),
        scaled(8, lambda self, x: F.group_norm(self.conv(x), 2, self.gamma)),
        scaled(8, lambda self, x: F.prelu(self.conv(x), self.gamma)),
        scaled(8, lambda self, x: self.conv(x).mean((2, 3)) * self.gamma),
    ],
    ids=[
        "layer scale",
        "with a batch axis",
        "channels last",
        "channels last with more axes",
        "indexed",
        "viewed",
        "layer_norm",
        "group_norm",
        "prelu",
        "of a vector",
    ],
)
def test_a_parameter_per_channel_is_found(network):
    flow = follow_network(network, IMAGE)
    (use,) = flow.parameters
    assert use.name == "gamma" and use.feature.channels == 8
    assert use.feature.term().root is flow.weights[0].target.term().root
    assert not flow.problems


def test_a_parameter_per_channel_is_found_by_its_full_name():
    flow = follow_network(nn.Sequential(nn.Identity(), scaled((8, 1, 1))), IMAGE)
    assert [use.name for use in flow.parameters] == ["1.gamma"]


def test_a_buffer_per_channel_is_found():
    network = Forward(lambda self, x: self.conv(x) + self.mean, conv=nn.Conv2d(3, 8, 1))
    network.register_buffer("mean", torch.zeros(8, 1, 1))
    assert [use.name for use in follow_network(network, IMAGE).parameters] == ["mean"]


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)], ids=str)
def test_a_parameter_of_one_value_is_no_parameter_per_channel(shape):
    flow = follow_network(scaled(shape), IMAGE)
    assert not flow.parameters and not flow.problems


@pytest.mark.parametrize("shape", [(1, 8, 6, 6), (6, 6), (1, 1, 6, 1), (6,)], ids=str)
def test_a_parameter_by_position_is_a_problem(shape):
    (problem,) = follow_network(scaled(shape), IMAGE).problems
    assert '"gamma"' in problem.reason and "by position" in problem.reason and problem.remedy


def test_a_function_with_a_weight_of_its_own_is_a_problem():
    network = nn.Sequential(scaled((4, 3, 1, 1), lambda self, x: F.conv2d(x, self.gamma)))
    (problem,) = follow_network(network, IMAGE).problems
    assert (problem.path, problem.module) == ("0", "0") and "conv2d with a weight of its own" in problem.reason


def test_a_linear_map_of_positions_is_a_problem():
    (problem,) = follow_network(nn.Linear(6, 4), IMAGE).problems
    assert "an axis that is not the channels" in problem.reason


def test_a_linear_map_of_tokens_is_none():
    network = Forward(lambda self, x: self.mlp(x.flatten(2).transpose(1, 2)), mlp=nn.Linear(3, 8))
    flow = follow_network(network, IMAGE)
    assert not flow.problems and flow.weights[0].target.axes == (("b",), (0, 1), ("c",))


def test_a_convolution_of_channels_last_is_a_problem():
    network = Forward(lambda self, x: self.conv(x.movedim(1, -1)), conv=nn.Conv2d(6, 4, 1))
    (problem,) = follow_network(network, IMAGE).problems
    assert problem.path == "conv" and "laid out" in problem.reason


def lost(self, x):
    return self.second(self.first(F.pixel_unshuffle(x, 2)))


def test_a_layer_that_no_feature_reaches_is_one_problem_and_the_next_one_none():
    network = Forward(lost, first=nn.Conv2d(12, 4, 1), second=nn.Conv2d(4, 4, 1))
    flow = follow_network(network, IMAGE, go_on=True)
    assert [problem.path for problem in flow.problems] == ["first"]
    assert "pixel_unshuffle" in flow.problems[0].reason
    assert list(kinds(flow)) == ["second"]


def test_an_output_that_no_feature_reaches_is_a_problem():
    flow = follow_network(Forward(lambda self, x: F.pixel_unshuffle(x, 2)), IMAGE, output="trivial")
    (problem,) = flow.problems
    assert problem.path == "the output" and "pixel_unshuffle" in problem.reason


def test_an_output_made_of_different_types_is_a_problem():
    network = Forward(lambda self, x: torch.cat([x, self.conv(x)], 1), conv=nn.Conv2d(3, 8, 1))
    assert not follow_network(network, IMAGE, output="trivial").problems
    (problem,) = follow_network(network, IMAGE, output="regular").problems
    assert problem.path == "the output" and "different types" in problem.reason


def test_an_opaque_module_is_no_problem_and_gives_a_feature():
    network = Forward(lost, first=nn.Conv2d(12, 4, 1), second=nn.Conv2d(4, 4, 1))
    flow = follow_network(nn.Sequential(network, nn.ReLU()), IMAGE, opaque=["0"], go_on=True)
    assert not flow.problems and not flow.weights
    assert flow.features[flow.recording.outputs[0]].channels == 4


def test_a_problem_is_told_with_its_path_reason_and_remedy():
    (problem,) = follow_network(nn.Sequential(scaled((6, 6))), IMAGE).problems
    assert str(problem) == f'"0": {problem.reason}; {problem.remedy}'
