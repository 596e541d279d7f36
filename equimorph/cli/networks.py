"""The options that say which network is trained, and the network that they describe: one of ours, or the user's own."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from equimorph import data
from equimorph.errors import ConfigurationError
from equimorph.groups import group
from equimorph.models import PaperNetwork, ResNet
from equimorph.morphisms import equivariantize
from equimorph.morphisms.reinitialize import seeded
from equimorph.training.settings import SeedBranch, derived_generator, derived_seed

_OURS = ("paper", "resnet")
OWN_FORM = "FILE.py:FUNCTION"


def add_network_options(add: Callable[..., Any]) -> None:
    """The network and its shape."""
    add(
        "--network",
        type=str,
        default="paper",
        help=f"paper, resnet, or {OWN_FORM} for your own: a function that returns a torch network; it may take "
        "in_channels, num_classes and image_size",
    )
    add(
        "--fields",
        type=str,
        default="16",
        help="paper: regular fields of the first stage, and of the second (twice as many when left out), for instance "
        "4,8; resnet: of each stage (three, each twice the one before, when one is given)",
    )
    add("--depth", type=int, default=8, help="paper: convolution blocks")
    add("--kernel-size", type=int, default=5, help="paper, resnet: side of the kernels, odd")
    add("--head-units", type=int, default=64, help="paper: units of the head")
    add(
        "--pool-after",
        type=str | None,
        default=None,
        help="paper: blocks after which the sides are halved, for instance 2,4 "
        "(default: every second one while four pixels a side remain)",
    )
    add("--blocks", type=str, default="2", help="resnet: residual blocks of each stage, for instance 3,4,6")
    add("--bottleneck", action="store_true", help="resnet: blocks of 1, 3 and 1 wide kernels")
    add("--stem-pools", type=int, default=0, help="resnet: how often sides are halved after the first convolution")
    add(
        "--width",
        type=str,
        default="cost",
        help="own network: cost reads C channels as C / |G| fields, parameters as C / sqrt(|G|), fields as C; or a "
        "number f for f C",
    )
    add("--free", type=str, default="", help="own network: paths of modules to leave as they are, with commas between")


def make_network(options: Any, samples: data.ImageData, seed: int) -> nn.Module:
    """The network, constrained to G, with initial values of that seed."""
    generator = derived_generator(seed, SeedBranch.FIRST_VALUES)
    shape: dict[str, Any] = {
        "group": group(options.group),
        "image_size": samples.image_size,
        "in_channels": samples.in_channels,
        "num_classes": samples.num_classes,
        "kernel_size": options.kernel_size,
        "generator": generator,
    }
    if options.network == "paper":
        pools = None if options.pool_after is None else _numbers("--pool-after", options.pool_after)
        fields = _fields(options.fields, stages=2)
        return PaperNetwork(
            **shape, fields=fields, depth=options.depth, head_units=options.head_units, pool_after=pools
        )
    if options.network == "resnet":
        fields = _fields(options.fields, stages=3)
        return ResNet(
            **shape,
            fields=fields,
            blocks=_blocks(options.blocks),
            bottleneck=options.bottleneck,
            stem_pools=options.stem_pools,
        )
    with seeded(derived_seed(seed, SeedBranch.FIRST_VALUES)):
        model = own_network(
            options.network,
            in_channels=samples.in_channels,
            num_classes=samples.num_classes,
            image_size=samples.image_size,
        )
    example = torch.zeros(2, samples.in_channels, *samples.train.x.shape[2:])
    return equivariantize(
        model, shape["group"], example, width=_width(options.width), free=_paths(options.free), generator=generator
    )


def describe_network(options: Any) -> str:
    """The network in a few words, for a table."""
    if options.network == "paper":
        fields = ",".join(map(str, _fields(options.fields, stages=2)))
        return f"{options.depth} convolutions of {fields} fields, kernels of {options.kernel_size}"
    if options.network == "resnet":
        fields = ",".join(map(str, _fields(options.fields, stages=3)))
        blocks = "bottlenecks" if options.bottleneck else "blocks"
        return f"residual network, {options.blocks} {blocks} of {fields} fields, kernels of {options.kernel_size}"
    return f"{options.network}, width {options.width}"


def own_network(text: str, **known: int) -> nn.Module:
    """What the user's function returns.

    Args:
        text: FILE.py:FUNCTION, or package.module:FUNCTION.
        known: What it may ask for by name.
    Raises:
        ConfigurationError: There is no such function, or it does not give a network.
    """
    where, _, name = text.rpartition(":")
    if not where or not name:
        raise ConfigurationError(f'--network is "{text}"; it is {", ".join(_OURS)}, or {OWN_FORM} for your own.')
    module = _imported(where)
    function = getattr(module, name, None)
    if not callable(function):
        functions = ", ".join(sorted(key for key, value in vars(module).items() if inspect.isfunction(value)))
        raise ConfigurationError(f"--network: {where} has no function {name}; it has {functions or 'none'}.")
    try:
        model = function(**_asked_for(function, known))
    except Exception as error:
        raise ConfigurationError(f"--network: {name} of {where} fails: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ConfigurationError(f"--network: {name} of {where} returns {type(model).__name__}, not a torch.nn.Module.")
    return model


def _imported(where: str) -> ModuleType:
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        path = Path(where).resolve()
        if not path.is_file():
            raise ConfigurationError(f"--network: there is no file {where}.")
        specification = importlib.util.spec_from_file_location(path.stem, path)
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules.setdefault(path.stem, module)
        sys.path.insert(0, str(path.parent))  # what it imports from beside itself
        try:
            specification.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
        return module
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"--network: {where} cannot be imported: {type(error).__name__}: {error}") from error


def _asked_for(function: Callable[..., Any], known: dict[str, int]) -> dict[str, int]:
    """Of what is known, what the function has a name for."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return known
    return {name: value for name, value in known.items() if name in parameters}


def _width(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _paths(text: str) -> list[str]:
    return [path.strip() for path in text.split(",") if path.strip()]


def _fields(text: str, *, stages: int) -> tuple[int, ...]:
    numbers = _numbers("--fields", text)
    return tuple(numbers[0] * 2**stage for stage in range(stages)) if len(numbers) == 1 else numbers


def _blocks(text: str) -> int | tuple[int, ...]:
    numbers = _numbers("--blocks", text)
    return numbers[0] if len(numbers) == 1 else numbers


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(number) for number in text.split(",") if number.strip())
    except ValueError:
        numbers = ()
    if not numbers:
        raise ConfigurationError(f'{option} is "{text}"; it is whole numbers with commas between.')
    return numbers
