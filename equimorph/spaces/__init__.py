"""Weight spaces: a layer is an ordinary convolution whose dense kernel comes from one.

A weight space knows which kernels it can make (all that are H-equivariant, a mixture over subgroups, an equivariant
part and a free residual) and makes one on demand. `_base.py` is the contract, each family of spaces is one file beside
it: `tied.py`, `mixed.py`, `residual.py`.
"""

from equimorph.spaces._base import KernelShape, WeightSpace, check_relaxation
from equimorph.spaces.catalog import space_described
from equimorph.spaces.dense import dense_from_rows, has_fast_path, rows_from_dense
from equimorph.spaces.energy import Energy, energy_shares, energy_within
from equimorph.spaces.expansion import Expansion
from equimorph.spaces.formats import is_channels_last
from equimorph.spaces.mixed import MixedSpace, TiedMixedSpace
from equimorph.spaces.mixture import LogitMixture, Mixture, MixtureStart
from equimorph.spaces.residual import ResidualSpace
from equimorph.spaces.tied import TiedSpace

__all__ = [
    "Energy",
    "Expansion",
    "KernelShape",
    "LogitMixture",
    "MixedSpace",
    "Mixture",
    "MixtureStart",
    "ResidualSpace",
    "TiedMixedSpace",
    "TiedSpace",
    "WeightSpace",
    "check_relaxation",
    "dense_from_rows",
    "energy_shares",
    "energy_within",
    "has_fast_path",
    "is_channels_last",
    "rows_from_dense",
    "space_described",
]
