"""Strategies by the names that the command uses."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from equimorph.errors import ConfigurationError
from equimorph.search._base import Strategy
from equimorph.search.augmented import Augmented
from equimorph.search.differentiable import Differentiable
from equimorph.search.evolutionary import Evolutionary
from equimorph.search.from_group import FromGroup
from equimorph.search.growth import Growth
from equimorph.search.narrow import Narrow
from equimorph.search.random_selection import RandomSelection
from equimorph.search.random_static import RandomStatic
from equimorph.search.random_steps import RandomSteps
from equimorph.search.residual import ResidualPathwayPriors
from equimorph.search.retrain import Retrain
from equimorph.search.static import Static

FORMS = (
    "evolutionary",
    "differentiable",
    "growth",
    "static:H",
    "chain:H1,H2,…",
    "from-G:H",
    "augmented",
    "narrow",
    "random-static",
    "random-selection",
    "random-steps",
    "rpp",
    "retrain:RUN",
)

_Options = Mapping[str, Any]


def strategy_named(
    text: str,
    *,
    groups: Sequence[str] | None = None,
    evolutionary: _Options | None = None,
    differentiable: _Options | None = None,
) -> Strategy:
    """The strategy of that name.

    Args:
        text: One of `FORMS`. A search may be followed by options of its own, joined by plus signs, which come before
            those given for all: "differentiable:tied=true+start=uniform".
        groups: [G], for the strategies that search or draw among subgroups.
        evolutionary: What else `Evolutionary` takes.
        differentiable: What else `Differentiable` takes.
    Raises:
        ConfigurationError: There is no such strategy, or it does not take such an option.
    Example:
        >>> strategy_named("static:D4").name
        'static:D4'
        >>> strategy_named("differentiable:tied=true+start=uniform").tied
        True
    """
    kind, _, rest = text.partition(":")
    match kind:
        case "evolutionary":
            return Evolutionary(groups=groups, **_merged(text, rest, Evolutionary, evolutionary))
        case "random-selection":
            return RandomSelection(groups=groups, **_merged(text, rest, Evolutionary, evolutionary))
        case "differentiable":
            return Differentiable(groups=groups, **_merged(text, rest, Differentiable, differentiable))
        case "random-steps":
            return RandomSteps(groups=groups, **_merged(text, rest, Differentiable, differentiable))
        case "growth":
            return Growth(groups=groups, **_merged(text, rest, Growth, None))
        case "random-static" if not rest:
            return RandomStatic(groups=groups)
        case "static" if rest:
            return Static(rest)
        case "chain" if rest:
            return Static([name.strip() for name in rest.split(",")])
        case "from-G" if rest:
            return FromGroup(rest)
        case "augmented":
            return Augmented(rest or None)
        case "narrow":
            return Narrow(rest or None)
        case "rpp":
            return ResidualPathwayPriors(rest or "residual")
        case "retrain" if rest:
            return Retrain(rest)
    raise ConfigurationError(f'search: no strategy "{text}"; there are {", ".join(FORMS)}.')


def split_names(text: str) -> list[str]:
    """The names in a list with commas between, where the commas of a chain belong to it.

    Example:
        >>> split_names("evolutionary, chain:D4,D4,C4, static:C1")
        ['evolutionary', 'chain:D4,D4,C4', 'static:C1']
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        kind = part.partition(":")[0]
        continues_chain = bool(names) and names[-1].startswith("chain:") and kind not in _kinds()
        if continues_chain:
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    return names


def _kinds() -> set[str]:
    return {form.partition(":")[0] for form in FORMS}


def _merged(text: str, rest: str, kind: type[Strategy], given: _Options | None) -> dict[str, Any]:
    """The options given for all, and those in the name itself."""
    options = dict(given or {})
    types = get_type_hints(kind.__init__)
    known = [name for name in inspect.signature(kind).parameters if name not in ("groups", "choose", "shuffle")]
    for part in filter(None, rest.split("+")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        key = key.replace("-", "_")
        if not equals or key not in known:
            raise ConfigurationError(
                f'search: "{part}" in "{text}" is no option of that strategy; write name=value, the names are '
                f"{', '.join(known)}."
            )
        try:
            options[key] = _value(value, types[key])
        except ValueError as error:
            raise ConfigurationError(f'search: {key} in "{text}" is "{value}"; it must be {error}.') from None
    return options


def _value(text: str, wanted: Any) -> Any:
    """A value of an option's type, from its text.

    Raises:
        ValueError: The text is something else; says what is wanted.
    """
    kinds = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    if NoneType in kinds and text.lower() in ("none", "null"):
        return None
    if bool in kinds:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    for kind, words in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise ValueError(words) from None
    return text  # a choice, which the strategy checks itself
