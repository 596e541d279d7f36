"""What `torch.export` sees a network compute."""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from equimorph.errors import MorphismError


def exported(network: nn.Module, example: Tensor) -> ExportedProgram:
    """What `torch.export` sees a network compute, in evaluation mode and for batches of any size.

    Args:
        network: Any module with one input.
        example: An input, shape (batch, channels, *spatial); the batch may be 1.
    Raises:
        MorphismError: torch cannot trace it; with the reason that torch gives.
    """
    # A side of 0 or 1 would be taken for a constant, and the parameters' gradients are of no matter.
    pair = example[:1].detach().expand(2, *example.shape[1:]).clone()
    program = copy.deepcopy(network).eval()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.")
            return torch.export.export(program, (pair,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # torch raises errors of many kinds here, some of its own and some of the network's
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise MorphismError(
            f"torch.export cannot trace {type(network).__name__} for batches of any size: {reason} "
            "Write its forward without branches on values and without the batch as a fixed number."
        ) from None
