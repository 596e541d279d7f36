"""What an error of another library says, in one short line."""

from __future__ import annotations

_MOST_CHARACTERS = 160


def shortly(error: Exception, otherwise: str) -> str:
    """The first line of an error's text, cut where it is long, or another text where it has none.

    Example:
        >>> shortly(ValueError("no such thing\\nas this"), "nothing"), shortly(ValueError(), "nothing")
        ('no such thing', 'nothing')
    """
    lines = str(error).strip().splitlines() or [otherwise]
    return lines[0] if len(lines[0]) <= _MOST_CHARACTERS else f"{lines[0][:_MOST_CHARACTERS]}…"
