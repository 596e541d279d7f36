"""Reference networks, ready to be searched."""

from equimorph.models.paper import PaperNetwork

__all__ = ["PaperNetwork"]
