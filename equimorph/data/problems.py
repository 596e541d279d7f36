"""What is wrong with the user's data, collected and told together; and what was put right on the way, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from equimorph.errors import DataError

_EXAMPLES = 3  # places named for one reason
_MOST_REASONS = 20  # lines of a message


class SampleError(DataError):
    """One sample that cannot be used; the message is the reason alone, and whoever reads knows which sample it is."""


class DataProblemsError(DataError):
    """All that is wrong with a data set, one line for each reason.

    Attributes:
        reasons: The places by reason.
    """

    def __init__(self, speaker: str, reasons: Mapping[str, list[str]], hint: str) -> None:
        self.reasons = {reason: list(places) for reason, places in reasons.items()}
        lines = [_line(reason, places) for reason, places in list(reasons.items())[:_MOST_REASONS]]
        if len(reasons) > _MOST_REASONS:
            lines.append(f"and {len(reasons) - _MOST_REASONS:,} other kinds of problems")
        total = sum(len(places) for places in reasons.values())
        count = "1 problem" if total == 1 else f"{total:,} problems"
        super().__init__("\n".join([f"{speaker}: {count}; {hint}", *(f"  {line}" for line in lines)]))


@dataclass
class Findings:
    """What was met while a data set was read.

    Attributes:
        problems: The places (files, rows) by the reason why they cannot be used.
        handled: How many samples were put right, by what was done.
        left_out: How many were left out, by the reason.
    Example:
        >>> findings = Findings()
        >>> findings.add("a.png", "the file is cut short")
        >>> findings.handled["turned as EXIF says"] += 2
        >>> findings.raise_if_any("data: photos")
        Traceback (most recent call last):
        ...
        equimorph.data.problems.DataProblemsError: data: photos: 1 problem; mend the files, or leave them out...
          the file is cut short: a.png
    """

    problems: dict[str, list[str]] = field(default_factory=dict)
    handled: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, place: str, reason: str) -> None:
        """A place that cannot be used."""
        self.problems.setdefault(reason, []).append(place)

    def merge(self, others: Iterable[Findings]) -> None:
        """Take over what others met."""
        for other in others:
            for reason, places in other.problems.items():
                self.problems.setdefault(reason, []).extend(places)
            self.handled.update(other.handled)
            self.left_out.update(other.left_out)

    def leave_out(self) -> None:
        """Count the problems among what is left out, and forget their places."""
        self.left_out.update({reason: len(places) for reason, places in self.problems.items()})
        self.problems.clear()

    def raise_if_any(
        self, speaker: str, hint: str = "mend the files, or leave them out with --bad-samples leave-out:"
    ) -> None:
        """Raise all problems together.

        Raises:
            DataProblemsError: There are some.
        """
        if self.problems:
            raise DataProblemsError(speaker, self.problems, hint)


def _line(reason: str, places: list[str]) -> str:
    named = ", ".join(places[:_EXAMPLES])
    if len(places) <= _EXAMPLES:
        return f"{reason}: {named}"
    return f"{reason}: {len(places):,} times, {named}, …"
