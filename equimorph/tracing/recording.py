"""A run of a network written down: which functions and layers were called, on which tensors, in which order.

The network is run as it is, so whatever Python does between two calls (loops, conditions, shapes that are looked at) is
followed, for the one example. Layers of `torch.nn` and of this library are one call each; of all other modules the
functions that they call are recorded, under the path of the module.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from equimorph.layers import Constrained
from equimorph.layers.parameter import TiedParameter

FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
"""What the code of a network may raise at a shape, or on layers, that it was not written for."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_LAYERS = "equimorph.layers"


@dataclass(eq=False)
class Value:
    """A tensor at one point of a run; one that is changed in place is another value afterwards.

    Attributes:
        shape: Its shape.
        is_floating: Whether its dtype is.
        parameter: The full name of the parameter or buffer that it is, or is another view of.
        tensor: A copy, where the recording keeps them.
    """

    shape: tuple[int, ...]
    is_floating: bool
    parameter: str | None = None
    tensor: Tensor | None = None


@dataclass(eq=False)
class Call:
    """One call of a layer or function.

    Attributes:
        path: The module's path in the network; of a function, that of the module whose forward calls it.
        module: The layer, or None for a function.
        name: The class of the layer, or the name of the function.
        args: Positional arguments, with a `Value` for each tensor.
        kwargs: Keyword arguments, likewise.
        inputs: All tensors among the arguments.
        outputs: All tensors among the results.
    """

    path: str
    module: nn.Module | None
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def where(self) -> str:
        """The path, and of a function its name."""
        if self.module is not None:
            return self.path
        return f"{self.path}: {self.name}" if self.path else self.name

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument, by its position or its keyword."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


@dataclass
class Recording:
    """What happened in a run.

    Attributes:
        calls: In order.
        input: The example.
        outputs: The tensors that the network returned.
        results: The same as tensors, not copied.
    """

    input: Value
    calls: list[Call] = field(default_factory=list)
    outputs: tuple[Value, ...] = ()
    results: tuple[Tensor, ...] = ()


class Observer(Protocol):
    """Is told about each call while it happens, and may put other tensors in the place of its results."""

    def __call__(self, number: int, call: Call, results: list[Tensor]) -> list[Tensor] | None:
        """Look at the results of a call; None leaves them."""
        ...


def record(
    network: nn.Module,
    example: Tensor,
    *,
    opaque: Collection[str] = (),
    keep: bool = False,
    observer: Observer | None = None,
) -> Recording:
    """Run a network in the mode it is in, without gradients, and write down what it calls.

    Args:
        network: Any module.
        example: Its input.
        opaque: Paths of modules that are one call each, whatever is inside.
        keep: Whether values keep copies of their tensors.
        observer: Is told about each call.
    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten())
        >>> [call.name for call in record(network, torch.zeros(1, 1, 5, 5)).calls]
        ['Conv2d', 'ReLU', 'Flatten']
    """
    run = _Run(network, example, keep, observer)
    with torch.no_grad(), ExitStack() as hooks:
        for path, module in network.named_modules():
            run.watch(path, module, hooks, is_leaf=path in opaque or is_layer(module))
        with run:
            try:
                result = network(example)
            except FAILURES as error:
                error.add_note(run.place)
                raise
    run.recording.results = tuple(tensors_in(result))
    run.recording.outputs = tuple(run.value_of(tensor) for tensor in run.recording.results)
    return run.recording


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a layer of torch or of this library, with torch's own forward, and no container."""
    if isinstance(module, _CONTAINERS) or _is_transformed(module):
        return False
    if isinstance(module, Constrained):
        return True
    of = next(cls for cls in type(module).__mro__ if "forward" in cls.__dict__ or cls is nn.Module)
    own_convolution = any("_conv_forward" in cls.__dict__ for cls in type(module).__mro__ if _is_foreign(cls))
    return of.__module__.startswith(("torch.nn.modules.", _LAYERS)) and of is not nn.Module and not own_convolution


def _is_foreign(cls: type) -> bool:
    return not cls.__module__.startswith(("torch.", "builtins"))


def _is_transformed(module: nn.Module) -> bool:
    """Whether torch's weight normalisation or the like computes its parameters anew in each forward."""
    return nn.utils.parametrize.is_parametrized(module)


