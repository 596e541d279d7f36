"""Pointwise layers in the basis of irreducible representations, where a kernel that commutes with G is block diagonal.

A pointwise kernel W[(o, g), (c, u)] that commutes with all of G depends on g^-1 u alone. With the rows of Q a basis of
functions on G that belongs to irreducible representations,

    Q W Q^T = blocks of (m o) x (m c), each of which comes d times

for an irreducible representation of dimension d that comes m times. For D4 these are four blocks of size 1 and one of
size 2 that comes twice: 12 products for a pair of fields in place of 64, and 8 numbers in place of 64. The way into the
basis and back is paid for every field and position, so that only wide layers gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TypeGuard

import numpy as np
import torch
import torch.fx
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from equimorph.groups import Group
from equimorph.layers import Linear
from equimorph.layers._base import SpaceLayer
from equimorph.layers.convolution import ConvolutionLayer
from equimorph.tracing.flow import CONVOLUTIONS

_FloatArray = NDArray[np.float64]

# Measured on one and two CPU threads, float32, maps of 7x7 and 14x14 and volumes of 7^3, batches of 1 and 16
# (benchmarks/pointwise.py). From run to run the price of a channel was 120 to 260 products, so that the upper end is
# reckoned with: layers of 64 fields of D4 took from 0.5 to 1.2 of the dense time, those of 128 from 0.3 to 0.65.
PRODUCTS_PER_CHANNEL = 240
LEAST_GAIN = 1.2
LEAST_PRODUCTS = 2**23  # of the dense layer for one sample: below, starting a dozen operations takes longer
LEAST_HEAD = 2**16  # numbers in the dense weight of a head: below, starting one more operation takes longer


@dataclass(frozen=True)
class Block:
    """Rows of the basis in which a commuting kernel has the same block several times, and nothing beside.

    Attributes:
        start: The first row.
        size: Rows of one copy, which lie together.
        copies: How many copies follow one another.
    """

    start: int
    size: int
    copies: int

    @property
    def stop(self) -> int:
        """The row behind the last one."""
        return self.start + self.size * self.copies


@dataclass(frozen=True, eq=False)
class FourierBasis:
    """A basis of the functions on a group in which every map that commutes with its translations is block diagonal.

    Attributes:
        rows: Q, orthogonal, shape (n, n); a row is a basis function, a column a group element.
        blocks: Where the blocks are.
    """

    rows: _FloatArray
    blocks: tuple[Block, ...]

    @property
    def num_products(self) -> int:
        """Products for a pair of fields."""
        return sum(block.size**2 * block.copies for block in self.blocks)


@cache
def fourier_basis(group: Group) -> FourierBasis:
    """Split the functions on a group by a random symmetric map that commutes with its translations.

    Its eigenspaces are irreducible. Another commuting map, between two of them, is zero or, up to a factor, an isometry
    (Schur), by which equal representations get the same basis.

    Example:
        >>> from equimorph.groups import group
        >>> [(block.size, block.copies) for block in sorted(fourier_basis(group("D4")).blocks, key=lambda b: b.size)]
        [(1, 1), (1, 1), (1, 1), (1, 1), (2, 2)]

    Source: Serre (1977), section 2.2, proposition 4, and section 13.2 for the real types.
    """
    generator = np.random.default_rng(0)
    first, other = (commuting_map(group, generator.standard_normal(group.order)) for _ in range(2))
    rows: list[_FloatArray] = []
    blocks = []
    for spaces in _by_representation(_eigenspaces(first + first.T), other):
        stacked = np.stack(spaces)  # (m, n, d)
        own = spaces[0].T @ other @ spaces[0]
        # A representation of complex or quaternionic type commutes with more than multiples of the identity.
        is_real = np.allclose(own, own[0, 0] * np.eye(len(own)))
        copies = stacked.shape[2] if is_real else 1
        blocks.append(Block(len(rows), stacked.shape[0] * stacked.shape[2] // copies, copies))
        rows.extend(stacked.transpose((2, 0, 1) if is_real else (0, 2, 1)).reshape(-1, group.order))
    return FourierBasis(np.stack(rows), tuple(blocks))


def commuting_map(group: Group, values: _FloatArray) -> _FloatArray:
    """The matrix a[g, u] = values[g^-1 u], shape (..., n, n) of values (..., n)."""
    matrix: _FloatArray = values[..., group.table[group.inverses]]
    return matrix


def _eigenspaces(symmetric: _FloatArray) -> list[_FloatArray]:
    """Orthonormal bases, shape (n, d) each."""
    values, vectors = np.linalg.eigh(symmetric)
    cuts = np.flatnonzero(np.diff(values) > 1e-8 * np.abs(values).max()) + 1
    return np.split(vectors, cuts, axis=1)


def _by_representation(spaces: list[_FloatArray], other: _FloatArray) -> list[list[_FloatArray]]:
    """Spaces of equal representations together, in bases in which these are the same matrices."""
    found: list[list[_FloatArray]] = []
    for space in spaces:
        for members in found:
            across = space.T @ other @ members[0]
            scale = np.linalg.norm(across) / math.sqrt(across.shape[1])
            if across.shape[0] == across.shape[1] and scale > 1e-8:
                members.append(space @ across / scale)
                break
        else:
            found.append([space])
    return found


def pointwise_layers(network: nn.Module) -> dict[str, Group]:
    """The paths of all layers of the library that may become blocks, and the group that each commutes with."""
    layers = network.named_modules(remove_duplicate=False)
    return {path: layer.space.shape.group for path, layer in layers if _is_pointwise(layer)}


def _is_pointwise(layer: nn.Module) -> TypeGuard[SpaceLayer]:
    """Whether a layer commutes with its whole group and maps each position by itself."""
    if not isinstance(layer, SpaceLayer) or layer.constraint != layer.space.shape.group.whole:
        return False
    shape = layer.space.shape
    if isinstance(layer, Linear):
        return (shape.source, shape.target, shape.kernel_size) == ("regular", "trivial", ())
    if not isinstance(layer, ConvolutionLayer) or (shape.source, shape.target) != ("regular", "regular"):
        return False
    steps = (*layer.kernel_size, *layer.stride, layer.groups)
    return all(step == 1 for step in steps) and not any(layer.padding)


def in_fourier_basis(network: nn.Module, example: Tensor, groups: dict[str, Group]) -> nn.Module:
    """Put layers of an ordinary network in the Fourier basis, in place, where that is estimated to be faster.

    Args:
        network: Of torch's own layers, in evaluation mode.
        example: An input that runs through it.
        groups: The layers, by path, and the group that each commutes with; one whose weight does not, as when a norm
            of fewer symmetries was put into it, stays.
    Returns:
        The network, or what took its place where it is a single layer.
    """
    modules = dict(network.named_modules(remove_duplicate=False))
    chosen = {path: modules[path] for path in groups if isinstance(modules.get(path), (*CONVOLUTIONS, nn.Linear))}
    positions = _positions(network, example, list(chosen.values()))
    done: dict[int, nn.Module] = {}  # a layer that is used twice stays one layer
    for path, layer in chosen.items():
        group = groups[path]
        if id(layer) not in done:
            gains = is_faster(layer, group, positions.get(id(layer), 0)) and commutes(layer, group)
            done[id(layer)] = blocks_of(layer, group) if gains else layer
        if not path:
            return done[id(layer)]
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, done[id(layer)])
    return network


def _positions(network: nn.Module, example: Tensor, layers: list[nn.Module]) -> dict[int, int]:
    """The fewest positions of a map that each layer sees, by the layer's id."""
    seen: dict[int, int] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        number = math.prod(inputs[0].shape[2:])
        seen[id(layer)] = min(number, seen.get(id(layer), number))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return seen


