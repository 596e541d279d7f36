"""Torch modules on weight spaces. Plain tensors go in and come out, in one layout whatever the constraint.

A regular feature of C fields is a tensor (batch, C n, *spatial), channel c n + g; a trivial feature of C channels is
(batch, C, *spatial). So layers of different constraint compose without reshaping, and pointwise operations (ReLU,
dropout of whole positions, residual sums) fit between any two of them.
"""

from equimorph.layers._base import Constrained, Site, SpaceLayer, constrained_modules, set_order, sites_of
from equimorph.layers.by_element import NormByElement
from equimorph.layers.convolution import Conv1d, Conv2d, Conv3d
from equimorph.layers.features import transform
from equimorph.layers.kept import frozen_kernels, shared_kernels
from equimorph.layers.linear import Linear
from equimorph.layers.norm import BatchNorm
from equimorph.layers.parameter import TiedParameter
from equimorph.layers.pooling import AvgPool, GlobalAvgPool, MaxPool, keeps_grid
from equimorph.layers.transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Constrained",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "GlobalAvgPool",
    "Linear",
    "MaxPool",
    "NormByElement",
    "Site",
    "SpaceLayer",
    "TiedParameter",
    "constrained_modules",
    "frozen_kernels",
    "keeps_grid",
    "set_order",
    "shared_kernels",
    "sites_of",
    "transform",
]
