"""equimorph finds how much symmetry each layer of a neural network should have, while the network trains."""

from equimorph import layers, models, testing
from equimorph.errors import EquimorphError
from equimorph.groups import group, search_groups
from equimorph.inspection import distances, sites
from equimorph.morphisms import carry_optimizer, constrain, parameter_groups, plain, reinitialize, relax

__version__ = "0.1.0"

__all__ = [
    "EquimorphError",
    "carry_optimizer",
    "constrain",
    "distances",
    "group",
    "layers",
    "models",
    "parameter_groups",
    "plain",
    "reinitialize",
    "relax",
    "search_groups",
    "sites",
    "testing",
]