def is_faster(layer: nn.Module, group: Group, positions: int) -> bool:
    """Whether blocks are estimated to be faster: by their products, and a price for each channel that is moved."""
    weight = _weight(layer)
    if isinstance(layer, nn.Linear):
        return weight.numel() >= LEAST_HEAD
    dense = weight.numel()
    blocks = fourier_basis(group).num_products * dense // group.order**2 + PRODUCTS_PER_CHANNEL * sum(weight.shape)
    return dense >= LEAST_GAIN * blocks and dense * positions >= LEAST_PRODUCTS


def commutes(layer: nn.Module, group: Group) -> bool:
    """Whether a dense weight depends on g^-1 u alone, up to rounding; that of a head on the field alone."""
    fields = _weight(layer).unflatten(1, (-1, group.order))
    if isinstance(layer, nn.Linear):
        expected = fields[..., :1].expand_as(fields)
    else:
        index = torch.as_tensor(group.table[group.inverses], device=fields.device)
        expected = fields[:: group.order][..., index].transpose(1, 2).flatten(0, 1)
    rounding = 16 * torch.finfo(fields.dtype).eps * fields.abs().max()
    return bool((fields - expected).abs().max() <= rounding)


def blocks_of(layer: nn.Module, group: Group) -> nn.Module:
    """What computes the same as an ordinary layer that commutes with the group, of torch's own classes."""
    assert isinstance(layer, (*CONVOLUTIONS, nn.Linear))
    made = _SummedHead(layer, group) if isinstance(layer, nn.Linear) else _Blocks(layer, group)
    return torch.fx.symbolic_trace(made.requires_grad_(layer.weight.requires_grad)).eval()


