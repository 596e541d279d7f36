"""Network in, network out. A morphism returns a new module and leaves its argument as it was.

`relax` frees a layer and keeps its function, `constrain` goes the other way and loses what does not commute;
optimizers follow a relaxation with `carry_optimizer`. `mix` and `add_residual` put a layer on a weight space that
several subgroups share, `discretize` comes back to single ones. `equivariantize` takes in a user's own network,
`average_over_group` wraps one whole. `plain` leaves the library for torch's own classes.
"""

from equimorph.morphisms.average import GroupAverage, average_over_group
from equimorph.morphisms.conversion import Conversion, equivariantize
from equimorph.morphisms.discretize import discretize
from equimorph.morphisms.mix import add_residual, mix
from equimorph.morphisms.optimizers import carry_optimizer, parameter_groups
from equimorph.morphisms.plain import plain
from equimorph.morphisms.reinitialize import reinitialize
from equimorph.morphisms.relax import constrain, relax
from equimorph.morphisms.source import plain_source

__all__ = [
    "Conversion",
    "GroupAverage",
    "add_residual",
    "average_over_group",
    "carry_optimizer",
    "constrain",
    "discretize",
    "equivariantize",
    "mix",
    "parameter_groups",
    "plain",
    "plain_source",
    "reinitialize",
    "relax",
]
