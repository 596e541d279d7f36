"""Runs that repeat to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def fixed_order(wanted: bool) -> Iterator[None]:
    """While it lasts, cuDNN takes only algorithms that add in a fixed order, if that is wanted.

    Without it the gradient of a convolution's kernel may be summed by atomic additions, in the order in which they
    come. What else a step does on a GPU (kernels from tables and back, norms, poolings, losses) has a fixed order.

    Args:
        wanted: Whether to change anything.
    Example:
        >>> with fixed_order(True):
        ...     print(torch.backends.cudnn.deterministic)
        True
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = before or wanted
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
