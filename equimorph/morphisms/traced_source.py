"""A network of any containers as Python source: what `torch.export` saw it compute, line by line."""

from __future__ import annotations

import base64
import math
import operator
import re
import zlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Graph, GraphModule, Node

from equimorph.errors import MorphismError
from equimorph.morphisms.exported_program import exported

_SHORT, _LONG = 16, 2**20  # constants of more numbers are written in base 64, and of more than that refused
_LINE = 100
_OURS = ("self", "torch", "nn", "math", "operator")
_MODULES = {operator: "operator", math: "math", torch: "torch"}


def traced_source(network: nn.Module, example: Tensor) -> str:
    """Python source of a module with the network's own parameter names, whose forward is one line an operation.

    Constants lie on the input's device, the batch is free, and a tensor under two names stays one.

    Args:
        network: A network with one input and one output, both tensors.
        example: An input, shape (batch, channels, *spatial).
    Returns:
        Source with `build()` and `load(folder)`; the same network always gives the same text.
    Raises:
        MorphismError: torch cannot trace it, its output is not one tensor, or it uses what has no source.
    Example:
        >>> class Own(nn.Module):
        ...     def forward(self, x):
        ...         return x + x.relu()
        >>> print(traced_source(Own(), torch.zeros(1, 3)).partition("def forward")[2].partition("return")[0].strip())
        (self, x):
                relu = torch.ops.aten.relu.default(x)
                add = torch.ops.aten.add.Tensor(x, relu)
    """
    program = exported(network, example)
    outputs = program.graph_signature.user_outputs
    if len(outputs) != 1 or not program.call_spec.out_spec.is_leaf():
        raise MorphismError(f"plain_source: {type(network).__name__} returns something other than one tensor.")
    constants = _constants(program)
    forward = _Forward(program, {name: f"_constant_{number}" for number, name in enumerate(constants)})
    lines = forward.lines()
    return _SOURCE.format(
        registered="".join(_registered(network)),
        constants="".join(_constant(forward.constants[name], value, name) for name, value in constants.items()),
        input=forward.input,
        body="".join(f"        {line}\n" for line in lines),
    )


def _constants(program: ExportedProgram) -> dict[str, Tensor]:
    """Tensors that the forward uses and that the network's state does not hold, by name."""
    held = program.state_dict
    names = [spec.target for spec in program.graph_signature.input_specs if spec.kind != InputKind.USER_INPUT]
    found = {}
    for name in names:
        if name is not None and name not in held:
            value = program.constants[name]
            if not isinstance(value, Tensor):
                raise MorphismError(f'plain_source: "{name}" is a {type(value).__name__}, which has no source.')
            found[name] = value
    return found


def _registered(network: nn.Module) -> list[str]:
    """One line for each entry of the network's state."""
    first: dict[int, str] = {}
    parameters = dict(network.named_parameters(remove_duplicate=False))
    lines = []
    for name, value in network.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise MorphismError(f'plain_source: "{name}" in the state is no tensor; only tensors can be written.')
        if id(value) in first:
            lines.append(f"        _share(self, {name!r}, {first[id(value)]!r})\n")
            continue
        first[id(value)] = name
        made = f"torch.empty({tuple(value.shape)}, dtype={value.dtype})"
        if name not in parameters:
            made = f"torch.zeros({tuple(value.shape)}, dtype={value.dtype})"
        elif value.is_floating_point():
            made = f"nn.Parameter({made}.normal_(0, 0.02))"
        else:
            made = f"nn.Parameter(torch.zeros({tuple(value.shape)}, dtype={value.dtype}), requires_grad=False)"
        lines.append(f"        _register(self, {name!r}, {made})\n")
    return lines


def _constant(attribute: str, value: Tensor, name: str) -> str:
    """The line that makes a constant, and one that says what the network calls it."""
    value = value.detach().cpu().contiguous()
    if value.numel() > _LONG:
        raise MorphismError(
            f'plain_source: the constant "{name}" has {value.numel():,} numbers, too many for a source; make it a '
            "persistent buffer, so that it is among the weights."
        )
    written = f"torch.tensor({value.tolist()!r}, dtype={value.dtype})"
    if value.numel() > _SHORT or not value.dtype.is_floating_point or not bool(value.isfinite().all()):
        data = base64.b64encode(zlib.compress(value.reshape(-1).view(torch.uint8).numpy().tobytes(), 9)).decode()
        parts = "".join(f"            {data[at : at + _LINE]!r}\n" for at in range(0, len(data), _LINE))
        written = f"_unpacked(\n{parts}            , {value.dtype}, {tuple(value.shape)})"
    return f"        # {name}\n        self.register_buffer({attribute!r}, {written}, persistent=False)\n"


