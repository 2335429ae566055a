"""Changes traces behind the package's back, with `sqlite3` alone, and makes their running digest fit again."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import Any

import xxhash

CHAINED = (
    "info", "signatures", "row_blocks", "states", "steps", "batch_lists", "evaluations", "epochs", "events", "seal",
    "chain",
)  # fmt: skip


def change(path: Path, *statements: str, values: tuple[Any, ...] = (), rechain: bool = False) -> None:
    """Runs SQL on a trace; `values` go to the last statement. With `rechain` the running digest is made to fit."""
    db = sqlite3.connect(path, isolation_level=None)
    for number, statement in enumerate(statements):
        db.execute(statement, values if number == len(statements) - 1 else ())
    if rechain:
        make_chain_fit(db)
    db.close()


def make_chain_fit(db: sqlite3.Connection) -> None:
    """Computes the running digest as `docs/trace-format.md` says, and writes it into every `chain` row."""
    hasher = xxhash.xxh3_128(b"diagnose trace 1\n")
    rows = [(row[0], tag, row) for tag, table in enumerate(CHAINED, 1) for row in db.execute(f"SELECT * FROM {table}")]
    for seq, tag, row in sorted(rows, key=lambda item: item[0]):
        columns = row
        if CHAINED[tag - 1] == "chain":
            columns = (seq, hasher.digest(), row[2])
            db.execute("UPDATE chain SET digest = ? WHERE seq = ?", (hasher.digest(), seq))
        hasher.update(bytes([tag, len(columns)]))
        for value in columns:
            hasher.update(encoded(value))


def encoded(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i" + struct.pack("<q", value)
    if isinstance(value, float):
        return b"r" + struct.pack("<d", value)
    data = value.encode() if isinstance(value, str) else value
    return (b"t" if isinstance(value, str) else b"b") + struct.pack("<Q", len(data)) + data
