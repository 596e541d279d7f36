"""Augmentation: random changes of the samples of a whole batch, on the device that the batch is on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from equimorph.data.resampling import places_of, random_turns, resampled, resampled_maps, uniform
from equimorph.data.sending import sent
from equimorph.errors import ConfigurationError, ShapeError
from equimorph.groups import Group, Subgroup, group
from equimorph.layers.features import transform

Turns = Literal["none", "any", "z"]
Fill = Literal["reflection", "border", "mean"]

_WHOLE_GROUPS = {1: "Z2", 2: "D4", 3: "Oh"}  # all symmetries of the grid
_TURNS = {(2, "any"): "C4", (3, "any"): "O", (3, "z"): "C4@z"}  # those among them that turns by any angle meet
_MIRRORS = {1: "Z2", 2: "D1@90", 3: "Cs@x"}  # left and right are exchanged, up stays up
_PADDING = {"reflection": "reflection", "border": "border", "mean": "zeros"}  # standardised samples have mean zero
FORMS = "turn, turn=z, mirror, shift=0.1, scale=0.1, intensity=0.1, move=H, fill=reflection|border|mean"


@dataclass(frozen=True)
class Augmentation:
    """What is changed at random in each sample of a batch, every time it is seen.

        y(p) = (1 + a) x(h^-1 M^-1 (p - t)) + b,            M = s R F

    with h uniform in H, R a turn by any angle, F a mirror or the identity, s a scale, t a shift, all about the centre,
    a gain and an offset, each drawn anew for each sample. What h moves is moved exactly, pixel by pixel; the rest is
    one interpolation, linear along each axis.

    Attributes:
        dim: Spatial axes of the samples.
        move: H, by the name of a subgroup of the grid's whole symmetry (Z2, D4, Oh); None for the trivial one.
        turn: "any" angle, uniform (in 3-D over all rotations); in 3-D also "z", about the z axis alone; or "none".
        mirror: Whether left and right are exchanged, with probability one half: the last axis of a signal or an image
            is flipped, x of a volume.
        shift: t is uniform in [-shift, shift] sides along each axis.
        scale: log s is uniform in [-log(1 + scale), log(1 + scale)].
        intensity: a and b are uniform in [-intensity, intensity], b in standard deviations of the training set.
        fill: What comes in from outside: "reflection", the pixels at the "border", or the "mean" of the training set.
    Raises:
        ConfigurationError: A value outside its range, or a turn that these samples do not have.
        GroupError: The grid has no subgroup H.
    Example:
        >>> Augmentation.parse("turn, mirror, shift=0.1", dim=2)
        Augmentation(dim=2, move=None, turn='any', mirror=True, shift=0.1, scale=0.0, intensity=0.0, fill='reflection')
    """

    dim: int
    move: str | None = None
    turn: Turns = "none"
    mirror: bool = False
    shift: float = 0.0
    scale: float = 0.0
    intensity: float = 0.0
    fill: Fill = "reflection"

    def __post_init__(self) -> None:
        for what, choices in (("turn", Turns), ("fill", Fill)):
            if getattr(self, what) not in get_args(choices):
                given = getattr(self, what)
                raise ConfigurationError(
                    f'augmentation: {what} is "{given}"; it is one of {", ".join(get_args(choices))}.'
                )
        for what in ("shift", "scale", "intensity"):
            if not 0 <= getattr(self, what) <= 1:
                raise ConfigurationError(f"augmentation: {what} is {getattr(self, what)}; it must be from 0 to 1.")
        if (self.turn == "any" and self.dim == 1) or (self.turn == "z" and self.dim != 3):
            raise ConfigurationError(f"augmentation: samples of dimension {self.dim} have no turn {self.turn}.")
        _ = self.moved_by

    @classmethod
    def parse(cls, text: str, *, dim: int) -> Augmentation:
        """What a text such as "turn, shift=0.1" says; the empty text is no augmentation.

        Raises:
            ConfigurationError: A word that is none of those there are, a value that is no number, a word twice.
        """
        found: dict[str, Any] = {}
        for part in (part.strip() for part in text.split(",")):
            word, has_value, value = (piece.strip() for piece in part.partition("="))
            if not part:
                continue
            if word in found:
                raise ConfigurationError(f'augmentation: "{word}" is named twice in "{text}".')
            found[word] = _value(part, word, value if has_value else None)
        return cls(dim, **found)

    def __str__(self) -> str:
        words = [f"move={self.move}"] if self.move else []
        words += {"none": [], "any": ["turn"], "z": ["turn=z"]}[self.turn]
        words += ["mirror"] if self.mirror else []
        words += [f"{what}={getattr(self, what)}" for what in ("shift", "scale", "intensity") if getattr(self, what)]
        words += [f"fill={self.fill}"] if self.fill != "reflection" and self._resamples else []
        return ", ".join(words)

    @cached_property
    def moved_by(self) -> Subgroup:
        """H, in the grid's whole symmetry."""
        whole = group(_WHOLE_GROUPS[self.dim], dim=self.dim)
        return whole.trivial if self.move is None else whole.subgroup(self.move)

    def reached(self, ambient: Group) -> Subgroup:
        """The elements of G that samples are moved by, or may be by chance: those of H, turns, the mirror, products."""
        whole = self.moved_by.group
        joined = self.moved_by
        if self.turn != "none":
            joined = joined | whole.subgroup(_TURNS[self.dim, self.turn])
        if self.mirror:
            joined = joined | whole.subgroup(_MIRRORS[self.dim])
        wanted = {matrix.tobytes() for matrix in joined.elements}
        indices = {index for index, matrix in enumerate(ambient.elements) if matrix.tobytes() in wanted}
        return next(H for H in ambient.subgroups() if set(H.indices) == indices)

    def moved(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Raw samples (batch, channels, *spatial), each moved by its own h."""
        return x if self.move is None else move_randomly(x, self.moved_by, generator)

    def moved_with(self, x: Tensor, maps: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Raw samples as `moved` has them, and the maps that belong to them by the same h.

        Args:
            x: Shape (batch, channels, *spatial).
            maps: Shape (batch, *spatial) of whole numbers, or (batch, k, *spatial).
            generator: What h is drawn from.
        """
        if self.move is None:
            return x, maps
        drawn = _draw_elements(len(x), self.moved_by, generator)
        if maps.is_floating_point():
            return _moved(x, drawn, self.moved_by), _moved(maps, drawn, self.moved_by)
        return _moved(x, drawn, self.moved_by), _moved(maps[:, None], drawn, self.moved_by)[:, 0]

    def changed(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Standardised samples (batch, channels, *spatial), each turned, mirrored, scaled, shifted, made brighter."""
        if self._resamples:
            x = resampled(x, self._draw_places(x, generator), _PADDING[self.fill])
        return self._brightened(x, generator)

    def changed_with(
        self, x: Tensor, maps: Tensor, generator: torch.Generator, *, outside: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Standardised samples as `changed` has them, and the maps that belong to them by the same M and t.

        Floating maps are interpolated like samples, whole numbers come from the nearest pixel; gain and offset are for
        samples alone. The channels of a map are moved, not turned into each other.

        Args:
            x: Shape (batch, channels, *spatial).
            maps: Shape (batch, *spatial) of whole numbers, or (batch, k, *spatial).
            generator: What everything is drawn from, as `changed` does.
            outside: What comes in where samples are filled with their mean, a scalar or shape (k, *ones).
        """
        if self._resamples:
            places, padding = self._draw_places(x, generator), _PADDING[self.fill]
            maps = resampled_maps(maps, places, padding, outside=outside, dtype=x.dtype)
            x = resampled(x, places, padding)
        return self._brightened(x, generator), maps

    def _brightened(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.intensity:
            gain, offset = (self.intensity * uniform(len(x), generator=generator) for _ in range(2))
            shape = (-1, *([1] * (x.ndim - 1)))
            gain, offset = (sent(one, x.device, x.dtype).view(shape) for one in (1 + gain, offset))
            x = gain * x + offset
        return x

    def _draw_places(self, x: Tensor, generator: torch.Generator) -> Tensor:
        sides = tuple(x.shape[2:])
        return places_of(*self._draw_maps(len(x), sides, generator), sides)

    @property
    def _resamples(self) -> bool:
        return self.turn != "none" or self.mirror or bool(self.shift or self.scale)

    def _draw_maps(self, count: int, sides: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """M, shape (count, d, d), and t in pixels, shape (count, d)."""
        matrices = torch.eye(self.dim, dtype=torch.float64).repeat(count, 1, 1)
        if self.turn != "none":
            matrices = random_turns(count, self.dim, self.turn, generator)
        if self.mirror:
            is_flipped = torch.randint(0, 2, (count,), generator=generator).bool()
            flip = torch.from_numpy(self.moved_by.group.subgroup(_MIRRORS[self.dim]).elements[1]).double()
            matrices[is_flipped] = matrices[is_flipped] @ flip
        if self.scale:
            matrices = matrices * (math.log1p(self.scale) * uniform(count, 1, 1, generator=generator)).exp()
        shifts = torch.zeros(count, self.dim, dtype=torch.float64)
        if self.shift:
            shifts = self.shift * uniform(count, self.dim, generator=generator) * torch.tensor(sides).double()
        return matrices, shifts


def conflict(augmentation: Augmentation, searched: Sequence[Subgroup]) -> str | None:
    """What to warn of when a search between subgroups sees augmented samples; None when there is nothing.

    Samples that are moved by A look as if A were a symmetry of the labels, whether it is one or not.

    Args:
        augmentation: The augmentation.
        searched: [G], at least one.
    """
    ambient = searched[0].group
    reached = augmentation.reached(ambient)
    blurred = [H.name for H in searched if not reached <= H]
    if reached.order == 1 or len(searched) < 2 or not blurred:
        return None
    return (
        f'augmentation: "{augmentation}" moves the images by {reached.name}, so the training data look symmetric under '
        f"{reached.name} whether the labels are or not, and the search cannot tell whether layers should keep less "
        f"({', '.join(blurred)}); leave these moves out, or search among groups that contain {reached.name}."
    )


def move_randomly(x: Tensor, subgroup: Subgroup, generator: torch.Generator) -> Tensor:
    """Act on each sample with its own element of H, drawn uniformly.

        y_b(p) = x_b(h_b^-1 p),      h_b independent and uniform in H

    Args:
        x: Samples of any dtype, shape (batch, channels, *spatial).
        subgroup: H.
        generator: What the elements are drawn from, alone; it may live on another device than `x`.
    Returns:
        y, new, like `x` in shape, dtype and device.
    Raises:
        ShapeError: The number of spatial axes is not the group's, or an element of H exchanges axes of unequal length.
    Example:
        >>> from equimorph.groups import group
        >>> x = torch.tensor([[[[1, 2], [3, 4]]]]).expand(6, 1, 2, 2)
        >>> y = move_randomly(x, group("D4").subgroup("C2"), torch.Generator().manual_seed(0))
        >>> sorted({tuple(sample.flatten().tolist()) for sample in y})
        [(1, 2, 3, 4), (4, 3, 2, 1)]
    """
    return _moved(x, _draw_elements(len(x), subgroup, generator), subgroup)


def _draw_elements(count: int, subgroup: Subgroup, generator: torch.Generator) -> Tensor:
    """Positions among the elements of H, uniform, shape (count,), on the CPU."""
    return torch.randint(subgroup.order, (count,), generator=generator, device=generator.device).cpu()


def _moved(x: Tensor, drawn: Tensor, subgroup: Subgroup) -> Tensor:
    """Each sample moved by the element of H at its position."""
    _check_shape(x, subgroup)
    moved = torch.empty_like(x, memory_format=torch.contiguous_format)
    for position, element in enumerate(subgroup.indices):
        # Found on the CPU: counting them on a GPU would make it wait.
        chosen = sent((drawn == position).nonzero()[:, 0], x.device)
        if len(chosen):
            moved[chosen] = transform(x[chosen], element, subgroup.group, "trivial")
    return moved


def _check_shape(x: Tensor, subgroup: Subgroup) -> None:
    sides = tuple(x.shape[2:])
    if x.ndim - 2 != subgroup.group.dim:
        raise ShapeError(
            f"move_randomly: {subgroup.group.name} acts on {subgroup.group.dim} spatial axes, "
            f"got samples of shape {tuple(x.shape[1:])}; hand in (batch, channels, *spatial)."
        )
    for matrix in subgroup.elements:
        if tuple(sides[axis] for axis in abs(matrix).argmax(1)) != sides:
            raise ShapeError(
                f"move_randomly: {subgroup.name} exchanges axes, and the sides {sides} are not equal; "
                "crop to a square, or take a subgroup that keeps the axes, such as D2."
            )


def _value(part: str, word: str, value: str | None) -> str | float | bool:
    """The value of one word of an augmentation."""
    if word == "turn" and value in (None, "any", "z"):
        return value or "any"
    if word == "mirror" and value is None:
        return True
    if word in ("move", "fill") and value:
        return value
    if word in ("shift", "scale", "intensity") and value:
        try:
            return float(value)
        except ValueError:
            pass
    raise ConfigurationError(f'augmentation: "{part}" is none of {FORMS}.')
