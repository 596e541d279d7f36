"""Ridge regression whose error on samples, or groups of them, that were left out is known without fitting again.

With X the features and y the targets, both less their mean and each sample times sqrt(w_i), X = U S V^T,

    H = sqrt(w) sqrt(w)^T / sum(w) + U diag(s_j^2 / (s_j^2 + lam)) U^T,      rho = (1 - H) y
    the residuals of a group A that is left out:      r_A = (1 - H_AA)^-1 rho_A / sqrt(w_A)                          (9)

For single samples and equal weights this is r_i = rho_i / (1 - 1/n - sum_j U_ij^2 s_j^2 / (s_j^2 + lam)).

Source: Allen (1974) for single samples; the method's page, section 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS: tuple[float, ...] = tuple(10 ** (step / 2) for step in range(13))
"""lam, among which the one of least error is taken."""


@dataclass(frozen=True)
class Fit:
    """A fit and its errors on left-out samples.

    Attributes:
        strength: lam.
        predictions: What is told of each sample by the fit without it, shape (n, columns).
        losses: The squared residual of each, shape (n,).
    """

    strength: float
    predictions: Tensor
    losses: Tensor


def fit(
    features: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Fit:
    """Fit columns of targets by ridge regression, with the strength of least left-out error.

    Args:
        features: Shape (n, d), any floating dtype; the fit is made in float64.
        targets: Shape (n, columns).
        weights: w, positive, shape (n,); ones when left out.
        groups: Numbers from 0; samples of one group are left out together. Each alone when left out.
        strengths: lam to try, for columns of variance one.
    Example:
        >>> x = torch.linspace(-1, 1, 30)[:, None]
        >>> found = fit(x, 2 * x + 1)
        >>> found.strength, bool(found.losses.max() < 0.02)
        (1.0, True)

    Source: equation (9) of the method's page.
    """
    w = _weights(weights, len(features), features.device)
    root = w.sqrt()[:, None]
    x, y = features.double(), targets.double()
    mean, center = (w[:, None] * x).mean(0), (w[:, None] * y).mean(0)
    x = x - mean
    std = (w[:, None] * x.square()).mean(0).sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    x, residual = root * (x / std), root * (y - center)
    # X = U S V^T by the smaller of the two Gram matrices; along = U S, of which alone (9) speaks.
    if x.shape[0] < x.shape[1]:
        squares, left = torch.linalg.eigh(x @ x.T)
        along = left * squares.clamp_min(0).sqrt()
    else:
        squares, turned = torch.linalg.eigh(x.T @ x)
        along = x @ turned
    squares = squares.clamp_min(0)
    products = along.T @ residual
    members = None if groups is None else _members(groups)
    best: tuple[float, float, Tensor] | None = None
    for strength in strengths:
        shrunk = 1 / (squares + strength)
        rho = residual - along @ (shrunk[:, None] * products)
        if members is None:
            kept = 1 - w / len(w) - along.square() @ shrunk
            left_out = rho / kept[:, None]
        else:
            left_out = _without_groups(rho, along, shrunk, root, members)
        loss = float(left_out.square().sum(1).mean())  # times w_i, which is in the residuals already
        if best is None or loss < best[0]:
            best = loss, strength, left_out / root
    assert best is not None
    _, strength, residuals = best
    return Fit(strength, y - residuals, residuals.square().sum(1))


def guessed(targets: Tensor, *, weights: Tensor | None = None, groups: Tensor | None = None) -> Tensor:
    """The squared residual of each sample under the mean of those that are not left out with it, shape (n,)."""
    nothing = torch.zeros(len(targets), 1, dtype=torch.float64, device=targets.device)
    return fit(nothing, targets, weights=weights, groups=groups, strengths=(1.0,)).losses


def _weights(weights: Tensor | None, n: int, device: torch.device) -> Tensor:
    """Of mean one."""
    if weights is None:
        return torch.ones(n, dtype=torch.float64, device=device)
    return weights.double() / weights.double().mean()


def _members(groups: Tensor) -> list[Tensor]:
    order = groups.argsort(stable=True)
    return list(order.split(groups.bincount()[groups.unique()].tolist()))


def _without_groups(rho: Tensor, along: Tensor, shrunk: Tensor, root: Tensor, members: list[Tensor]) -> Tensor:
    left_out = torch.empty_like(rho)
    for chosen in members:
        part = along[chosen]
        block = root[chosen] @ root[chosen].T / len(root) + (part * shrunk) @ part.T
        identity = torch.eye(len(chosen), dtype=rho.dtype, device=rho.device)
        left_out[chosen] = torch.linalg.solve(identity - block, rho[chosen])
    return left_out
