"""A user's own network, with every convolution on a weight space.

The network is run once on an example, which shows what reaches each layer (`equimorph.tracing`); then layers are
exchanged, one by one, and its own code stays. `plan.py` says which takes the place of which; `weighted.py` and
`norms.py` make them, `values.py` their first values, `widths.py` says how many fields take the place of channels;
`measure.py` runs the result, `report.py` is what the user is told.
"""

from equimorph.morphisms.conversion.equivariantize import equivariantize
from equimorph.morphisms.conversion.report import Conversion, ConvertedLayer

__all__ = ["Conversion", "ConvertedLayer", "equivariantize"]
