"""How much traces may hold. Counts only; what is left out beyond a limit is the encoder's decision."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Self


class SharedBytes:
    """A limit for several traces together, counted as they grow. Safe to use from several threads."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.used = 0
        self._lock = threading.Lock()

    def add(self, nbytes: int) -> None:
        with self._lock:
            self.used += nbytes

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a copy of a tracer keeps within the same limit

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedBytes, (self.nbytes,)  # another process counts for itself


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be kept. `parameters`: models with more keep weights at epoch ends only. `nbytes`: beyond it, weights
    are kept at epoch ends only and new rows by digest only; `shared`: so too beyond this limit of several traces."""

    parameters: int = 1_000_000
    nbytes: int = 1 << 30
    shared: SharedBytes | None = None


class Meter:
    """Holds one trace's size against its budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._seen = 0

    def spent(self, written: int) -> str:
        """Which limit is reached now that the trace holds `written` bytes, as a clause; empty where none is."""
        shared = self._budget.shared
        if shared is not None:
            shared.add(written - self._seen)
            self._seen = written
            if shared.used > shared.nbytes:
                return f"the {size(shared.nbytes)} for all fits of this run were used up"
        if written > self._budget.nbytes:
            return f"the trace reached {self._budget.nbytes} bytes"
        return ""


def size(nbytes: int) -> str:
    """In binary units where it is a round number of them, else in bytes."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if nbytes >= 1 << power and nbytes % (1 << power) == 0:
            return f"{nbytes >> power} {unit}"
    return f"{nbytes} bytes"
