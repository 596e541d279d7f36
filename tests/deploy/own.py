"""Networks with containers of the user's own, on layers of the library."""

import torch
import torch.nn.functional as F
from torch import nn

import equimorph as em


class Residual(nn.Module):
    """A layer used under two names, a GroupNorm, a residual addition, constants of several kinds, and a buffer."""

    def __init__(self):
        super().__init__()
        self.lift = em.layers.Conv2d(1, 2, 3, group="D4", source="trivial", padding=1)
        self.conv = em.layers.Conv2d(2, 2, 3, group="D4", padding=1)
        self.again = self.conv
        self.norm = nn.GroupNorm(4, 16)
        self.head = nn.Linear(16, 3)
        self.scale = torch.full((1,), 2.0)
        self.register_buffer("offset", torch.full((1,), 0.5))
        self.register_buffer("mask", torch.arange(81.0).reshape(9, 9), persistent=False)

    def forward(self, x):
        lifted = self.lift(x).relu()
        y = lifted + self.norm(self.conv(lifted))
        y = (y + self.again(y)) * self.scale.to(x) + self.offset
        with torch.no_grad():
            y = y * self.mask.to(x) + torch.arange(9, device=x.device)
        y = y * torch.ones(x.shape[0], 1, 1, 1, device=x.device, dtype=x.dtype)
        return self.head(F.max_pool2d(y, 3).mean((2, 3)) * torch.tensor(0.25))


class Dense(nn.Module):
    """An image in, an image out: a transposed convolution beside an interpolation, joined, and batch norms."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            [em.layers.Conv2d(1, 2, 3, group="C4", source="trivial", padding=1), nn.BatchNorm2d(8)]
        )
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        wide = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.out(torch.cat([self.up(x), wide], dim=1))


def paper(dim):
    """The paper's network at its smallest, with running statistics that are not the initial ones; and an input."""
    group = {1: "Z2", 2: "D4", 3: "C4v@z"}[dim]
    sizes = {"image_size": 5, "in_channels": 2, "num_classes": 3, "fields": 1, "depth": 2, "kernel_size": 3}
    network = em.models.PaperNetwork(group=group, **sizes)
    network(torch.randn(4, 2, *[5] * dim))
    return network.eval(), torch.randn(1, 2, *[5] * dim)


def residual():
    return Residual().eval(), torch.randn(1, 1, 9, 9)


def dense():
    network = Dense()
    network(torch.randn(4, 1, 6, 6))
    return network.eval(), torch.randn(1, 1, 6, 6)
