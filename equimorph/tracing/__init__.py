"""What happens to tensors in a network, whoever wrote it: a run on an example, call by call.

`record` writes down the calls of layers and functions, `follow_network` finds the features between them: which axes are
channels and positions, and whether the group permutes the channels.
"""

from equimorph.tracing.features import Feature, Segment, Term, can_transform, transformed
from equimorph.tracing.findings import Flow, ParameterUse, Problem, WeightUse
from equimorph.tracing.flow import follow_network
from equimorph.tracing.recording import Call, Recording, Value, is_layer, record

__all__ = [
    "Call",
    "Feature",
    "Flow",
    "ParameterUse",
    "Problem",
    "Recording",
    "Segment",
    "Term",
    "Value",
    "WeightUse",
    "can_transform",
    "follow_network",
    "is_layer",
    "record",
    "transformed",
]
