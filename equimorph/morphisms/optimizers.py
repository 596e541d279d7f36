"""What an optimizer takes from a network with tied weights, and how it follows a relaxation.

A parameter stands for as many kernel entries as its orbit has members, and its gradient is their sum. With s the size
of the orbit, an optimizer that treats every constraint alike, in terms of the dense kernel, has

    SGD              lr / s,   momentum buffer ~ s,              coupled weight decay ~ s
    Adam             lr,       first moment ~ s, second ~ s^2,   coupled weight decay ~ s,    eps ~ s
    AdamW            as Adam, the decoupled weight decay unscaled

so relaxing a tensor by r = s before / s after multiplies SGD's learning rate by r and divides the others by r or r^2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from equimorph.errors import ConfigurationError, MorphismError
from equimorph.groups import Orbits
from equimorph.layers._base import parameter_orbits
from equimorph.spaces import WeightSpace

Options = dict[str, Any]


def parameter_groups(
    network: nn.Module,
    *,
    lr: float,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    optimizer: type[Optimizer] = SGD,
) -> list[Options]:
    """The parameters of a network in groups of one orbit size and weight decay each, with the scales of that size.

    With them a step moves the dense kernels of a constrained network as far as a step of the same `lr` would move
    those of a free one.

    Args:
        network: Layers, or a network of them, of torch's own modules, or of both.
        lr: Learning rate of the dense kernel.
        weight_decay: Weight decay of the dense kernel; spaces with a prior of their own (`ResidualSpace`) set theirs,
            and the logits of mixtures have none.
        eps: Adam's and AdamW's eps for the gradient of a dense kernel.
        optimizer: The class that the groups are for: SGD, Adam or AdamW.
    Returns:
        What the optimizer takes instead of `network.parameters()`, largest orbits first.
    Raises:
        ConfigurationError: The scales are not known for that class.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> conv = Conv2d(2, 3, 3, group="D4", subgroup="C4")
        >>> [group["lr"] for group in parameter_groups(conv, lr=0.1)]
        [0.025]
        >>> sgd = torch.optim.SGD(parameter_groups(conv, lr=0.1), momentum=0.9)

    Source: the method's page, section 2.
    """
    if not issubclass(optimizer, (SGD, Adam)):
        raise ConfigurationError(f"parameter_groups: needs SGD, Adam or AdamW, got {optimizer.__name__}.")
    options: Options = {"lr": lr, "weight_decay": weight_decay}
    if issubclass(optimizer, Adam):
        options["eps"] = eps
    orbits, decays = parameter_orbits(network), _own_decays(network)
    by_kind: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            size = orbits[name].mean_size if name in orbits else 1.0
            by_kind.setdefault((size, decays.get(name, weight_decay)), []).append(parameter)
    decoupled = issubclass(optimizer, AdamW)
    return [
        {
            "params": by_kind[size, decay],
            **_rescaled(options | {"weight_decay": decay}, optimizer, decoupled, 1 / size),
        }
        for size, decay in sorted(by_kind, reverse=True)
    ]


@torch.no_grad()
def carry_optimizer(optimizer: Optimizer, *, source: nn.Module, target: nn.Module) -> Optimizer:
    """A new optimizer for a relaxed network, whose state went through the same map as the weights.

    Training then goes on as if nothing had happened: where every site of the source commutes with its constraint and
    the loss is the same over the orbit of each sample, source and target stay equal step after step.

    Args:
        optimizer: An SGD, Adam or AdamW on parameters of `source`; its options may have been changed by a schedule.
        source: The network before.
        target: `em.relax` of it.
    Returns:
        A new optimizer of the same class on the parameters of `target`; `optimizer` is left as it was.
    Raises:
        MorphismError: Another class of optimizer; a parameter that `source` does not have; a site of `target` that is
            not a relaxation of the one in `source`.
    Example:
        >>> from equimorph.layers import Conv2d
        >>> from equimorph.morphisms import relax
        >>> conv = Conv2d(2, 3, 3, group="D4")
        >>> adam = torch.optim.Adam(parameter_groups(conv, lr=1e-3, optimizer=torch.optim.Adam))
        >>> child = relax(conv, "C4")
        >>> carry_optimizer(adam, source=conv, target=child).param_groups[0]["eps"]
        4e-08

    Source: the table of the method's page, section 2. The map is exact where all orbits of a tensor have one size,
        that is for every tensor but the kernel from a trivial to a trivial feature, where r is the ratio of means.
    """
    kind = type(optimizer)
    if kind not in (SGD, Adam, AdamW):
        raise MorphismError(f"carry_optimizer: needs SGD, Adam or AdamW, got {kind.__name__}.")
    names = {parameter: name for name, parameter in source.named_parameters()}
    targets = dict(target.named_parameters())
    moves = _moves(source, target)
    merged: dict[str, Options] = {}
    states: dict[nn.Parameter, dict[str, Any]] = {}
    for group in optimizer.param_groups:
        options = {key: value for key, value in group.items() if key != "params"}
        decoupled = kind is AdamW or bool(options.get("decoupled_weight_decay"))
        for parameter in group["params"]:
            name = names.get(parameter)
            if name is None or name not in targets:
                raise MorphismError(
                    "carry_optimizer: the optimizer holds a parameter that the source network does not have, or the "
                    f"target lacks ({name}); pass the network it was made for, and its relaxation."
                )
            rows, ratio = moves.get(name, (None, 1.0))
            scaled = _rescaled(options, kind, decoupled, ratio)
            merged.setdefault(repr(sorted(scaled.items())), {"params": [], **scaled})["params"].append(targets[name])
            states[targets[name]] = _carried_state(optimizer.state.get(parameter, {}), rows, ratio)
    carried = kind(list(merged.values()))
    carried.defaults = dict(optimizer.defaults)
    carried.state.update({parameter: state for parameter, state in states.items() if state})
    return carried


def _own_decays(network: nn.Module) -> dict[str, float]:
    """For each parameter with a weight decay of its own, by its full name, that decay."""
    found: dict[str, float] = {}
    for prefix, module in network.named_modules():
        if isinstance(module, WeightSpace):
            found |= {f"{prefix}.{name}" if prefix else name: decay for name, decay in module.penalties().items()}
    return found


def _rescaled(options: Options, kind: type[Optimizer], decoupled: bool, ratio: float) -> Options:
    """The options of a group whose orbits become smaller by `ratio`."""
    scaled = dict(options)
    if issubclass(kind, SGD):
        for key in ("lr", "initial_lr"):
            if key in scaled:
                scaled[key] = scaled[key] * ratio
    elif "eps" in scaled:
        scaled["eps"] = scaled["eps"] / ratio
    if not decoupled:
        scaled["weight_decay"] = scaled["weight_decay"] / ratio
    return scaled


def _carried_state(state: dict[str, Any], rows: Tensor | None, ratio: float) -> dict[str, Any]:
    powers = {"momentum_buffer": 1, "exp_avg": 1, "exp_avg_sq": 2, "max_exp_avg_sq": 2}
    carried: dict[str, Any] = {}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            carried[key] = value
        elif key in powers:
            moved = value.clone() if rows is None else value.index_select(0, rows.to(value.device))
            carried[key] = moved / ratio ** powers[key]
        else:
            carried[key] = value.clone()
    return carried


def _moves(source: nn.Module, target: nn.Module) -> dict[str, tuple[Tensor | None, float]]:
    """For each table of orbits, which row of the source each row of the target is, and the ratio of orbit sizes."""
    before, after = parameter_orbits(source), parameter_orbits(target)
    if before.keys() != after.keys():
        raise MorphismError("carry_optimizer: the target has other layers than the source; pass a relaxation of it.")
    return {name: _move(name, before[name], after[name]) for name in before}


def _move(name: str, before: Orbits, after: Orbits) -> tuple[Tensor | None, float]:
    if before is after:
        return None, 1.0
    if before.shape != after.shape or not after.subgroup <= before.subgroup:
        raise MorphismError(
            f"carry_optimizer: {name} goes from {before.subgroup.name} to {after.subgroup.name}, which is no "
            "relaxation; start the constrained network with a new optimizer (em.parameter_groups)."
        )
    rows = torch.from_numpy(before.index[after.representatives])
    return rows, before.mean_size / after.mean_size
