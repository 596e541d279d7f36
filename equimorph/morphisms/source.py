"""A plain network as Python source, to be rebuilt without the library."""

from __future__ import annotations

import copy
from collections import OrderedDict

import torch
from torch import Tensor, nn

from equimorph.errors import MorphismError
from equimorph.morphisms.reinitialize import seeded
from equimorph.morphisms.traced_source import traced_source


def plain_source(network: nn.Module, example: Tensor) -> str:
    """Python source of a stand-alone module that rebuilds a plain network with torch alone.

    A network of `nn.Sequential` and torch's own layers is written as the calls that make it. Every other one, with
    containers of the user's own, residual additions or an fx graph, is written as what `torch.export` saw it compute,
    line by line, on parameters of the same names.

    Args:
        network: What `plain` returned. Its weights are not in the source, but fit what the source builds.
        example: An input, shape (batch, channels, *spatial). The source is for this size, and any batch.
    Returns:
        Source with a function `build()`, which gives the network without its weights, and `load(folder)`, with them.
    Raises:
        MorphismError: torch cannot trace the network, or what it computes is no single tensor.
    Example:
        >>> source = plain_source(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))
        >>> "('1', nn.Linear(in_features=4, out_features=2, bias=True))," in source
        True
    """
    network = copy.deepcopy(network).eval()
    try:
        expression = _expression(network, 1)
    except MorphismError:
        return traced_source(network, example)
    dtypes = {value.dtype for value in network.state_dict().values() if value.is_floating_point()}
    if len(dtypes) > 1 or not _rebuilds(expression, network, example):
        return traced_source(network, example)
    if dtypes <= {torch.float32}:
        return _SOURCE.format(more="", body=expression)
    return _SOURCE.format(more="import torch\n", body=f"{expression}.to({dtypes.pop()})")


def _rebuilds(expression: str, network: nn.Module, example: Tensor) -> bool:
    """Whether the calls make this very network: torch leaves out some of a layer's arguments when it prints it."""
    x = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
    with seeded(0), torch.no_grad():
        try:
            rebuilt = eval(expression, {"nn": nn, "OrderedDict": OrderedDict})
            rebuilt.to(device=example.device, dtype=example.dtype).eval().load_state_dict(network.state_dict())
            found = rebuilt(x)
        except (NameError, SyntaxError, TypeError, ValueError, RuntimeError):
            return False
        expected = network(x)
        if not isinstance(expected, Tensor):
            return False
        # Far above rounding, far below what a forgotten argument changes.
        scale = float(expected.nan_to_num(0, 0, 0).abs().max())
        return torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * scale, equal_nan=True)


def _expression(module: nn.Module, depth: int) -> str:
    if type(module) is nn.Sequential:
        indent = "    " * (depth + 1)
        parts = [
            f"{indent}({name!r}, {_expression(child, depth + 1)}),\n"
            for name, child in module._modules.items()
            if child is not None
        ]
        return f"nn.Sequential(OrderedDict([\n{''.join(parts)}{'    ' * depth}]))"
    if not type(module).__module__.startswith("torch.nn.") or list(module.children()):
        raise MorphismError(f"plain_source: {type(module).__name__} is not one of torch's own layers.")
    return f"nn.{module!r}"  # torch prints its layers as the calls that make them


_SOURCE = '''"""The network that the search found, in torch alone. `load(folder)` returns it with its weights."""

from collections import OrderedDict
from pathlib import Path

import safetensors.torch
{more}from torch import nn


def build():
    """The network with random weights."""
    return {body}


def load(folder=Path(__file__).parent):
    """The network with the weights of weights.safetensors in the folder, in evaluation mode."""
    network = build()
    network.load_state_dict(safetensors.torch.load_file(Path(folder) / "weights.safetensors"))
    return network.eval()
'''
