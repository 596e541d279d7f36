"""Features keep their scale whatever the constraint, so that one learning rate serves all."""

import pytest
import torch

import equimorph as em
from equimorph.layers import Conv2d, GlobalAvgPool, Linear

D4 = em.group("D4")
FIELDS, SEEDS = 16, 24


def mean_squares(H, seed):
    """The mean square of what each layer of a small network puts out, and of the head."""
    options = {"group": D4, "subgroup": H, "bias": False, "generator": torch.Generator().manual_seed(seed)}
    x = torch.randn(2, 3, 14, 14, generator=torch.Generator().manual_seed(1000 + seed))
    found = []
    for in_fields, source, stride in ((3, "trivial", 1), (FIELDS, "regular", 2), (FIELDS, "regular", 1)):
        x = Conv2d(in_fields, FIELDS, 3, source=source, stride=stride, **options)(x)
        found.append(x.square().mean())
        x = x.relu()
    found.append(Linear(FIELDS, 64, **options)(GlobalAvgPool()(x)).square().mean())
    return torch.stack(found)


def test_every_layer_puts_out_the_same_scale_under_every_constraint():
    scales = {H.name: torch.stack([mean_squares(H, seed) for seed in range(SEEDS)]).mean(0) for H in D4.subgroups()}
    table = torch.stack(list(scales.values()))
    assert ((table / table.mean(0) - 1).abs() < 0.2).all(), scales  # measured: 0.07
    # He's rule: each convolution doubles the mean square, each ReLU halves it.
    assert ((table[:, :3] / 2 - 1).abs() < 0.2).all(), scales  # measured: 0.07


def test_summing_over_equal_features_puts_out_the_same_scale_under_every_constraint():
    # Features that are equal along the orbits of D4, so of each of its subgroups: what the divisor sqrt(|H|) is for.
    even = torch.randn(2, FIELDS, 1, 1, generator=torch.Generator().manual_seed(0)).repeat_interleave(8, dim=1)
    for kernel_size in (1, 3):
        x = even.expand(-1, -1, kernel_size, kernel_size)
        scales = []
        for H in D4.subgroups():
            options = {"group": D4, "subgroup": H, "target": "trivial", "bias": False}
            conv = Conv2d(FIELDS, 2048, kernel_size, generator=torch.Generator().manual_seed(1), **options)
            scales.append(conv(x).square().mean() / x.square().mean())
        assert all(scale.item() == pytest.approx(2, rel=0.2) for scale in scales)  # measured: 0.05
