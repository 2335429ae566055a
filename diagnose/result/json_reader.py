"""Typed values out of one JSON object that others may have written. Names what is wrong and where; guesses nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from diagnose.errors import DiagnoseError

_T = TypeVar("_T")

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How numbers that JSON lacks are spelled, as strings."""
_LARGEST_COUNT = 2**53  # counts and versions beyond this are no run's, and would overflow where they are drawn

_MISSING: Any = object()


class JsonReader:
    """Reads typed values out of one JSON object and names the place when a value is wrong."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise DiagnoseError(
                f"This diagnosis cannot be read: {where} is not a JSON object. Analyse the trace again."
            )
        self._value = value
        self._where = where

    def wrong(self, key: str, expected: str) -> DiagnoseError:
        return DiagnoseError(
            f"This diagnosis cannot be read: {key!r} of {self._where} is not {expected}. Analyse the trace again."
        )

    def get(self, key: str, default: Any = _MISSING) -> Any:
        value = self._value.get(key, default)
        if value is _MISSING:
            raise DiagnoseError(
                f"This diagnosis cannot be read: {self._where} has no {key!r}. Analyse the trace again."
            )
        return value

    def count(self, key: str) -> int:
        return self._whole(key, 0, "a count")

    def signed(self, key: str) -> int:
        return self._whole(key, -_LARGEST_COUNT, "a whole number")

    def _whole(self, key: str, least: int, expected: str) -> int:
        return self._checked(key, self.get(key), least, expected)

    def _checked(self, key: str, value: Any, least: int, expected: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST_COUNT:
            raise self.wrong(key, expected)
        return value

    def text(self, key: str, default: Any = _MISSING) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> Any:
        value = self.text(key)
        if value not in choices:
            raise self.wrong(key, "one of " + ", ".join(choices))
        return value

    def flag(self, key: str, default: Any = _MISSING) -> bool:
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def number(self, key: str) -> float:
        return self._number(key, self.get(key))

    def _number(self, key: str, value: Any) -> float:
        if isinstance(value, str) and value in NON_FINITE:
            return NON_FINITE[value]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, "a number")
        try:
            return float(value)
        except OverflowError:
            raise self.wrong(key, "a number that float64 can hold") from None

    def optional(self, key: str, read: Callable[[str], _T]) -> _T | None:
        return None if self.get(key, None) is None else read(key)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.get(key, {})
        if not isinstance(value, Mapping):
            raise self.wrong(key, "a JSON object")
        return dict(value)

    def numbers(self, key: str) -> dict[str, float]:
        return {name: self._number(f"{key}.{name}", item) for name, item in self.mapping(key).items()}

    def items(self, key: str, default: Any = _MISSING) -> list[Any]:
        value = self.get(key, default)
        if not isinstance(value, (list, tuple)):
            raise self.wrong(key, "a list")
        return list(value)

    def counts(self, key: str, default: Any = _MISSING) -> tuple[int, ...]:
        return tuple(self._checked(key, item, 0, "a count") for item in self.items(key, default))

    def texts(self, key: str, default: Any = _MISSING) -> tuple[str, ...]:
        found = self.items(key, default)
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(key, "a list of texts")
        return tuple(found)

    def many(self, key: str, read: Callable[[JsonReader], _T]) -> tuple[_T, ...]:
        return tuple(
            read(JsonReader(item, f"{key}[{index}] of {self._where}")) for index, item in enumerate(self.items(key))
        )

    def one(self, key: str, read: Callable[[JsonReader], _T]) -> _T | None:
        value = self.get(key)
        return None if value is None else read(JsonReader(value, f"{key} of {self._where}"))
