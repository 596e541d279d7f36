"""Any model, whole, averaged over a group: equivariant from outside, with nothing changed inside."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from equimorph.errors import ConfigurationError, ShapeError
from equimorph.groups import Group
from equimorph.groups import group as group_named
from equimorph.morphisms.reinitialize import seeded

Turn = tuple[tuple[int, ...], tuple[int, ...]]
"""A signed permutation of a tensor's axes: the order they are put in, and which of them are turned round then."""

_HIDDEN = 8  # channels of the learned weights' network: a choice among |G| copies needs little


def average_over_group(
    model: nn.Module,
    group: Group | str,
    weights: Literal["mean", "learned"] | nn.Module = "mean",
    *,
    in_channels: int | None = None,
    at_once: bool = True,
    generator: torch.Generator | None = None,
) -> GroupAverage:
    """Make any model equivariant by averaging it over a group.

        M_G(x) = sum_g lambda(g x) g^-1 M(g x) / sum_g lambda(g x)

    M sees every moved copy g x of an image, and its answers are moved back before the mean is taken. So
    M_G(h x) = h M_G(x) whatever M is, at |G| times the cost; a model that commutes with G already stays the same.

    With lambda = 1 this is the mean; a learned lambda lets the model listen to the copies in the orientations that it
    knows, which suits pretrained ones. The learned lambda is a small network that begins as the constant 1, that is as
    the mean, and trains with the model.

    Args:
        model: M, from (batch, channels, *spatial) to a vector (batch, k), which is to be invariant, or to a map
            (batch, channels, *spatial), which is to turn with the image. It is copied.
        group: G, a group or its name.
        weights: "mean", "learned", or a module of your own from images to positive numbers (batch,) or (batch, 1).
        in_channels: Channels of the images; for learned weights alone, which need it.
        at_once: Whether the copies go through the model as one batch; one after the other takes less memory.
        generator: Where the initial values of learned weights are drawn from.
    Returns:
        A new module; `model` is left as it was. The law holds in evaluation mode, and in training mode as far as the
        model draws nothing at random (dropout).
    Raises:
        GroupError: An unknown group.
        ConfigurationError: Unknown weights, or learned ones without `in_channels`.
    Example:
        >>> average = average_over_group(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), "D4")
        >>> x = torch.randn(2, 1, 6, 6)
        >>> bool(torch.allclose(average(x.rot90(1, (2, 3))), average(x), atol=1e-6))
        True

    Source: Basu et al. (2023a), "Equi-Tuning"; with weights Basu et al. (2023b), "Efficient Equivariant
    Transfer Learning from Pretrained Models".
    """
    ambient = group_named(group) if isinstance(group, str) else group
    if isinstance(weights, nn.Module):
        weighting: nn.Module | None = copy.deepcopy(weights)
    elif weights == "learned":
        if in_channels is None:
            raise ConfigurationError("average_over_group: learned weights need in_channels, the images' channels.")
        weighting = _learned(in_channels, ambient.dim, _floating_like(model), generator)
    elif weights == "mean":
        weighting = None
    else:
        raise ConfigurationError(f'average_over_group: weights is {weights!r}; give "mean", "learned" or a module.')
    return GroupAverage(copy.deepcopy(model), ambient, weighting=weighting, at_once=at_once)


