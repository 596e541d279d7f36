"""Reference networks, ready to be searched, and the list of them by name."""

from equimorph.models.catalog import MODELS, model_named, rebuild_model
from equimorph.models.paper import PaperNetwork
from equimorph.models.resnet import ResNet

__all__ = ["MODELS", "PaperNetwork", "ResNet", "model_named", "rebuild_model"]
