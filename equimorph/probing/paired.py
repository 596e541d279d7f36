"""Differences of two losses on the same samples, and how sure their mean is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

USUAL_Z = 2.5  # standard errors, among at most so many alternatives
_USUAL_ALTERNATIVES = 9


@dataclass(frozen=True)
class Comparison:
    """What a sample loses by an alternative, on average.

    Attributes:
        mean: Of the differences, weighted; positive where the alternative is worse.
        standard_error: Of the mean.
    """

    mean: float
    standard_error: float

    @property
    def z(self) -> float:
        """The mean in standard errors; 0 where both lose the same on every sample."""
        if self.standard_error == 0:
            return 0.0 if self.mean == 0 else math.copysign(math.inf, self.mean)
        return self.mean / self.standard_error


def compare(differences: Tensor, *, weights: Tensor | None = None, clusters: Tensor | None = None) -> Comparison:
    """The mean of paired differences, with its standard error.

        mean = sum_i w_i d_i / sum_i w_i,    se^2 = m / (m - 1) sum over clusters of (sum_i w_i (d_i - mean))^2 / W^2

    Args:
        differences: d, shape (n,).
        weights: w, shape (n,); ones when left out.
        clusters: Which of the m clusters each sample belongs to, from 0; each is one of its own when left out.
    Example:
        >>> found = compare(torch.tensor([1.0, 2.0, 3.0]))
        >>> found.mean, round(found.z, 3)
        (2.0, 3.464)
    """
    differences = differences.double()
    weights = torch.ones_like(differences) if weights is None else weights.double()
    total = weights.sum()
    mean = (weights * differences).sum() / total
    parts = weights * (differences - mean)
    if clusters is not None:
        parts = torch.zeros(int(clusters.max()) + 1, dtype=torch.float64).index_add_(0, clusters, parts)
    m = len(parts)
    if m < 2:
        return Comparison(float(mean), math.inf)
    return Comparison(float(mean), float((m / (m - 1) * parts.square().sum()).sqrt() / total))


def limit(alternatives: int) -> float:
    """From how many standard errors on an alternative is ruled out, when so many are compared with the best.

    2.5 for at most nine, the other subgroups of D4; for more of them the level of each test is divided by their number,
    so that all together rule out as rarely what is as good:  1 - Phi(z) = (1 - Phi(2.5)) 9 / alternatives.

    Example:
        >>> limit(9), round(limit(97), 2)
        (2.5, 3.25)
    """
    if alternatives <= _USUAL_ALTERNATIVES:
        return USUAL_Z
    tail = (1 - NormalDist().cdf(USUAL_Z)) * _USUAL_ALTERNATIVES / alternatives
    return -NormalDist().inv_cdf(tail)