class GroupAverage(nn.Module):
    """The mean of a model over a group; made by `average_over_group`, which has the formula.

    Args:
        model: M.
        group: G.
        weighting: lambda, or None for the plain mean.
        at_once: Whether the copies go through the model as one batch.
    Shapes:
        Input (batch, channels, *spatial), with equal sides along axes that G exchanges; output as the model's.
    Raises:
        ShapeError: An input of another number of axes, or unequal sides where G exchanges them; a model's output that
            is no vector and no map; weights that are not one number for each image.
    """

    def __init__(
        self, model: nn.Module, group: Group, *, weighting: nn.Module | None = None, at_once: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self.weighting = weighting
        self.group = group
        self.at_once = at_once
        self.answers_are_maps: bool | None = None  # looked up in each answer, unless it is said beforehand
        self.turns: tuple[Turn, ...] = tuple(_turn(group, g) for g in range(group.order))
        self.turns_back: tuple[Turn, ...] = tuple(_turn(group, int(g)) for g in group.inverses)

    def forward(self, x: Tensor) -> Tensor:
        """Average the model's answers for a batch of images."""
        batches = (self.turns,) if self.at_once else tuple((turn,) for turn in self.turns)
        copies = [_moved_copies(x, turns, self.group.name) for turns in batches]
        answers = [self.model(moved) for moved in copies]
        weights = None if self.weighting is None else [self.weighting(moved) for moved in copies]
        if self.answers_are_maps is None:
            return _mean_moved_back(answers, weights, self.turns_back, _are_maps(answers[0], self.turns_back))
        return _mean_moved_back(answers, weights, self.turns_back, self.answers_are_maps)

    def extra_repr(self) -> str:
        """What `print` shows of the average."""
        return f"group={self.group.name}, at_once={self.at_once}"


def _turn(group: Group, element: int) -> Turn:
    """How an element moves axes: row i of its matrix says which axis lands on axis i, and whether turned round."""
    matrix = group.elements[element].tolist()
    origins = tuple(2 + next(axis for axis, entry in enumerate(row) if entry) for row in matrix)
    return (0, 1, *origins), tuple(2 + axis for axis, row in enumerate(matrix) if sum(row) < 0)


def _moved(x: Tensor, turn: Turn) -> Tensor:
    """g x, by flips and permutations of axes alone."""
    order, turned = turn
    if order != tuple(range(len(order))):
        x = x.permute(order)
    return x.flip(turned) if turned else x


def _is_traced(x: object) -> bool:
    """Whether it is torch.fx that asks, which knows no shapes; it traces for an input that has been tried."""
    return isinstance(x, Proxy)


def _moved_copies(x: Tensor, turns: Sequence[Turn], name: str) -> Tensor:
    """All g x along the batch, element after element."""
    if not _is_traced(x):
        dim = len(turns[0][0]) - 2
        if x.ndim != 2 + dim:
            raise ShapeError(
                f"GroupAverage: {name} acts on {dim} spatial axes, so it needs (batch, channels, *spatial) of "
                f"{2 + dim} axes, got {tuple(x.shape)}."
            )
        _check_sides(x, turns, f"GroupAverage: {name}", "crop or pad the images")
    return torch.cat([_moved(x, turn) for turn in turns])


def _are_maps(answer: Tensor, turns_back: Sequence[Turn]) -> bool:
    """Whether an answer has positions, which are to be moved back."""
    if not isinstance(answer, Tensor):
        raise ShapeError(
            f"GroupAverage: the model returns a {type(answer).__name__}; it needs one tensor, so wrap the model "
            "in a module that picks it."
        )
    dim = len(turns_back[0][0]) - 2
    if answer.ndim not in (2, 2 + dim):
        raise ShapeError(
            f"GroupAverage: the model's output has {answer.ndim} axes; it needs a vector (batch, k) or a map (batch, "
            f"channels, *spatial) of {2 + dim} axes."
        )
    if answer.ndim > 2:
        _check_sides(answer, turns_back, "GroupAverage: the model's output: the group", "give it equal sides")
    return answer.ndim > 2


def _mean_moved_back(
    answers: Sequence[Tensor], weights: Sequence[Tensor] | None, turns_back: Sequence[Turn], are_maps: bool
) -> Tensor:
    """sum_g lambda_g g^-1 y_g / sum_g lambda_g, of answers along the batch, element after element."""
    stacked: Tensor = torch.cat(list(answers)).unflatten(0, (len(turns_back), -1))
    if are_maps:
        stacked = torch.stack([_moved(stacked[g], turn) for g, turn in enumerate(turns_back)])
    if weights is None:
        return stacked.mean(0)
    shares = _shares(torch.cat(list(weights)), len(turns_back))
    axes = len(turns_back[0][0]) if are_maps else 2
    return (stacked * shares[(..., *(None,) * (axes - 1))]).sum(0)


def _shares(weights: Tensor, order: int) -> Tensor:
    """lambda_g / sum_g lambda_g, shape (|G|, batch)."""
    if not _is_traced(weights) and (weights.ndim not in (1, 2) or weights[:1].numel() != 1):
        raise ShapeError(
            f"GroupAverage: the weights have shape {tuple(weights.shape)}; they are one number for each image, "
            "(batch,) or (batch, 1)."
        )
    by_element = weights.reshape(order, -1)
    return by_element / by_element.sum(0)


def _check_sides(x: Tensor, turns: Sequence[Turn], speaker: str, remedy: str) -> None:
    for order, _ in turns:
        if any(x.shape[axis] != x.shape[place] for place, axis in enumerate(order)):
            raise ShapeError(
                f"{speaker} exchanges axes, which need equal sides, got {tuple(x.shape[2:])}; {remedy}, or take a "
                "group that keeps the axes, such as D2."
            )


def _learned(channels: int, dim: int, like: Tensor, generator: torch.Generator | None) -> nn.Module:
    """A positive number for each image, 1 at first."""
    if channels < 1:
        raise ConfigurationError(f"average_over_group: in_channels is {channels}; it must be at least one.")
    if generator is None:
        network = _weighting_network(channels, dim)
    else:
        with seeded(int(torch.randint(2**31, (), generator=generator))):
            network = _weighting_network(channels, dim)
    return network.to(device=like.device, dtype=like.dtype)


def _weighting_network(channels: int, dim: int) -> nn.Sequential:
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dim - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dim - 1]
    head = nn.Linear(_HIDDEN, 1)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, math.log(math.e - 1))  # softplus of this is 1
    parts: dict[str, nn.Module] = {
        "conv1": convolution(channels, _HIDDEN, 3, padding=1),
        "activation1": nn.ReLU(),
        "conv2": convolution(_HIDDEN, _HIDDEN, 3, padding=1),
        "activation2": nn.ReLU(),  # without it the mean would undo all of conv2 but its sums
        "pool": pool(1),
        "flatten": nn.Flatten(),
        "head": head,
        "positive": nn.Softplus(),
    }
    return nn.Sequential(OrderedDict(parts))


def _floating_like(model: nn.Module) -> Tensor:
    """A tensor of the dtype and device of a model's parameters; torch's default for a model without any."""
    return next((one for one in model.parameters() if one.is_floating_point()), torch.empty(0))
