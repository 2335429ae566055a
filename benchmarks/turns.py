"""Clocks, and what is made of pairs of their readings. Nothing here knows what is measured."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

PAIRS = 7
"""Least number of pairs for a median and a range."""


@dataclass(frozen=True)
class Reading:
    """Seconds: of the processor, over all threads of the process, and of the clock on the wall."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> Reading:
        return cls(time.process_time(), time.perf_counter())

    def __sub__(self, other: Reading) -> Reading:
        return Reading(self.cpu - other.cpu, self.wall - other.wall)

    def plain(self) -> dict[str, float]:
        """As the JSON file has it."""
        return {"cpu": self.cpu, "wall": self.wall}


def spent(do: Callable[[], Any]) -> Reading:
    """What a call takes."""
    began = Reading.now()
    do()
    return Reading.now() - began


@contextlib.contextmanager
def epoch_ends() -> Iterator[list[Reading]]:
    """Readings at the end of each epoch of the fits made inside.

    Taken by the History that every fit has, not by a callback more: the tracer looks at what callbacks have changed, so
    that one would be measured, too.
    """
    import keras

    found: list[Reading] = []
    plain = keras.callbacks.History.on_epoch_end

    def on_epoch_end(self: Any, epoch: int, logs: Any = None) -> None:
        plain(self, epoch, logs)
        found.append(Reading.now())

    keras.callbacks.History.on_epoch_end = on_epoch_end
    try:
        yield found
    finally:
        keras.callbacks.History.on_epoch_end = plain


def in_turns(variants: Sequence[Any], number: int) -> list[Any]:
    """The order of round `number`: forwards, then backwards: a machine that grows slower weighs on all alike."""
    return list(variants) if number % 2 == 0 else list(variants)[::-1]


@dataclass(frozen=True)
class Spread:
    """Median and range of some measurements."""

    median: float
    low: float
    high: float
    number: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))

    def shown(self, digits: int = 2, scale: float = 1.0) -> str:
        """ "1.02 (1.00 to 1.04)", or the value alone where there is one."""
        median, low, high = (f"{x * scale:,.{digits}f}" for x in (self.median, self.low, self.high))
        return median if self.number == 1 else f"{median} ({low} to {high})"


def ratios(above: Sequence[dict[str, float]], below: Sequence[dict[str, float]], clock: str) -> Spread:
    """Of pairs, in their order."""
    return Spread.of([a[clock] / b[clock] for a, b in zip(above, below, strict=True)])


def differences(above: Sequence[dict[str, float]], below: Sequence[dict[str, float]], clock: str) -> Spread:
    """Of pairs, in their order."""
    return Spread.of([a[clock] - b[clock] for a, b in zip(above, below, strict=True)])
