"""Where the name beside each point of a figure goes, so that names and points do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# In pixels, for the figures' 13-pixel font.
_CHARACTER = 7.2
_LINE = 17
_MARK = 8

# By preference: a name is read most easily to the right of its point.
_PLACES = {
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top right": (1, 1),
    "bottom right": (1, -1),
    "top left": (-1, 1),
    "bottom left": (-1, -1),
    "top center": (0, 1),
    "bottom center": (0, -1),
}
_LONGEST_NAME = 26


@dataclass(frozen=True)
class Rectangle:
    """A part of a figure, in pixels from its lower left corner."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Rectangle) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.top - self.bottom)


def place_labels(
    points: Sequence[tuple[float, float]],
    labels: Sequence[str],
    *,
    size: tuple[float, float],
    obstacles: Sequence[Rectangle] = (),
) -> list[str]:
    """Choose a place for each label, one after the other: the first that covers nothing, else what covers least.

    Args:
        points: In pixels from the lower left corner.
        labels: One for each point.
        size: Width and height of the figure's inside, in pixels.
        obstacles: What labels must not cover, beside the points themselves.
    Returns:
        For each point a text position in Plotly's words.
    Example:
        >>> place_labels([(100, 50), (120, 50)], ["left", "right"], size=(400, 100))
        ['middle left', 'middle right']
    """
    inside = Rectangle(0, 0, *size)
    marks = [Rectangle(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in points]
    taken = [*obstacles, *marks]
    chosen = []
    for (x, y), label in zip(points, labels, strict=True):
        spaces = {place: _space(x, y, label, place) for place in _PLACES}

        def cost(place: str, spaces: dict[str, Rectangle] = spaces) -> float:
            space = spaces[place]
            covered = sum(space.overlap(other) for other in taken)
            # What leaves the figure is cut off, which is worse than being covered.
            return covered + 3 * (space.area - space.overlap(inside))

        best = min(_PLACES, key=cost)
        chosen.append(best)
        taken.append(spaces[best])
    return chosen


def shorten_name(name: str) -> str:
    """A long name without its middle.

    Example:
        >>> shorten_name("evolutionary with parents=8 and generations=40")
        'evolutionary …nerations=40'
    """
    if len(name) <= _LONGEST_NAME:
        return name
    half = _LONGEST_NAME // 2
    return f"{name[:half]}…{name[1 - half :]}"


def _space(x: float, y: float, label: str, place: str) -> Rectangle:
    across, up = _PLACES[place]
    width = _CHARACTER * len(label)
    middle = x + across * (width / 2 + _MARK)
    height = y + up * (_LINE / 2 + (_MARK if across == 0 else _MARK / 2))
    return Rectangle(middle - width / 2, height - _LINE / 2, middle + width / 2, height + _LINE / 2)
