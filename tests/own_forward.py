"""A module whose forward is a function that a test writes down, for networks of a line or two."""

from torch import nn


class Forward(nn.Module):
    """Calls `forward(self, x)`, with the parts as its modules, parameters and buffers.

    Args:
        forward: What it computes, of itself and the input.
        parts: Modules and parameters by name.
    """

    def __init__(self, forward, **parts):
        super().__init__()
        self.given = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.given(self, x)


def hooks_of(network):
    """All forward hooks in a network."""
    return [hook for module in network.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]