class _Forward:
    """The lines of the forward, from the graph of a program."""

    def __init__(self, program: ExportedProgram, constants: dict[str, str]) -> None:
        self.constants = constants
        self.input = ""
        self._program = program
        self._names: dict[Node, str] = {}
        self._taken = set(_OURS)
        self._where = ""
        self._lines: list[str] = []

    def lines(self) -> list[str]:
        """The lines, without indentation."""
        graph = self._program.graph
        held = {place.arg.name: place for place in self._program.graph_signature.input_specs}
        for node in graph.find_nodes(op="placeholder"):
            place = held[node.name]
            if place.kind == InputKind.USER_INPUT:
                self.input = self._named(node)
            elif place.target in self.constants:
                self._names[node] = f"self.{self.constants[place.target]}"
            elif node.users:
                getter = "get_parameter" if place.kind == InputKind.PARAMETER else "get_buffer"
                self._names[node] = f'self.{getter}("{place.target}")'
        (result,) = self._write(graph, self._program.graph_module)
        return [*self._lines, f"return {result}"]

    def _write(self, graph: Graph, owner: GraphModule) -> list[str]:
        """Write the operations of a graph, and say what it returns."""
        returned: list[str] = []
        for node in graph.nodes:
            if node.op == "output":
                returned = [self._text(value) for value in node.args[0]]
            elif node.op == "call_function":
                self._write_call(node, owner)
            elif node.op == "get_attr" and not all(_is_block(user) for user in node.users):
                raise MorphismError(f"plain_source: {node.target} is control flow, which has no source.")
        return returned

    def _write_call(self, node: Node, owner: GraphModule) -> None:
        if _is_block(node):  # `with torch.no_grad():`, whose operations are written like all others
            *_, block = [value for value in node.args if isinstance(value, Node) and value.op == "get_attr"]
            inner = owner.get_submodule(str(block.target))
            assert isinstance(inner, GraphModule)
            values = node.args[node.args.index(block) + 1 :]
            for place, value in zip(inner.graph.find_nodes(op="placeholder"), values, strict=True):
                self._names[place] = self._text(value)
            results = self._write(inner.graph, inner)
            self._lines.append(f"{self._named(node)} = ({', '.join(results)},)")
            return
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            return  # it would tie the network to one device
        self._say_where(node)
        arguments = [self._text(value) for value in node.args]
        arguments += [f"{key}={self._text(value)}" for key, value in node.kwargs.items()]
        call = f"{_callee(node.target)}({', '.join(arguments)})"
        self._lines.append(f"{self._named(node)} = {call}" if node.users else call)

    def _say_where(self, node: Node) -> None:
        stack = [place for place in node.meta.get("nn_module_stack", {}).values() if not place[0].startswith("_empty")]
        path, kind = stack[-1] if stack else ("", "")
        where = f"{re.sub(r'@[0-9]+', '', path)}: {str(kind).rpartition('.')[2]}" if path else ""
        if where and where != self._where:
            self._lines.append(f"# {where}")
        elif not where and self._where:
            self._lines.append("# the whole network")
        self._where = where

    def _named(self, node: Node) -> str:
        name = node.name
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self._names[node] = name
        return name

    def _text(self, value: Any) -> str:
        if isinstance(value, Node):
            return self._names[value]
        if isinstance(value, torch.device):
            return f"{self.input}.device"
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(self._text, value))}]"
        if isinstance(value, float) and not math.isfinite(value):
            return f'float("{value}")'
        known = (bool, int, float, str, torch.dtype, torch.layout, torch.memory_format)
        if value is None or isinstance(value, known):
            return repr(value)
        raise MorphismError(f"plain_source: an argument of {type(value).__name__} has no source.")


def _is_block(node: Node) -> bool:
    return str(node.target) == "wrap_with_set_grad_enabled"


def _callee(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
        name, overload = target._schema.name.partition("::")[2], target._overloadname
        return f"torch.ops.aten.{name}.{overload}"
    for module, name in _MODULES.items():
        found = getattr(target, "__name__", "")
        if getattr(module, found, None) is target:
            return f"{name}.{found}"
    raise MorphismError(f"plain_source: {target} is no operation of torch's own, and has no source.")


_SOURCE = '''"""The network that the search found, in torch alone. `load(folder)` returns it with its weights.

Traced: the forward is what `torch.export` saw, one line for each operation; comments name the module it comes from.
"""

import base64
import math
import operator
import zlib
from pathlib import Path

import safetensors.torch
import torch
from torch import nn


def _unpacked(text, dtype, shape):
    return torch.frombuffer(bytearray(zlib.decompress(base64.b64decode(text))), dtype=dtype).reshape(shape)


class Network(nn.Module):
    """The network; its parameters have the names that they had in the network it was made from."""

    def __init__(self):
        super().__init__()
{registered}{constants}
    def forward(self, {input}):
{body}


def _register(network, path, value):
    owner, name = _owner(network, path)
    if isinstance(value, nn.Parameter):
        owner.register_parameter(name, value)
    else:
        owner.register_buffer(name, value)


def _share(network, path, other):
    owner, name = _owner(network, other)
    _register(network, path, getattr(owner, name))


def _owner(network, path):
    *parts, name = path.split(".")
    for part in parts:
        if part not in network._modules:
            network.add_module(part, nn.Module())
        network = network._modules[part]
    return network, name


def build():
    """The network with random weights."""
    return Network()


def load(folder=Path(__file__).parent):
    """The network with the weights of weights.safetensors in the folder, in evaluation mode."""
    network = build()
    network.load_state_dict(safetensors.torch.load_file(Path(folder) / "weights.safetensors"))
    return network.eval()
'''
