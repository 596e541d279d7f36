"""Integer tables that follow from a group and a shape: one copy on each device for all layers that need the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any, Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn


class SharedTables(nn.Module):
    """Holds tables that are never changed, as buffers outside of the state, and shares them.

    Modules with the same key hold the same tensors, and so do their copies; a table is freed with the last of them.

    Args:
        key: What the tables follow from, the names of the tables included.
        make: Computes the tables by name, on the CPU; what pickle can save, so no function within a function.
    """

    def __init__(self, key: Hashable, make: Callable[[], dict[str, Tensor]]) -> None:
        super().__init__()
        self._key, self._make = key, make
        with torch.device("cpu"):  # whatever the default device is: tables are computed from numbers
            self._take(torch.device("cpu"), make)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self).__new__(type(self))
        parts = {name: copy.deepcopy(part, memo) for name, part in self._modules.items()}
        copied.__dict__ = {**self.__dict__, "_buffers": dict(self._buffers), "_modules": parts}
        return copied

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for part in self.children() if recurse else ():
            part._apply(fn)
        tables = self._shared.tables
        # Tables are integers: what a conversion can change is the device, and the copy there may exist already.
        device = fn(next(iter(tables.values())).new_empty(0)).device
        self._take(device, self._make if next(iter(tables.values())).is_meta else lambda: tables)
        return self

    def _take(self, device: torch.device, make: Callable[[], dict[str, Tensor]]) -> None:
        shared = _SHARED.get((self._key, device))
        if shared is None:
            shared = _Tables({name: table.to(device) for name, table in make().items()})
            _SHARED[self._key, device] = shared
        self._shared = shared
        for name, table in shared.tables.items():
            self.register_buffer(name, table, persistent=False)


class _Tables:
    """What can be referred to weakly, as a dictionary cannot."""

    def __init__(self, tables: dict[str, Tensor]) -> None:
        self.tables = tables


_SHARED: WeakValueDictionary[tuple[Hashable, torch.device], _Tables] = WeakValueDictionary()
