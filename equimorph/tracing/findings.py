"""What is found in a network by following its features, and what is not understood of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from equimorph.tracing.features import Feature
from equimorph.tracing.recording import Call, Recording, Value
from equimorph.tracing.rules import Features


@dataclass(frozen=True)
class Problem:
    """Something that keeps a network from commuting, or from being converted.

    Attributes:
        path: The module, and of a function its name.
        reason: Why.
        remedy: What to try.
    """

    path: str
    reason: str
    remedy: str

    @property
    def module(self) -> str:
        """The module."""
        return self.path.partition(": ")[0]

    def __str__(self) -> str:
        where = f'"{self.path}"' if self.path else "its own forward"
        return f"{where}: {self.reason}; {self.remedy}"


@dataclass(frozen=True)
class WeightUse:
    """A layer with a weight where it is used.

    Attributes:
        number: Of the call.
        call: The call.
        source: What reaches it.
        target: What leaves it.
    """

    number: int
    call: Call
    source: Feature
    target: Feature


@dataclass(frozen=True)
class ParameterUse:
    """A parameter or buffer with one value per channel, where a function uses it.

    Attributes:
        number: Of the call.
        name: Its full name.
        feature: The feature whose channels it is for.
    """

    number: int
    name: str
    feature: Feature


@dataclass
class Flow:
    """What was found.

    Attributes:
        recording: The run.
        features: By value, of all tensors of which something is known.
        weights: Layers with weights, in order.
        parameters: Parameters per channel outside of layers, in order.
        problems: What was not understood.
        learned: The names of all parameters.
    """

    recording: Recording
    learned: frozenset[str] = frozenset()
    features: Features = field(default_factory=dict)
    weights: list[WeightUse] = field(default_factory=list)
    parameters: list[ParameterUse] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def leads_to_map(self) -> set[Value]:
        """The values of which something with positions is made later, or which have positions."""
        found: set[Value] = set()
        for call in reversed(self.recording.calls):
            on_map = any(value in found or self._is_map(value) for value in call.outputs)
            found.update(value for value in (*call.outputs, *call.inputs) if on_map or self._is_map(value))
        return found

    def _is_map(self, value: Value) -> bool:
        return value in self.features and self.features[value].is_map
