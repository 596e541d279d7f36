"""Filters that nobody learns, such as blurs, and sums over positions by a product of matrices."""

import pytest
import torch
import torch.nn.functional as F
from own_forward import Forward
from torch import nn

import equimorph as em
from equimorph.inspection.windows import windows_of
from equimorph.tracing import follow_network, record

BINOMIAL = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])) / 16


def blur(self, x):
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, self.kernel.expand(x.shape[1], 1, 3, 3), stride=2, groups=x.shape[1])


def weighed(self, x):
    """A pooling by attention: the mean over positions, weighed by a map."""
    weights = self.conv(x).flatten(2).softmax(-1)  # (batch, 1, positions)
    return (x.flatten(2).unsqueeze(1) @ weights.unsqueeze(3)).view(*x.shape[:2], 1, 1)


def classifier(*middle):
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *middle, *head)


def blurring(kernel=BINOMIAL):
    module = Forward(blur)
    module.register_buffer("kernel", kernel[None, None])
    return module


def problems_of(network, shape=(2, 3, 9, 9)):
    return [problem.reason for problem in follow_network(network, torch.randn(shape)).problems]


def test_a_blur_with_a_buffer_is_followed():
    assert not problems_of(classifier(blurring()))


@pytest.mark.parametrize("name", ["kernel", "half"])
def test_a_filter_for_each_channel_that_is_learned_is_a_problem(name):
    forward = {
        "kernel": lambda self, x: F.conv2d(x, self.kernel, groups=16),
        "half": lambda self, x: F.conv2d(x, self.kernel / self.kernel.norm(), groups=16),
    }[name]
    own = Forward(forward, kernel=nn.Parameter(torch.randn(16, 1, 3, 3)))
    assert problems_of(classifier(own)) == ["its forward calls conv2d with a weight of its own"]


def test_a_buffer_that_mixes_channels_is_a_problem():
    own = Forward(lambda self, x: F.conv2d(x, self.kernel))
    own.register_buffer("kernel", torch.randn(16, 16, 1, 1))
    assert problems_of(classifier(own)) == ["its forward calls conv2d with a weight of its own"]


def test_a_network_that_blurs_is_converted_exactly():
    network = em.equivariantize(classifier(blurring()), "D4", torch.randn(2, 3, 9, 9))
    assert network.conversion.exact


def test_a_blur_that_is_not_symmetric_is_named():
    lopsided = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    with pytest.warns(em.errors.EquivarianceWarning):
        network = em.equivariantize(classifier(blurring(lopsided)), "D4", torch.randn(2, 3, 9, 9))
    assert [found.path for found in network.conversion.breaks] == ["2: conv2d"]


def test_a_blur_whose_stride_does_not_fit_is_named_with_the_sizes_that_do():
    with pytest.warns(em.errors.EquivarianceWarning):
        network = em.equivariantize(classifier(blurring()), "D4", torch.randn(2, 3, 10, 10))
    (found,) = network.conversion.breaks
    assert found.path == "2: conv2d" and "stride 2 against size 12" in found.reason and "11 or 9" in found.remedy


@pytest.mark.parametrize(
    ("settings", "rest"), [((None, 2, 1), 1), ((None, 2, 0), 1), ((None, 3, 2, 2), 0), ((None, 1, "same"), None)]
)
def test_the_windows_of_a_convolution_that_is_a_function_are_found(settings, rest):
    kernel = torch.randn(3, 3, 3, 3)
    (call,) = record(Forward(lambda self, x: F.conv2d(x, kernel, *settings)), torch.randn(1, 3, 10, 10)).calls
    assert [window.rest for window in windows_of(call)] == ([] if rest is None else [rest, rest])


def test_a_mean_weighed_by_a_map_is_followed_and_exact():
    model = classifier(Forward(weighed, conv=nn.Conv2d(16, 1, 1)), nn.Conv2d(16, 16, 1))
    network = em.equivariantize(model, "D4", torch.randn(2, 3, 9, 9))
    assert network.conversion.exact
    assert network.get_submodule("2.conv").target == "trivial"


@pytest.mark.parametrize(
    "product",
    [
        lambda x: x.transpose(1, 2) @ x,  # a sum over channels
        lambda x: x @ x.transpose(1, 2),  # channels by channels
        lambda x: torch.bmm(x, x.transpose(1, 2)),
    ],
)
def test_other_products_of_features_are_not_followed(product):
    flow = follow_network(Forward(lambda self, x: product(x.flatten(2))), torch.randn(2, 3, 4, 4))
    assert not set(flow.recording.outputs) & set(flow.features)


def test_an_addition_of_what_was_lost_says_where():
    def mixed(self, x):  # channels and positions exchanged
        flat = x.flatten(2)
        return x + torch.bmm((flat.transpose(1, 2) @ flat).softmax(1), flat.transpose(1, 2)).reshape(x.shape)

    with pytest.warns(em.errors.EquivarianceWarning):
        network = em.equivariantize(classifier(Forward(mixed)), "D4", torch.randn(2, 3, 9, 9))
    (found,) = network.conversion.breaks
    assert found.path == "2: add" and "not known after bmm" in found.reason


def test_a_map_of_weights_that_belongs_to_a_regular_feature_is_a_problem():
    lift = em.layers.Conv2d(3, 1, 1, group="C4", source="trivial")
    network = Forward(lambda self, x: x.flatten(2) @ self.lift(x)[:, :1].flatten(2).transpose(1, 2), lift=lift)
    assert any("no whole feature" in reason for reason in problems_of(network))
