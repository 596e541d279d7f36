"""The reference networks by name, and one made again from what a file says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from equimorph.errors import ConfigurationError
from equimorph.models.paper import PaperNetwork
from equimorph.models.resnet import ResNet

Model = PaperNetwork | ResNet

MODELS: dict[str, type[PaperNetwork] | type[ResNet]] = {"PaperNetwork": PaperNetwork, "ResNet": ResNet}
"""The class of each network, by the name that run folders and the command give it."""


def model_named(name: str) -> type[PaperNetwork] | type[ResNet]:
    """The class of a reference network.

    Raises:
        ConfigurationError: There is none of that name; the message lists those there are.
    Example:
        >>> model_named("ResNet").__name__
        'ResNet'
    """
    if name not in MODELS:
        raise ConfigurationError(f'models: no network "{name}"; there are {", ".join(MODELS)}.')
    return MODELS[name]


def rebuild_model(name: str, arguments: Mapping[str, Any], constraints: Sequence[str] | None = None) -> Model:
    """A network of the shape that another one's `arguments` describe, with new initial values.

    Args:
        name: Of its class, as in `MODELS`.
        arguments: What the other network has as `.arguments`, which a JSON file holds as it is.
        constraints: One subgroup for each site; G for all when left out.
    Raises:
        ConfigurationError: There is no network of that name, or it takes other arguments.
        ShapeError, GroupError: Arguments that make no network.
    Example:
        >>> network = ResNet(group="D4", image_size=8, in_channels=1, num_classes=3, fields=(1, 2), blocks=1)
        >>> rebuild_model("ResNet", network.arguments).arguments == network.arguments
        True
    """
    model = model_named(name)
    try:
        return model.from_arguments(dict(arguments), constraints)
    except (TypeError, KeyError) as error:
        raise ConfigurationError(
            f"models: {name} cannot be made again from the arguments {', '.join(arguments)}: {error}; pass the "
            f"arguments of a {name} as they are."
        ) from None
