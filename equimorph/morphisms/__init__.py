"""Network in, network out. A morphism returns a new module and leaves its argument as it was.

`relax` frees a layer and keeps its function, `constrain` goes the other way and loses what does not commute;
optimizers follow a relaxation with `carry_optimizer`. `mix` and `add_residual` put a layer on a weight space that
several subgroups share, `discretize` comes back to single ones. `plain` leaves the library for torch's own classes.
"""

from equimorph.morphisms.discretize import discretize
from equimorph.morphisms.mix import add_residual, mix
from equimorph.morphisms.optimizers import carry_optimizer, parameter_groups
from equimorph.morphisms.plain import plain, plain_source
from equimorph.morphisms.reinitialize import reinitialize
from equimorph.morphisms.relax import constrain, relax

__all__ = [
    "add_residual",
    "carry_optimizer",
    "constrain",
    "discretize",
    "mix",
    "parameter_groups",
    "plain",
    "plain_source",
    "reinitialize",
    "relax",
]
