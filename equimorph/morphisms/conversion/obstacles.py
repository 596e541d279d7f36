"""What cannot be converted, in words: layers that no known feature reaches, and the message that lists all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from torch import nn

from equimorph.errors import MorphismError
from equimorph.tracing import Flow, Problem
from equimorph.tracing.flow import CONVOLUTIONS, TRANSPOSED

_MOST = 8  # problems that a message spells out


def not_reached(model: nn.Module, flow: Flow, free: Sequence[str]) -> Iterator[Problem]:
    """Layers that the run on the example passed by."""
    called = {call.path for call in flow.recording.calls if call.module is not None}
    for path, module in model.named_modules():
        if not isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)) or path in called:
            continue
        if any(_is_inside(path, one) for one in (*free, *called, *_paths(flow.problems))):
            continue
        if next(module.parameters(), None) is not None:
            yield Problem(path, "the run on the example does not reach it", "remove it, or pass an example that does")


def refusal(model: nn.Module, problems: Sequence[Problem]) -> MorphismError:
    """The error that names what cannot be converted, and what to leave free so that the rest can be."""
    listed = list(dict.fromkeys(str(problem) for problem in problems))
    more = [f"and {len(listed) - _MOST} more like these"] if len(listed) > _MOST else []
    modules = dict(model.named_modules())
    free = [path for path in _paths(problems) if path and path in modules]
    paths = ", ".join(f'"{path}"' for path in free)
    remedy = f" Or leave them as they are, and lose the symmetry there: free=[{paths}]." if free else ""
    remedy += " Or keep the whole model, and average it over the group: em.average_over_group."
    count = f"{len(listed)} parts" if len(listed) > 1 else "a part"
    return MorphismError(
        f"equivariantize: {count} of {type(model).__name__} cannot be converted: "
        + "; ".join([*listed[:_MOST], *more])
        + f".{remedy}"
    )


def in_words(stopped: Exception) -> str:
    """What stopped a run, and where, in one line."""
    return " ".join(" ".join([str(stopped), *getattr(stopped, "__notes__", ())]).split())


def _paths(problems: Sequence[Problem]) -> Collection[str]:
    return dict.fromkeys(problem.module for problem in problems)


def _is_inside(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}.")
