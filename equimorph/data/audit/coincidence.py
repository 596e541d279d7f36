"""How near two samples come to each other when one of them is moved, for every element of a group at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from equimorph.errors import ConfigurationError, ShapeError
from equimorph.groups import Group
from equimorph.layers.features import transform

DEFAULT_SIDE = {1: 64, 2: 28, 3: 16}  # pixels, by the number of spatial axes; samples are never enlarged
_CELL = 4  # pixels along one side of a cell
_BRIGHTNESS = 0.3  # its weight beside edges of norm 1; measured on MNIST, skin lesions and galaxies
_BLOCK = 256  # samples described at a time, and rows of distances computed at a time: 32 MiB at most
_TINY = 1e-6


class Distances:
    """d_h(i, j) = ||f_i - h f_j|| between described samples, for every h in G.

    d_h and the distances of the inverse are each other's transpose, so one of the two is kept, in half precision:
    2 bytes for every two samples and every element (of two inverses, one).

    Args:
        features: What `describe` returned, n samples.
        group: G.
    Example:
        >>> from equimorph.groups import group
        >>> image = torch.zeros(1, 1, 8, 8)
        >>> image[..., 2] = 1
        >>> pair = torch.cat([image, image.flip(3)])
        >>> near = Distances(describe(pair), group("D1"))
        >>> [round(float(near.through([h])[0, 1]), 2) for h in (0, 1)]
        [1.02, 0.0]
    """

    def __init__(self, features: Tensor, group: Group) -> None:
        self.group = group
        rows = features.flatten(1)
        squares = rows.square().sum(1)
        self._kept: dict[int, Tensor] = {}
        for element in range(group.order):
            if int(group.inverses[element]) in self._kept:
                continue
            moved = move(features, element, group).flatten(1).T
            kept = torch.empty(len(rows), len(rows), dtype=torch.float16)
            for first in range(0, len(rows), _BLOCK):
                part = slice(first, first + _BLOCK)
                squared = squares[part, None] + squares - 2 * (rows[part] @ moved)
                kept[part] = squared.clamp_min(0).sqrt().to(torch.float16)
            self._kept[element] = kept

    def through(self, elements: Iterable[int]) -> Tensor:
        """The least d_h(i, j) over some elements h, shape (n, n), float16; infinite if there are none."""
        least: Tensor | None = None
        for element in elements:
            one = self._of(element)
            least = one.clone() if least is None else torch.minimum(least, one, out=least)
        if least is None:
            first = self._of(0)
            return torch.full_like(first, torch.inf)
        return least

    def nearest(self, elements: Iterable[int]) -> tuple[Tensor, Tensor]:
        """For each sample the distance to the nearest other one through these elements, and its index."""
        distances = self.through(elements)
        distances.fill_diagonal_(torch.inf)
        found = distances.min(1)
        return found.values.float(), found.indices

    def between(self, first: int, second: int, elements: Sequence[int]) -> tuple[float, int]:
        """The least distance of two samples through these elements, and the first element that attains it."""
        values = [float(self._of(element)[first, second]) for element in elements]
        best = min(range(len(values)), key=values.__getitem__)
        return values[best], elements[best]

    def _of(self, element: int) -> Tensor:
        if element in self._kept:
            return self._kept[element]
        return self._kept[int(self.group.inverses[element])].T


def describe(x: Tensor, *, side: int | None = None) -> Tensor:
    """What of a sample is compared: where it has edges of which direction, and how bright it is where.

        f(v, c) = sqrt( sum over pixels of cell c of  |grad x| max(0, cos angle(grad x, v))^4 ),   scaled to norm 1,
        beside the mean brightness of each cell and channel, standardised over the samples and scaled to norm 0.3

    for the directions v in {-1, 0, 1}^d but 0. Edges are blurred before they are counted, so small deformations change
    little, and more samples come near each other than in their pixels: on MNIST a nearest neighbour of another class
    is half as common. Every step commutes with the group, which moves cells and permutes directions.

    Args:
        x: Raw samples, shape (n, channels, *spatial).
        side: To how many pixels along each axis samples are reduced first, by area averages; left out, 64, 28 or 16
            in 1-D, 2-D or 3-D. A sample that is smaller stays as it is.
    Returns:
        Shape (n, 3^d - 1 + channels, *cells), float32; a cell has about 4 pixels along each axis.
    Raises:
        ConfigurationError: `side` is less than 4.
        ShapeError: Samples have no, or more than three, spatial axes.
    Source: Dalal and Triggs (2005), Histograms of Oriented Gradients; with soft directions, without blocks.
    """
    dim = x.ndim - 2
    if dim not in DEFAULT_SIDE:
        raise ShapeError(f"describe: samples of shape {tuple(x.shape[1:])}, needed (channels, 1 to 3 spatial axes).")
    side = DEFAULT_SIDE[dim] if side is None else side
    if side < _CELL:
        raise ConfigurationError(f"describe: side {side}, needed at least {_CELL}, the pixels of one cell.")
    side = min(side, *x.shape[2:])
    cells = max(1, round(side / _CELL))
    parts = [_describe_some(part.to(torch.float32), side, cells) for part in x.split(_BLOCK)]
    edges, brightness = (torch.cat([part[kind] for part in parts]) for kind in (0, 1))
    axes = (0, *range(2, x.ndim))
    brightness = brightness - brightness.mean(axes, keepdim=True)
    spread = brightness.square().mean(axes, keepdim=True).sqrt()
    scale = _BRIGHTNESS / brightness[0].numel() ** 0.5
    return torch.cat([edges, scale * brightness / spread.clamp_min(_TINY)], 1)


def move(features: Tensor, element: int, group: Group) -> Tensor:
    """What `describe` would say of the moved samples: (h f)(v, c) = f(h^-1 v, h^-1 c).

    Args:
        features: What `describe` returned.
        element: The index of h in `group.elements`.
        group: G.
    """
    directions = _directions(group.dim)
    places = {direction: index for index, direction in enumerate(directions)}
    inverse = group.elements[group.inverses[element]]
    source = [places[tuple(int(entry) for entry in inverse @ np.array(direction))] for direction in directions]
    order = [*source, *range(len(directions), features.shape[1])]
    return transform(features[:, order], element, group, "trivial")


def _directions(dim: int) -> list[tuple[int, ...]]:
    return [direction for direction in product((-1, 0, 1), repeat=dim) if any(direction)]


def _describe_some(x: Tensor, side: int, cells: int) -> tuple[Tensor, Tensor]:
    dim = x.ndim - 2
    small = F.interpolate(x, size=[side] * dim, mode="area")
    smooth = _blur(small)
    slopes = torch.stack([_shifted(smooth, axis, 1) - _shifted(smooth, axis, -1) for axis in range(2, x.ndim)])
    steepness = slopes.square().sum(0).sqrt()
    unit = slopes / steepness.clamp_min(_TINY)
    maps = []
    for direction in _directions(dim):
        vector = torch.tensor(direction, dtype=x.dtype)
        cosine = torch.tensordot(vector / vector.norm(), unit, dims=1)
        maps.append((steepness * cosine.clamp_min(0) ** 4).sum(1))
    edges = _pooled(_blur(_blur(torch.stack(maps, 1))), cells).clamp_min(0).sqrt()
    norm = edges.flatten(1).norm(dim=1).view(-1, *[1] * (dim + 1))
    # A sample without edges has none, rather than its rounding errors made large.
    edges = torch.where(norm > _TINY, edges / norm.clamp_min(_TINY), 0.0)
    return edges, _pooled(small, cells)


def _pooled(x: Tensor, cells: int) -> Tensor:
    return F.interpolate(x, size=[cells] * (x.ndim - 2), mode="area")


def _blur(x: Tensor) -> Tensor:
    """Binomial weights 1/4, 1/2, 1/4 along each axis; pixels at the border are repeated outside."""
    for axis in range(2, x.ndim):
        x = (_shifted(x, axis, -1) + 2 * x + _shifted(x, axis, 1)) / 4
    return x


def _shifted(x: Tensor, axis: int, step: int) -> Tensor:
    size = x.shape[axis]
    source = (torch.arange(size) + step).clamp(0, size - 1)
    return x.index_select(axis, source)
