"""The contract of a format, and the card that every export carries."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

Runner = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Card:
    """What must be known of a network to use it.

    Attributes:
        labels: The name of each class; empty for a network that gives no classes, or whose classes have no names.
        preprocessing: What is done to a sample first: `channels`, `image_size`, `sides`, `mean`, `std`, and `fit`; and
            `targets`, where the outputs are not those of "classes" but "values" or "maps".
        provenance: Where it comes from: versions of equimorph and torch, the group, and the constraint of each site.
    Example:
        >>> Card(("cat", "dog"), {"channels": 1}).text()
        '{"labels": ["cat", "dog"], "preprocessing": {"channels": 1}, "provenance": {}}'
    """

    labels: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def targets(self) -> str:
        """What the outputs tell of a sample: its class ("classes"), numbers ("values"), or "maps" of either."""
        return str(self.preprocessing.get("targets", "classes"))

    def text(self) -> str:
        """The card as JSON, one line."""
        content = {
            "labels": list(self.labels),
            "preprocessing": dict(self.preprocessing),
            "provenance": dict(self.provenance),
        }
        return json.dumps(content)


CARD_KEY = "equimorph"
"""Under which the card stands in the metadata of a file."""


class Format(ABC):
    """A way to write a network. What a format provides is its name, `needs` and `write`."""

    name: ClassVar[str]
    holds_pickle: ClassVar[bool] = False

    def check(self) -> None:  # noqa: B027, most formats need nothing
        """Raise ConfigurationError where a package that the format needs is missing."""

    @abstractmethod
    def write(self, network: nn.Module, example: Tensor, card: Card, folder: Path) -> Runner:
        """Write the network's files into a folder.

        Args:
            network: Made of torch's own classes, on the CPU, in evaluation mode.
            example: An input, shape (batch, channels, *spatial).
            card: Goes into the file's own metadata.
            folder: Where to.
        Returns:
            What was written, as a function of a batch of inputs: read back from the files where reading them is safe.
        Raises:
            MorphismError: torch cannot trace the network.
            ExportError: What was written is no good.
        """
