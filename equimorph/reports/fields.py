"""JSON that is read with the type of each field checked, and mistakes told with the file and line they stand in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equimorph.errors import RunFolderError


class Fields:
    """The fields of one JSON object, each taken with its type checked.

    Args:
        values: The object.
        where: The file, and the place in it, that are told when a field does not fit.
    Example:
        >>> line = Fields({"epoch": 3, "train_loss": None}, "history.jsonl, line 4")
        >>> line.real("epoch"), line.real_or_none("train_loss")
        (3.0, None)
        >>> line.text("event")
        Traceback (most recent call last):
        equimorph.errors.RunFolderError: report: history.jsonl, line 4: "event" must be a text, got nothing.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def text(self, key: str) -> str:
        """A text."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self._misfit(key, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        """A text; None for null, and where there is no such field."""
        return None if self.values.get(key) is None else self.text(key)

    def whole(self, key: str) -> int:
        """A whole number."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._misfit(key, "a whole number")
        return value

    def whole_or_none(self, key: str) -> int | None:
        """A whole number; None for null, and where there is no such field."""
        return None if self.values.get(key) is None else self.whole(key)

    def real(self, key: str) -> float:
        """A finite number."""
        value = self.real_or_none(key)
        if value is None:
            raise self._misfit(key, "a finite number")
        return value

    def real_or_none(self, key: str) -> float | None:
        """A number; None for null, where there is no such field, and for a number that is not finite."""
        value = self.values.get(key)
        if value is None:
            return None
        if not _is_number(value):
            raise self._misfit(key, "a number or null")
        return float(value) if math.isfinite(value) else None

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.values.get(key)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._misfit(key, "a list of texts")
        return tuple(values)

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self.values.get(key)
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise self._misfit(key, "a list of whole numbers")
        return tuple(values)

    def reals_or_none(self, key: str) -> tuple[float | None, ...]:
        """A list of numbers; None for each that is null or not finite."""
        values = self.values.get(key)
        if not isinstance(values, list) or not all(value is None or _is_number(value) for value in values):
            raise self._misfit(key, "a list of numbers or null")
        return tuple(float(value) if value is not None and math.isfinite(value) else None for value in values)

    def table(self, key: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of whole numbers."""
        rows = self.values.get(key)
        if not isinstance(rows, list) or not all(
            isinstance(row, list) and all(type(value) is int for value in row) for row in rows
        ):
            raise self._misfit(key, "a list of lists of whole numbers")
        return tuple(tuple(row) for row in rows)

    def counts(self, key: str) -> tuple[tuple[str, int], ...]:
        """How often each thing occurred, by its name and without those that did not; empty for null or no such field.

        Example:
            >>> Fields({"left_out": {"no label": 3, "unreadable": 0}}, "here").counts("left_out")
            (('no label', 3),)
        """
        if self.values.get(key) is None:
            return ()
        inner = self.inner(key)
        found = {name: inner.whole(name) for name in inner.values}
        for name, count in found.items():
            if count < 0:
                raise inner.mistake(f'"{name}" must not be negative, got {count}')
        return tuple((name, count) for name, count in found.items() if count)

    def inner(self, key: str) -> Fields:
        """The fields of an object within this one."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self._misfit(key, "an object")
        return Fields(value, f'{self.where}, "{key}"')

    def mistake(self, reason: str) -> RunFolderError:
        """The error that tells what is wrong here, to be raised."""
        return RunFolderError(f"report: {self.where}: {reason}.")

    def _misfit(self, key: str, needed: str) -> RunFolderError:
        came = json.dumps(self.values[key])[:80] if key in self.values else "nothing"
        return self.mistake(f'"{key}" must be {needed}, got {came}')


def read_lines(path: Path) -> Iterator[Fields]:
    """The objects of a file that has one on each line; none where there is no file.

    A last line that was cut short, as a killed run leaves it, is passed over.

    Raises:
        RunFolderError: The file cannot be read, or a line of it is no JSON object.
    """
    texts = read_text(path).split("\n")
    last = max((number for number, text in enumerate(texts) if text.strip()), default=0)
    for number, text in enumerate(texts):
        where = f"{path}, line {number + 1}"
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            if number == last:
                return
            raise RunFolderError(f"report: {where}: not JSON ({error.msg}).") from error
        if not isinstance(values, dict):
            raise RunFolderError(f"report: {where}: needed a JSON object, got {text[:80]}.")
        yield Fields(values, where)


def read_text(path: Path) -> str:
    """What a file holds; nothing where there is no file.

    Raises:
        RunFolderError: It cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"report: {path} cannot be read: {error}.") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
