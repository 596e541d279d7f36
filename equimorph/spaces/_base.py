"""The contract of a weight space: the shape of the kernels it makes, and how they reach a convolution.

A kernel is made as *rows*, one for each index triple (g, u, delta) and one column for each pair of fields (o, c), since
symmetry acts on the triples alone; `dense.py` makes an ordinary convolution weight of them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equimorph.errors import ConfigurationError, MorphismError, ShapeError
from equimorph.groups import Group, Orbits, Representation, Subgroup, kernel_orbits
from equimorph.spaces.dense import dense_from_rows
from equimorph.spaces.formats import KernelFormat


@dataclass(frozen=True)
class KernelShape:
    """Everything about a kernel W[(o, g), (c, u)](delta) but its values.

    Attributes:
        group: G, whose order n is the number of channels of a regular field.
        out_fields: Fields of the out feature (channels, when `target` is trivial).
        in_fields: Fields of the in feature (channels, when `source` is trivial).
        kernel_size: Extent along each axis; () for a linear map of vectors.
        target: Type of the out feature.
        source: Type of the in feature.
    """

    group: Group
    out_fields: int
    in_fields: int
    kernel_size: tuple[int, ...]
    target: Representation = "regular"
    source: Representation = "regular"

    def __post_init__(self) -> None:
        for what, number in (("in_fields", self.in_fields), ("out_fields", self.out_fields)):
            if number < 1:
                raise ConfigurationError(f"layer: {what} is {number}; a layer needs at least one field.")
        if len(self.kernel_size) not in (0, self.group.dim) or any(extent < 1 for extent in self.kernel_size):
            raise ShapeError(
                f"layer: kernel_size {self.kernel_size} does not fit the group {self.group.name}, "
                f"which needs {self.group.dim} positive extents."
            )
        self.orbits(self.group.trivial)  # the types of the features are checked there

    @property
    def out_channels(self) -> int:
        """Channels of the out feature as a plain tensor."""
        return self.out_fields * (self.group.order if self.target == "regular" else 1)

    @property
    def in_channels(self) -> int:
        """Channels of the in feature as a plain tensor."""
        return self.in_fields * (self.group.order if self.source == "regular" else 1)

    @property
    def fan_in(self) -> int:
        """Entries of the dense kernel per out channel."""
        return self.in_channels * math.prod(self.kernel_size)

    @property
    def format(self) -> KernelFormat:
        """The sizes of the dense kernel alone, without the group."""
        num_out, num_in = self.out_channels // self.out_fields, self.in_channels // self.in_fields
        return KernelFormat(self.out_fields, num_out, self.in_fields, num_in, self.kernel_size)

    @property
    def columns(self) -> int:
        """Pairs of fields, the columns of a table of parameters."""
        return self.out_fields * self.in_fields

    def orbits(self, subgroup: Subgroup) -> Orbits:
        """The orbits of H on the index triples of this kernel."""
        return kernel_orbits(subgroup, self.target, self.source, self.kernel_size)

    def bias_orbits(self, subgroup: Subgroup) -> Orbits:
        """The orbits of H on the out index alone: one per right coset Hg, a single one for a trivial target."""
        return kernel_orbits(subgroup, self.target, "trivial", ())


class WeightSpace(nn.Module):
    """A set of kernels of one shape, and its coordinates as parameters. Calling it makes kernel and bias.

    What a family of weight spaces provides: `constraint`, `rows`, `bias_rows`, `parameter_orbits`, `reset_parameters`
    and `description`. Layers and morphisms ask for nothing else.

    Attributes:
        shape: The shape of the kernels.
    """

    def __init__(self, shape: KernelShape) -> None:
        super().__init__()
        self.shape = shape

    @property
    @abstractmethod
    def constraint(self) -> Subgroup:
        """The subgroup that every kernel of this space commutes with."""

    @abstractmethod
    def rows(self) -> Tensor:
        """W as rows, shape (triples, pairs of fields)."""

    @abstractmethod
    def bias_rows(self) -> Tensor | None:
        """b as rows, shape (out indices, out fields), or None."""

    @abstractmethod
    def parameter_orbits(self) -> dict[str, Orbits]:
        """For each parameter that is a table of orbits, by its name in this module, those orbits."""

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new parameters (section 1 of the method), in place."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What a file must say to make a space like this one again: its family under "space", and its arguments."""

    def penalties(self) -> dict[str, float]:
        """For each parameter with a weight penalty of its own, by its name in this module, that of a dense kernel."""
        return {}

    def check_relaxation(self, subgroup: Subgroup) -> None:
        """Raise MorphismError unless the present kernel, whatever it is, lies in the space of `subgroup`."""
        check_relaxation(self.constraint, subgroup)

    def dense_weight(self, *, dtype: torch.dtype | None = None, channels_last: bool = False) -> Tensor:
        """W, shape (out channels, in channels, *kernel_size), an ordinary convolution weight.

        Args:
            dtype: Of the weight; that of the parameters when left out, in which the gradient is summed anyway.
            channels_last: Whether its memory is laid out as that of images with channels last.
        """
        return dense_from_rows(self.rows(), self.shape.format, dtype=dtype, channels_last=channels_last)

    def dense_bias(self) -> Tensor | None:
        """b, shape (out channels,), or None."""
        rows = self.bias_rows()
        return None if rows is None else rows.T.reshape(-1)

    def forward(self, *, dtype: torch.dtype | None = None, channels_last: bool = False) -> tuple[Tensor, Tensor | None]:
        """Kernel and bias; arguments as of `dense_weight`."""
        return self.dense_weight(dtype=dtype, channels_last=channels_last), self.dense_bias()

    def extra_repr(self) -> str:
        """What `print` shows of the space."""
        return f"constraint={self.constraint.name}"


def check_relaxation(present: Subgroup, subgroup: Subgroup) -> None:
    """Raise MorphismError unless a module constrained to `present` can be relaxed to `subgroup`."""
    if not subgroup <= present:
        raise MorphismError(
            f"relax: {subgroup.name} is not contained in {present.name}, the present constraint; "
            "relaxing goes to a smaller group (constrain goes the other way)."
        )
