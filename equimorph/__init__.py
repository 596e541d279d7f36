"""equimorph finds how much symmetry each layer of a neural network should have, while the network trains."""

from equimorph import data, deploy, layers, models, reports, search, testing, training
from equimorph.deploy import export
from equimorph.errors import EquimorphError
from equimorph.groups import group, search_groups
from equimorph.inspection import audit, distances, mixture_shares, sites
from equimorph.layers import frozen_kernels, shared_kernels
from equimorph.morphisms import (
    add_residual,
    average_over_group,
    carry_optimizer,
    constrain,
    discretize,
    equivariantize,
    mix,
    parameter_groups,
    plain,
    reinitialize,
    relax,
)
from equimorph.probing import probe
from equimorph.search import load

__version__ = "0.1.0"

__all__ = [
    "EquimorphError",
    "add_residual",
    "audit",
    "average_over_group",
    "carry_optimizer",
    "constrain",
    "data",
    "deploy",
    "discretize",
    "distances",
    "equivariantize",
    "export",
    "frozen_kernels",
    "group",
    "layers",
    "load",
    "mix",
    "mixture_shares",
    "models",
    "parameter_groups",
    "plain",
    "probe",
    "reinitialize",
    "relax",
    "reports",
    "search",
    "search_groups",
    "shared_kernels",
    "sites",
    "testing",
    "training",
]
