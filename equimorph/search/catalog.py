"""Strategies by the names that the command uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from equimorph.errors import ConfigurationError
from equimorph.search._base import Strategy
from equimorph.search.evolutionary import Evolutionary
from equimorph.search.static import Static

FORMS = ("evolutionary", "static:H", "chain:H1,H2,…")


def strategy_named(text: str, *, groups: Sequence[str] | None = None, **options: Any) -> Strategy:
    """The strategy of that name.

    Args:
        text: "evolutionary", "static:C4", or "chain:D4,D4,C4".
        groups: [G], for the strategies that search.
        options: What else `Evolutionary` takes.
    Raises:
        ConfigurationError: There is no such strategy.
    Example:
        >>> strategy_named("static:D4").name
        'static:D4'
    """
    kind, _, rest = text.partition(":")
    if kind == "evolutionary" and not rest:
        return Evolutionary(groups=groups, **options)
    if kind == "static" and rest:
        return Static(rest)
    if kind == "chain" and rest:
        return Static([name.strip() for name in rest.split(",")])
    raise ConfigurationError(f'search: no strategy "{text}"; there are {", ".join(FORMS)}.')
