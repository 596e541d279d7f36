"""Features that need no training: two layers of filters made of the data's own patches.

    layer 1: 32 filters, ReLU, average pooling by 2, each channel standardised
    layer 2: 256 filters, ReLU, average pooling to p numbers along each axis

    C = covariance of the patches = U L U^T,    M = U (L + 0.1 mean(L))^(-1/2) U^T
    filter = M q / |q|,    q = M patch                                                                               (7)

Source: Coates and Ng (2012) for one layer; the method's page, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equimorph.errors import ShapeError
from equimorph.groups import Group
from equimorph.layers.features import transform

_PATCHES = 4000
_SMALL = 16  # pixels of a side, below which filters have 3 taps instead of 5, as those of volumes always have
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_FEWEST = 6  # pixels along each axis that the two layers need


class PatchFeatures(nn.Module):
    """From standardised samples (batch, channels, *spatial) to vectors (batch, 256 p^dim).

    Attributes:
        first, second: The filters of the layers.
        shift, scale: What the first layer's channels are standardised by.
        cells: p.
    """

    first: Tensor
    second: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, first: Tensor, second: Tensor, shift: Tensor, scale: Tensor, cells: int) -> None:
        super().__init__()
        self.cells = cells
        for name, tensor in (("first", first), ("second", second), ("shift", shift), ("scale", scale)):
            self.register_buffer(name, tensor)

    def forward(self, x: Tensor) -> Tensor:
        """phi(x)."""
        x = (_layer_one(x, self.first) - self.shift) / self.scale
        x = F.relu(_convolved(x, self.second), inplace=True)
        return _pooled_to(x, self.cells).flatten(1)


@dataclass(frozen=True)
class Widths:
    """Filters of the two layers, and cells along each axis.

    Attributes:
        first: Filters of the first layer.
        second: Filters of the second layer.
        cells: p; 3 gives sharper answers at four times the cost for images.
    """

    first: int = 32
    second: int = 256
    cells: int = 2


def draw_features(
    x: Tensor, group: Group, *, generator: torch.Generator, widths: Widths | None = None
) -> PatchFeatures:
    """Make filters of the patches of some samples.

    Args:
        x: Standardised samples, shape (n, channels, *spatial), float32.
        group: G: patches are of samples moved by random elements of it, so that no direction is preferred.
        generator: What draws samples, elements and patches.
        widths: How many filters, and how finely they are pooled.
    Raises:
        ShapeError: The samples are too small for two layers.
    Example:
        >>> from equimorph.groups import group
        >>> x = torch.randn(20, 1, 16, 16)
        >>> phi = draw_features(x, group("D4"), generator=torch.Generator().manual_seed(0))
        >>> tuple(phi(x).shape)
        (20, 1024)

    Source: equation (7) of the method's page.
    """
    widths = widths or Widths()
    sides, dim = x.shape[2:], x.ndim - 2
    if min(sides) < _FEWEST:
        size = "x".join(map(str, sides))
        raise ShapeError(f"probe: samples of {size}, needed at least {_FEWEST} pixels along each axis.")
    taps = 3 if min(sides) < _SMALL or dim == 3 else 5
    moved = _moved_at_random(x, group, generator)
    patches = _patches(moved, taps, generator)
    if x.shape[1] == 1:
        patches = patches - patches.mean(1, keepdim=True)
    first = _filters(patches, widths.first, generator).view(widths.first, x.shape[1], *[taps] * dim)
    hidden = torch.cat([_layer_one(part, first) for part in moved.split(256)])
    axes = [0, *range(2, hidden.ndim)]
    shift, scale = hidden.mean(axes, keepdim=True), hidden.std(axes, keepdim=True).clamp_min(1e-6)
    hidden = (hidden - shift) / scale
    second = _filters(_patches(hidden, taps, generator), widths.second, generator)
    second = second.view(widths.second, widths.first, *[taps] * dim)
    return PatchFeatures(first, second, shift, scale, widths.cells)


def _layer_one(x: Tensor, filters: Tensor) -> Tensor:
    return _POOL[x.ndim - 2](F.relu(_convolved(x, filters), inplace=True), 2)


def _convolved(x: Tensor, filters: Tensor) -> Tensor:
    """A convolution that keeps the size; what lies outside is 0, the mean of standardised samples.

    Without a border small samples would lose half of their pixels on the way (textures of 16 pixels: 20 to 28 % error
    instead of 1 to 3).
    """
    return _CONV[x.ndim - 2](x, filters, padding=filters.shape[-1] // 2)


def _pooled_to(x: Tensor, cells: int) -> Tensor:
    """Means over cells of equal extent, as near as can be; each cell overlaps its neighbours where it must."""
    pool = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[x.ndim - 2]
    return pool(x, cells)


def _moved_at_random(x: Tensor, group: Group, generator: torch.Generator) -> Tensor:
    """At most 500 samples, each moved by an element of its own."""
    chosen = torch.randperm(len(x), generator=generator)[:500]
    elements = torch.randint(group.order, (len(chosen),), generator=generator)
    return torch.cat([transform(x[chosen[elements == g]], g, group, "trivial") for g in elements.unique().tolist()])


def _patches(x: Tensor, taps: int, generator: torch.Generator) -> Tensor:
    """Drawn anywhere in any sample, shape (patches, channels * taps^dim)."""
    dim = x.ndim - 2
    where = torch.randint(len(x), (_PATCHES,), generator=generator)
    corners = [torch.randint(side - taps + 1, (_PATCHES,), generator=generator) for side in x.shape[2:]]
    by_pixel = x.movedim(1, -1)
    picked = []
    for offsets in product(range(taps), repeat=dim):
        at = [corner + step for corner, step in zip(corners, offsets, strict=True)]
        picked.append(by_pixel[(where, *at)])
    return torch.stack(picked, 2).flatten(1)


def _filters(patches: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """(7), for some of the patches, drawn among those that are not constant."""
    wide = patches.double()
    covariance = torch.cov(wide.T).reshape(wide.shape[1], wide.shape[1])
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp_min(0)
    floor = (0.1 * values.mean()).clamp_min(1e-12)
    whitening = (vectors * (values + floor).rsqrt()) @ vectors.T
    whitened = wide @ whitening
    lengths = whitened.norm(dim=1)
    not_constant = (lengths > 1e-6 * lengths.max()).nonzero().flatten()
    if len(not_constant) == 0:
        return torch.zeros(number, wide.shape[1])
    order = not_constant[torch.randperm(len(not_constant), generator=generator)]
    order = order.repeat(-(-number // len(order)))[:number]
    filters: Tensor = (whitened[order] / lengths[order][:, None]) @ whitening  # (7)
    return filters.float()