class _Run(TorchFunctionMode):
    """One run that is being recorded."""

    def __init__(self, network: nn.Module, example: Tensor, keep: bool, observer: Observer | None) -> None:
        super().__init__()
        self._keep, self._observer = keep, observer
        self._entered: list[tuple[str, bool]] = []  # paths of modules, and whether they are one call each
        self._inside = 0  # layers that we are inside of, whose functions are not recorded
        self._values: dict[int, Value] = {}
        self._alive: list[Any] = []  # so that no id is used again while the run lasts
        self._names: dict[int, str] = {}
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            self._names[id(tensor)] = name
        self.recording = Recording(self._new_value(example))

    def watch(self, path: str, module: nn.Module, hooks: ExitStack, *, is_leaf: bool) -> None:
        """Have a module tell when it is entered and left."""

        def enter(_: nn.Module, args: Any, kwargs: Any) -> None:
            leaf = is_leaf or self._is_linear(module, args)
            self._entered.append((path, leaf))
            self._inside += leaf

        def leave(_: nn.Module, args: Any, kwargs: Any, result: Any) -> Any:
            leaf = self._entered.pop()[1]
            self._inside -= leaf
            if not leaf or self._inside:
                return None
            return self._note(path, module, type(module).__name__, args, kwargs, result)

        hooks.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
        hooks.callback(module.register_forward_hook(leave, with_kwargs=True).remove)

    def _is_linear(self, module: nn.Module, args: Any) -> bool:
        """Whether a linear map with a forward of its own computes what torch's does, for this input."""
        if not isinstance(module, nn.Linear) or _is_transformed(module) or len(args) != 1 or self._inside:
            return False
        self._inside += 1
        try:
            own, usual = module.forward(args[0]), nn.Linear.forward(module, args[0])
            return isinstance(own, Tensor) and own.shape == usual.shape and torch.equal(own, usual)
        except (RuntimeError, TypeError):
            return False
        finally:
            self._inside -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = args[0] if func is Tensor.__setitem__ else result
        if self._inside or not tensors_in(made):
            return result
        path = self._entered[-1][0] if self._entered else ""
        replaced = self._note(path, None, _function_name(func), args, kwargs or {}, made)
        return result if replaced is None else replaced

    @property
    def place(self) -> str:
        """Where the run is, in words."""
        path = self._entered[-1][0] if self._entered else ""
        return f'in "{path}"' if path else "in its own forward"

    def value_of(self, tensor: Tensor) -> Value:
        """The value that a tensor is at this moment."""
        return self._values.get(id(tensor)) or self._new_value(tensor)

    def _note(self, path: str, module: nn.Module | None, name: str, args: Any, kwargs: Any, result: Any) -> Any:
        self._inside += 1  # what is done here is not part of the run
        try:
            inputs: list[Value] = []
            given = _mapped(tuple(args), lambda tensor: self._used(tensor, inputs))
            named = _mapped(dict(kwargs), lambda tensor: self._used(tensor, inputs))
            results = tensors_in(result)
            call = Call(path, module, name, given, named, tuple(inputs), ())
            changed = None if self._observer is None else self._observer(len(self.recording.calls), call, results)
            if changed is not None:
                taken = iter(changed)
                result = _mapped(result, lambda tensor: _replacement(tensor, next(taken)))
                results = tensors_in(result)
            source = inputs[0].parameter if len(inputs) == 1 else None
            if isinstance(module, TiedParameter):
                source = path
            call.outputs = tuple(self._new_value(tensor, source) for tensor in results)
            self.recording.calls.append(call)
            return None if changed is None else result
        finally:
            self._inside -= 1

    def _used(self, tensor: Tensor, inputs: list[Value]) -> Value:
        value = self.value_of(tensor)
        inputs.append(value)
        return value

    def _new_value(self, tensor: Tensor, source: str | None = None) -> Value:
        copied = tensor.detach().clone() if self._keep else None
        parameter = self._names.get(id(tensor), source)
        value = Value(tuple(tensor.shape), tensor.is_floating_point(), parameter, copied)
        self._values[id(tensor)] = value
        self._alive.append(tensor)
        return value


def _replacement(tensor: Tensor, other: Tensor) -> Tensor:
    """Another value in the same tensor, since it may be one that was changed in place."""
    overlaps = any(step == 0 and extent > 1 for step, extent in zip(tensor.stride(), tensor.shape, strict=True))
    if tensor.shape == other.shape and tensor.dtype == other.dtype and not overlaps:
        return tensor.copy_(other)
    return other


def _function_name(func: Any) -> str:
    name: str = resolve_name(func) or getattr(func, "__name__", str(func))
    parts = name.split(".")
    return parts[-2] if parts[-1] == "__get__" else parts[-1]


def tensors_in(result: Any) -> list[Tensor]:
    """All tensors in nested results."""
    return list(_leaves(result))


def _leaves(item: Any) -> Iterator[Tensor]:
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, Mapping):
        yield from _leaves_of(item.values())
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        yield from _leaves_of(getattr(item, part.name) for part in dataclasses.fields(item))
    elif isinstance(item, (tuple, list)) and not isinstance(item, torch.Size):
        yield from _leaves_of(item)


def _leaves_of(items: Iterable[Any]) -> Iterator[Tensor]:
    for item in items:
        yield from _leaves(item)


def _mapped(item: Any, change: Callable[[Tensor], Any]) -> Any:
    """A copy of nested arguments or results with something else for each tensor."""
    if isinstance(item, Tensor):
        return change(item)
    if isinstance(item, dict):
        return _filled(item, {key: _mapped(part, change) for key, part in item.items()})
    if isinstance(item, (tuple, list)) and not isinstance(item, torch.Size):
        parts = [_mapped(part, change) for part in item]
        return type(item)(*parts) if hasattr(item, "_make") else type(item)(parts)  # of a namedtuple
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        made = copy.copy(item)
        for part in dataclasses.fields(item):
            object.__setattr__(made, part.name, _mapped(getattr(item, part.name), change))
        return made
    return item


def _filled(item: dict[Any, Any], parts: dict[Any, Any]) -> dict[Any, Any]:
    """A dictionary of the same class, which may be one that is read by attributes, too."""
    if type(item) is dict:
        return parts
    made = copy.copy(item)
    for key, part in parts.items():
        made[key] = part
    return made
