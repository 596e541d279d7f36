"""How small tensors reach a device without making the program wait for it."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of the CPU on a device. A GPU copies it when it gets there, from memory that is pinned for it."""
    x = x if dtype is None else x.to(dtype)
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


@lru_cache(maxsize=256)
def constants(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers as a tensor that is made once for each device; never to be changed."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
