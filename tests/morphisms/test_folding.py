"""Batch norms go into the layers before them, and stay wherever that would change the network."""

import copy

import pytest
import torch
import torch.nn.functional as F
from architectures import architecture
from torch import nn

import equimorph as em
from equimorph.morphisms.folding import fold_norms
from equimorph.testing import TOLERANCES

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
PAIRS = {
    "convolution": (lambda **kind: nn.Conv2d(4, 6, 3, stride=2, dilation=2, **kind), 2),
    "of signals": (lambda **kind: nn.Conv1d(4, 6, 3, padding=1, **kind), 1),
    "of volumes": (lambda **kind: nn.Conv3d(4, 6, 2, **kind), 3),
    "padded by reflection": (lambda **kind: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect", **kind), 2),
    "grouped": (lambda **kind: nn.Conv2d(4, 6, 3, groups=2, **kind), 2),
    "depthwise": (lambda **kind: nn.Conv2d(4, 4, 3, groups=4, **kind), 2),
    "transposed": (lambda **kind: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, **kind), 2),
    "transposed, grouped": (lambda **kind: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, **kind), 2),
    "transposed, depthwise": (lambda **kind: nn.ConvTranspose3d(4, 4, 2, groups=4, **kind), 3),
    "linear": (lambda **kind: nn.Linear(4, 6, **kind), 0),
}


@torch.no_grad()
def as_if_trained(network):
    """In evaluation mode, with random statistics and affine values in its norms."""
    for module in network.modules():
        if isinstance(module, NORMS) and module.running_var is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, NORMS) and module.affine:
            module.weight.normal_()
            module.bias.normal_()
    return network.eval()


def norms_in(network):
    return [path for path, module in network.named_modules() if isinstance(module, NORMS)]


@torch.no_grad()
def difference(one, other, x):
    expected = other(x)
    return float((one(x) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("affine", [True, False], ids=["affine", "not affine"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_layer_with_its_norm_becomes_one_layer_of_the_same_function(pair, bias, affine, dtype):
    make, dim = PAIRS[pair]
    layer = make(bias=bias)
    channels = layer.out_features if dim == 0 else layer.out_channels
    norm = NORMS[max(dim - 1, 0)](channels, affine=affine, eps=0.1)
    network = as_if_trained(nn.Sequential(layer, norm, nn.ReLU()).to(dtype))
    x = torch.randn(3, 4, *(7,) * dim, dtype=dtype)
    folded = fold_norms(network, x)
    assert [type(part) for part in folded] == [type(layer), nn.Identity, nn.ReLU]
    assert difference(folded, network, x) < TOLERANCES[dtype]
    assert folded[0].bias is not None and (str(folded[0]) == str(layer)) == bias


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)


class InputUsedElsewhere(Pair):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class InputLookedAt(Pair):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) * y[:, :1]


class InputReturned(Pair):
    def forward(self, x):
        y = self.conv(x)
        return torch.cat([y, self.norm(y)])


class ConvUsedTwice(Pair):
    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class NormUsedTwice(Pair):
    def forward(self, x):
        return self.norm(self.norm(self.conv(x)))


class ChangedInPlace(Pair):
    def forward(self, x):
        y = self.conv(x)
        y += 1
        return self.norm(y)


class WeightReadByAFunction(Pair):
    def forward(self, x):
        return self.norm(self.conv(x)) + F.conv2d(x, self.conv.weight, padding=1)


class StatisticsReadByAFunction(Pair):
    def forward(self, x):
        return self.norm(self.conv(x)) - self.norm.running_mean.view(-1, 1, 1)


class BatchStatistics(Pair):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x):
        return self.norm(self.conv(x))


class NormFirst(Pair):
    def forward(self, x):
        return self.conv(self.norm(x))


class WeightFromAHook(Pair):
    def __init__(self):
        super().__init__()
        nn.utils.spectral_norm(self.conv)  # by a hook; the newer one in torch.nn.utils.parametrizations has none

    def forward(self, x):
        return self.norm(self.conv(x))


class ParametrizedWeight(Pair):
    def __init__(self):
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)

    def forward(self, x):
        return self.norm(self.conv(x))


class OwnForward(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).relu()


class OwnConvolution(Pair):
    def __init__(self):
        super().__init__()
        self.conv = OwnForward(4, 4, 3)

    def forward(self, x):
        return self.norm(self.conv(x))


STAYING = [
    InputUsedElsewhere,
    InputLookedAt,
    InputReturned,
    ConvUsedTwice,
    NormUsedTwice,
    ChangedInPlace,
    WeightReadByAFunction,
    StatisticsReadByAFunction,
    BatchStatistics,
    NormFirst,
    WeightFromAHook,
    ParametrizedWeight,
    OwnConvolution,
]


@pytest.mark.parametrize("made", STAYING)
def test_a_norm_stays_where_folding_it_would_change_the_network(made):
    network = as_if_trained(made().double())
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    folded = fold_norms(network, x)
    assert norms_in(folded) == ["norm"] and difference(folded, network, x) == 0


def test_a_norm_behind_a_linear_map_of_maps_stays():
    network = as_if_trained(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(3)))  # channels are the second axis, of 3
    x = torch.randn(2, 3, 5)
    folded = fold_norms(network, x)
    assert norms_in(folded) == ["1"] and difference(folded, network, x) == 0


def test_the_network_is_left_as_it_was():
    network = as_if_trained(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))).train()
    before = copy.deepcopy(network.state_dict())
    folded = fold_norms(network, torch.randn(2, 1, 5, 5))
    assert network.training and not folded.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert type(network[1]) is nn.BatchNorm2d


def test_a_frozen_layer_stays_frozen():
    network = as_if_trained(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)))
    x = torch.zeros(1, 1, 5, 5)
    assert all(parameter.requires_grad for parameter in fold_norms(network, x).parameters())
    assert not any(parameter.requires_grad for parameter in fold_norms(network.requires_grad_(False), x).parameters())


@pytest.mark.parametrize("name", ["resnet", "bottleneck", "mobilenetv2", "unet", "resnet3d", "resnet1d"])
def test_no_batch_norm_is_left_in_a_network_whose_norms_follow_convolutions(name):
    case = architecture(name)
    group = em.group(case.group, dim=len(case.sides))
    network = em.equivariantize(case.model().double(), group, case.example(dtype=torch.float64))
    with torch.no_grad():
        network.train()(case.example(4, dtype=torch.float64))
    x = case.example(dtype=torch.float64)
    folded = em.plain(network.eval(), x, fold_norms=True)
    assert norms_in(em.plain(network, x)) and not norms_in(folded)
    assert difference(folded, network, x) < 1e-11
    assert sum(p.numel() for p in folded.parameters()) < sum(p.numel() for p in em.plain(network, x).parameters())


def test_of_our_residual_network_only_the_norm_of_the_pooled_features_is_left():
    network = em.models.ResNet(group="D4", image_size=9, in_channels=1, num_classes=3, fields=(1, 2), blocks=1).double()
    x = torch.randn(3, 1, 9, 9, dtype=torch.float64)
    network(x)
    folded = em.plain(network, x, fold_norms=True)
    assert norms_in(folded) == ["head.norm"]
    assert difference(folded, network.eval(), x) < 1e-12
