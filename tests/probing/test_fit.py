"""Errors on left-out samples are those of fits made again without them."""

import pytest
import torch

from equimorph.probing import STRENGTHS, fit, guessed

CASES = pytest.mark.parametrize("shape", [(30, 7), (12, 40)], ids=["tall", "wide"])


def refitted(x, y, weights, keep, strength):
    """Ridge regression with a free intercept on some samples, by the normal equations of the columns and a one."""
    mean = (weights[:, None] * x).sum(0) / weights.sum()
    std = ((weights[:, None] * (x - mean) ** 2).sum(0) / weights.sum()).sqrt()
    design = torch.cat([(x - mean) / std, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    part, w = design[keep], weights[keep][:, None] / weights.mean()
    penalty = strength * torch.eye(design.shape[1], dtype=x.dtype)
    penalty[-1, -1] = 0
    return design @ torch.linalg.solve(part.T @ (w * part) + penalty, part.T @ (w * y[keep]))


@CASES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_left_out_predictions_are_those_of_a_fit_without_the_sample(shape, weighted, grouped, strength):
    x, y = torch.randn(shape, dtype=torch.float64), torch.randn(shape[0], 3, dtype=torch.float64)
    weights = torch.rand(shape[0], dtype=torch.float64) + 0.2 if weighted else None
    groups = torch.arange(shape[0]) % 5 if grouped else None
    found = fit(x, y, weights=weights, groups=groups, strengths=(strength,))
    own = torch.arange(shape[0]) if groups is None else groups
    ones = torch.ones(shape[0], dtype=torch.float64) if weights is None else weights
    for group in own.unique():
        expected = refitted(x, y, ones, own != group, strength)
        torch.testing.assert_close(found.predictions[own == group], expected[own == group], rtol=0, atol=1e-8)


def test_the_strength_of_least_error_is_taken():
    x, y = torch.randn(40, 60), torch.randn(40, 1)
    errors = {strength: float(fit(x, y, strengths=(strength,)).losses.mean()) for strength in STRENGTHS}
    assert fit(x, y).strength == min(errors, key=errors.get)


def test_equal_weights_are_no_weights():
    x, y = torch.randn(20, 4), torch.randn(20, 2)
    torch.testing.assert_close(fit(x, y, weights=torch.full((20,), 7.0)).losses, fit(x, y).losses)


def test_guessing_is_the_mean_of_the_others():
    y = torch.tensor([[0.0], [3.0], [6.0]])
    torch.testing.assert_close(guessed(y), torch.tensor([4.5**2, 0, 4.5**2], dtype=torch.float64))


def test_constant_columns_change_nothing():
    x, y = torch.randn(25, 4), torch.randn(25, 1)
    with_constant = torch.cat([x, torch.full((25, 1), 5.0)], 1)
    torch.testing.assert_close(fit(with_constant, y).losses, fit(x, y).losses)
