"""What was made of a user's network, layer by layer, and what of it is not exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equimorph.tracing import Problem

_ARROW = "->"


@dataclass(frozen=True)
class ConvertedLayer:
    """One layer, before and after.

    Attributes:
        path: Its path in the network.
        before: What it was, in words.
        after: What it is.
        distance: |W - P_G W| / |W| of the weights that it had, where they were projected; None otherwise.
    """

    path: str
    before: str
    after: str
    distance: float | None = None


@dataclass(frozen=True)
class Note:
    """Something about a layer that a user should know.

    Attributes:
        path: The layer.
        text: What.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return f'"{self.path}": {self.text}'


@dataclass(frozen=True)
class Conversion:
    """What `equivariantize` did; printing it gives a table.

    Attributes:
        group: The name of G.
        width: How channels became fields.
        output: The type of what the network returns.
        weights: Where the values come from.
        layers: All layers that were changed, in the order in which they run.
        notes: Widths and groups that did not divide, and what else is another thing than before.
        free: Modules that were left as they were, and what follows from that.
        breaks: What does not commute with G, with the reason and what to try.
        error: The largest relative error |f(gx) - g f(x)| / |f(x)| over the generators of G that was measured.
        tolerance: Up to which an error is one of rounding.
        copy_error: How far the output is from the mean of the given model over the group, where weights were copied.
    """

    group: str
    width: str | float
    output: str
    weights: str
    layers: tuple[ConvertedLayer, ...]
    notes: tuple[Note, ...]
    free: tuple[Note, ...]
    breaks: tuple[Problem, ...]
    error: float
    tolerance: float
    copy_error: float | None = None

    @property
    def exact(self) -> bool:
        """Whether the network commutes with G up to rounding, and is the mean that it was to be where it was copied."""
        return self.error <= self.tolerance and not (self.copy_error or 0.0) > self.copy_tolerance

    @property
    def copy_tolerance(self) -> float:
        """Up to which a copy's error is one of rounding, to the single precision that its values may have."""
        return max(self.tolerance, 1e-5)  # measured: up to 1e-7

    def options(self) -> dict[str, Any]:
        """What it takes to convert a network of the same layers in the same way, with other values."""
        free = [note.path for note in self.free]
        return {"group": self.group, "width": self.width, "output": self.output, "free": free}

    def __str__(self) -> str:
        widths = [max(len(getattr(layer, name)) for layer in self.layers) for name in ("path", "before")]
        lines = [f"{self.group}, width {self.width}, weights {self.weights}, equivariance error {self.error:.1e}"]
        for layer in self.layers:
            distance = "" if layer.distance is None else f"   distance {layer.distance:.3f}"
            lines.append(f"  {layer.path:<{widths[0]}}  {layer.before:<{widths[1]}}  {_ARROW} {layer.after}{distance}")
        for title, items in (("note", self.notes), ("left free", self.free), ("not exact", self.breaks)):
            lines.extend(f"  {title}: {item}" for item in items)
        if self.copy_error is not None:
            lines.append(f"  distance from the mean of the model over the group: {self.copy_error:.1e}")
        return "\n".join(lines)

    def __deepcopy__(self, memo: dict[int, Any]) -> Conversion:
        return self
