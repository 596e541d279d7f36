"""equimorph finds how much symmetry each layer of a neural network should have, while the network trains."""

from equimorph import layers, testing
from equimorph.errors import EquimorphError
from equimorph.groups import group, search_groups

__version__ = "0.1.0"

__all__ = ["EquimorphError", "group", "layers", "search_groups", "testing"]
