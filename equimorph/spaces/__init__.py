"""Weight spaces: a layer is an ordinary convolution whose dense kernel comes from one.

A weight space knows which kernels it can make (all that are H-equivariant, a mixture over subgroups, ...) and makes
one on demand. `_base.py` is the contract, each family of spaces is one file beside it.
"""

from equimorph.spaces._base import KernelShape, WeightSpace, check_relaxation, dense_from_rows
from equimorph.spaces.expansion import Expansion
from equimorph.spaces.tied import TiedSpace

__all__ = ["Expansion", "KernelShape", "TiedSpace", "WeightSpace", "check_relaxation", "dense_from_rows"]
