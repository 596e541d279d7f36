import json

import pytest
import torch

import equimorph as em
from equimorph.errors import ConfigurationError, GroupError
from equimorph.models import MODELS, PaperNetwork, ResNet, model_named, rebuild_model

SIZES = {"image_size": 8, "in_channels": 1, "num_classes": 3}
NETWORKS = [
    PaperNetwork(group="D4", fields=1, depth=2, kernel_size=3, head_units=4, **SIZES),
    ResNet(group="D4", fields=(1, 2), blocks=1, **SIZES),
]


def test_every_name_is_that_of_its_class():
    assert {name: model.__name__ for name, model in MODELS.items()} == {name: name for name in MODELS}
    assert [model_named(name) for name in MODELS] == [PaperNetwork, ResNet]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
def test_a_network_is_made_again_from_what_a_file_holds(network):
    arguments = json.loads(json.dumps(network.arguments))
    name = type(network).__name__
    relaxed = em.relax(network, "C4").eval()
    twin = rebuild_model(name, arguments, [H.name for H in em.sites(relaxed).values()])
    assert type(twin) is type(network) and twin.arguments == arguments and em.sites(twin) == em.sites(relaxed)
    twin.load_state_dict(relaxed.state_dict())
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(twin.eval()(x), relaxed(x))
    assert set(em.sites(rebuild_model(name, arguments)).values()) == {em.group("D4").whole}
    assert arguments == network.arguments


@pytest.mark.parametrize("name", ["resnet", "", "VGG"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    for call in (lambda: model_named(name), lambda: rebuild_model(name, {})):
        with pytest.raises(ConfigurationError, match=f'no network "{name}"; there are PaperNetwork, ResNet'):
            call()


def test_arguments_of_another_network_are_refused():
    with pytest.raises(ConfigurationError, match=r"ResNet cannot be made again from the arguments group, dim.*depth"):
        rebuild_model("ResNet", NETWORKS[0].arguments)
    with pytest.raises(ConfigurationError, match=r"PaperNetwork cannot be made again.*group"):
        rebuild_model("PaperNetwork", {"depth": 2})
    with pytest.raises(GroupError, match='no group "D5"'):
        rebuild_model("ResNet", NETWORKS[1].arguments | {"group": "D5"})
