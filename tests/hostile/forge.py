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


Record = tuple[str, list[Any]]
"""A chained row: its table and its columns but for `seq`."""


def records(path: Path) -> list[Record]:
    """All chained rows, in order."""
    db = sqlite3.connect(path)
    rows = [(row[0], table, list(row[1:])) for table in CHAINED for row in db.execute(f"SELECT * FROM {table}")]
    db.close()
    return [(table, columns) for _, table, columns in sorted(rows, key=lambda row: row[0])]


def rewrite(path: Path, found: list[Record], diagnosis: str | None = None) -> None:
    """Puts these rows in place of all chained ones, numbered anew, with digests that fit; and a diagnosis (JSON)."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    db.execute("BEGIN")
    for table in CHAINED:
        db.execute(f"DELETE FROM {table}")
    for seq, (table, columns) in enumerate(found, 1):
        db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * (len(columns) + 1))})", (seq, *columns))
    if diagnosis is not None:
        digest = xxhash.xxh3_128(encoded("now") + encoded(diagnosis)).digest()
        db.execute("UPDATE diagnosis SET created = 'now', json = ?, digest = ?", (diagnosis, digest))
    make_chain_fit(db)
    db.execute("COMMIT")
    db.close()


def add(path: Path, table: str, rows: list[list[Any]], before: str = "seal") -> None:
    """Adds chained rows, before the first row of the table `before`."""
    found = records(path)
    at = next(i for i, (name, _) in enumerate(found) if name == before)
    rewrite(path, found[:at] + [(table, row) for row in rows] + found[at:])


def make_chain_fit(db: sqlite3.Connection) -> None:
    """Computes the running digest as `docs/trace-format.md` says, and writes it into every `chain` row."""
    hasher = xxhash.xxh3_128(b"diagnose trace 1\n")
    make_index_fit(db)
    rows = [(row[0], tag, row) for tag, table in enumerate(CHAINED, 1) for row in db.execute(f"SELECT * FROM {table}")]
    for seq, tag, row in sorted(rows, key=lambda item: item[0]):
        columns = row
        if CHAINED[tag - 1] == "chain":
            columns = (seq, hasher.digest(), row[2])
            db.execute("UPDATE chain SET digest = ? WHERE seq = ?", (hasher.digest(), seq))
        hasher.update(bytes([tag, len(columns)]))
        for value in columns:
            hasher.update(encoded(value))


def make_index_fit(db: sqlite3.Connection) -> None:
    """Makes the digest of the index of arrays fit, where a commit noted one: each time, of the arrays there were."""
    noted = [seq for (seq,) in db.execute("SELECT seq FROM info WHERE key = 'array_index' ORDER BY seq")]
    for seq in noted:
        found = db.execute("SELECT arrays FROM chain WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)).fetchone()
        count = found[0] if found is not None and isinstance(found[0], int) else -1
        hasher = xxhash.xxh3_128(b"diagnose trace 1\n")
        for row in db.execute("SELECT * FROM arrays ORDER BY array LIMIT ?", (count,)):
            hasher.update(bytes([12, len(row)]) + b"".join(map(encoded, row)))
        db.execute("UPDATE info SET value = ? WHERE seq = ?", (f'"{hasher.hexdigest()}"', seq))


def encoded(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i" + struct.pack("<q", value)
    if isinstance(value, float):
        return b"r" + struct.pack("<d", value)
    data = value.encode() if isinstance(value, str) else value
    return (b"t" if isinstance(value, str) else b"b") + struct.pack("<Q", len(data)) + data
