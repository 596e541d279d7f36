"""Whoever wants to know how a search is getting on: progress bars, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equimorph.search.candidate import Member


class Observer:
    """Is told what happens in a search, and does nothing about it. Override what is of interest."""

    def planned(self, total_steps: int) -> None:
        """The whole run is now expected to take this many training steps."""

    def stepped(self, steps: int) -> None:
        """So many training steps have been done since the last call."""

    def recorded(self, line: dict[str, Any]) -> None:
        """A line of the history was written."""

    def selected(self, generation: int, generations: int, parents: list[Member], front: list[Member]) -> None:
        """A generation has ended."""