def _weight(layer: nn.Module) -> Tensor:
    """Without the axes of a kernel of one entry, shape (out channels, in channels)."""
    assert isinstance(layer, (*CONVOLUTIONS, nn.Linear))
    return layer.weight.detach().flatten(1)


class _SummedHead(nn.Module):
    """y = V s + b with s the sum of each field over g, for V[o, c] = W[o, (c, u)], which is the same for every u."""

    def __init__(self, layer: nn.Linear, group: Group) -> None:
        super().__init__()
        self.order = group.order
        weight = _weight(layer)[:, :: group.order]
        self.weight = nn.Parameter(weight.contiguous())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Of vectors, the last axis of x."""
        return F.linear(x.unflatten(-1, (-1, self.order)).sum(-1), self.weight, self.bias)


class _Blocks(nn.Module):
    """y = Q^T (blocks (Q x) + Q b) at every position, Q acting on the n channels of a field."""

    into: Tensor
    back: Tensor

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, group: Group) -> None:
        super().__init__()
        weight, found = _weight(layer), fourier_basis(group)
        self.order, self.dim = group.order, layer.weight.ndim - 2
        self.in_fields, self.out_fields = (channels // group.order for channels in (weight.shape[1], weight.shape[0]))
        self.blocks = found.blocks
        # Made in double precision, so that a block is as exact as the numbers that it comes from.
        basis = torch.as_tensor(found.rows, device=weight.device)
        pairs = weight.double().view(self.out_fields, self.order, self.in_fields, self.order)
        changed = torch.einsum("ig,ogcu,ju->iojc", basis, pairs, basis)
        self.register_buffer("into", basis.to(weight))
        self.register_buffer("back", basis.t().contiguous().to(weight))
        for number, block in enumerate(self.blocks):
            rows = slice(block.start, block.start + block.size)
            values = changed[rows, :, rows].reshape(block.size * self.out_fields, block.size * self.in_fields)
            self.register_parameter(f"block{number}", nn.Parameter(values.to(weight)))
        if layer.bias is not None:
            self._add_bias(basis @ layer.bias.detach().double().view(self.out_fields, self.order).t())

    def _add_bias(self, rows: Tensor) -> None:
        """Of a bias in the basis, shape (n, o), what is more than rounding: one row, where it commutes as well."""
        # The basis itself is right to 3e-14 (Oh).
        rounding = max(4 * torch.finfo(self.into.dtype).eps, 1e-12) * rows.abs().max()
        for number, block in enumerate(self.blocks):
            mine = rows[block.start : block.stop].to(self.into)
            if mine.abs().max() > rounding:
                self.register_parameter(f"bias{number}", nn.Parameter(mine.unsqueeze(-1).contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        """Of maps, shape (batch, channels, *spatial)."""
        fields = x.unflatten(1, (self.in_fields, self.order)).flatten(3)  # (batch, c, n, positions)
        rows = torch.matmul(self.into, fields).transpose(1, 2)
        parts = [self._product(number, rows) for number in range(len(self.blocks))]
        y = torch.matmul(self.back, torch.cat(parts, 2)).flatten(1, 2)
        maps: Tensor = y.unflatten(2, [x.size(2 + axis) for axis in range(self.dim)])
        return maps

    def _product(self, number: int, rows: Tensor) -> Tensor:
        """The rows of a block, (batch, o, rows, positions), of all rows, (batch, n, c, positions)."""
        block = self.blocks[number]
        mine = rows[:, block.start : block.stop].unflatten(1, (block.copies, block.size)).flatten(2, 3)
        product = torch.matmul(getattr(self, f"block{number}"), mine)
        outputs: Tensor = product.unflatten(2, (block.size, self.out_fields)).flatten(1, 2)
        if f"bias{number}" in self._parameters:
            outputs = outputs + getattr(self, f"bias{number}")
        return outputs.transpose(1, 2)
