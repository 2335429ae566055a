"""How much work and memory a trace may cost, by its size: no honest file needs more. Reads nothing itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final

from diagnose.tracefile import format as fmt

_SCHEMA_BYTES: Final = 4096
"""Longer than any value in the schema of a trace. The schema is read before anything of it can be checked."""

_CALL_STEPS: Final = 1000
_FREE_STEPS: Final = 200_000
_STEPS_PER_BYTE: Final = 2
"""SQLite takes about one step for each column of a row, and no row has more columns than bytes in the file."""


class Budget:
    """What reading one file may cost in memory, estimated from above in bytes. A damaged or forged file can lead to
    one row again and again, or hold very many tiny things, each of which is large as a Python object."""

    def __init__(self, nbytes: int) -> None:
        self._left = fmt.FREE_BYTES + fmt.BYTES_PER_BYTE * nbytes
        self._payload = nbytes
        self._steps = 0

    def take(self, cost: int) -> None:
        """Raises ValueError where it is more than is left."""
        self._left -= cost
        if self._left < 0:
            raise ValueError("it holds more small things than a trace of its size can")

    def take_row(self, row: tuple[object, ...]) -> None:
        """Takes one row of a table. Raises ValueError where the rows before it and this one cannot be in the file."""
        self._payload -= sum(len(value) for value in row if isinstance(value, (bytes, str)))
        if self._payload < 0:
            raise ValueError("its tables hold more than the file can")
        self.take(fmt.BATCH_COST + fmt.VALUE_COST * len(row))

    def take_block(self, count: int) -> None:
        """Takes so many steps or states of one row. Where there are more of them than any file may have, all count."""
        before, self._steps = self._steps, self._steps + count
        if self._steps > fmt.FREE_STEPS:
            self.take(fmt.BLOCK_COST * (count if before > fmt.FREE_STEPS else self._steps))

    def values(self) -> int:
        """How many values there may still be."""
        return self._left // fmt.VALUE_COST


def bounded(db: sqlite3.Connection, nbytes: int) -> None:
    """Bounds the statements of a connection that was just opened: their steps, and the length of values while the
    schema is read. Statements that go beyond raise sqlite3.Error."""
    left = (_FREE_STEPS + _STEPS_PER_BYTE * nbytes) // _CALL_STEPS

    def count() -> int:
        nonlocal left
        left -= 1
        return int(left < 0)

    _handle(db, count)
    db.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _SCHEMA_BYTES)


def value_bytes(db: sqlite3.Connection, nbytes: int) -> None:
    """From here on values may be as long as the file: none in an honest one is longer."""
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(max(nbytes, 1_000_000), 1_000_000_000))


def unbounded(db: sqlite3.Connection) -> None:
    """Ends the count of steps: what is read from here on is single rows by their number."""
    _handle(db, None)


def _handle(db: sqlite3.Connection, handler: Callable[[], int] | None) -> None:
    db.set_progress_handler(handler, _CALL_STEPS)
