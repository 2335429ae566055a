"""Makes hostile traces out of an honest one: alters its records by a small grammar and makes all digests fit again.

Every alteration is one of `PRODUCTIONS`; what it puts in is taken from the trace itself (another record, another part
of the header) or from `values.py`.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnose.tracefile import format as fmt
from diagnose.tracefile.chain import Chain, diagnosis_digest
from diagnose.tracefile.digest import content_digest
from tools.attacks import values

TAGGED = {table.name: table for table in fmt.CHAINED}


@dataclass
class Tables:
    """All rows of a trace. `chained` has (table, columns without `seq`) in the order of `seq`."""

    base: bytes
    chained: list[tuple[str, list[Any]]]
    arrays: list[list[Any]]
    diagnosis: list[Any]
    honest: dict[str, list[list[Any]]]
    """The rows as they were."""
    sql: list[str] = field(default_factory=list)
    """Run on the database last, before its digests are made to fit."""

    def copy(self) -> Tables:
        chained = [(name, list(row)) for name, row in self.chained]
        return Tables(self.base, chained, [list(row) for row in self.arrays], list(self.diagnosis), self.honest)

    def of(self, table: str) -> list[int]:
        """Places in `chained` of the rows of a table."""
        return [i for i, (name, _) in enumerate(self.chained) if name == table]


def take_apart(path: Path) -> Tables:
    """The rows of an honest trace."""
    base = path.read_bytes()
    db = _memory(base)
    honest = {
        table.name: [list(row) for row in _select(db, table)] for table in (*fmt.CHAINED, fmt.ARRAYS, fmt.DIAGNOSIS)
    }
    db.close()
    rows = sorted((row[0], table.name, row[1:]) for table in fmt.CHAINED for row in honest[table.name])
    return Tables(base, [(name, row) for _, name, row in rows], honest["arrays"], honest["diagnosis"][0], honest)


def put_together(tables: Tables) -> bytes:
    """The file with these rows; running digest, digest of the diagnosis and number of arrays fit wherever the rows can
    be read back at all."""
    db = _memory(tables.base)
    db.execute("BEGIN")
    wanted: dict[str, list[list[Any]]] = {table.name: [] for table in fmt.CHAINED}
    for seq, (name, row) in enumerate(tables.chained, 1):
        wanted[name].append([seq, *row])
    wanted |= {"arrays": tables.arrays, "diagnosis": [tables.diagnosis]}
    for name, rows in wanted.items():
        if rows != tables.honest[name]:
            db.execute(f"DELETE FROM {name}")
            _insert(db, name, rows)
    for statement in tables.sql:
        with contextlib.suppress(sqlite3.Error):
            db.execute(statement)
    # Text that is no UTF-8 cannot be read back; then nothing has to fit, as a reader cannot read it either.
    with contextlib.suppress(sqlite3.OperationalError, UnicodeEncodeError):
        _make_digests_fit(db)
    db.execute("COMMIT")
    made = bytes(db.serialize())
    db.close()
    return made


def _make_digests_fit(db: sqlite3.Connection) -> None:
    count = db.execute("SELECT count(*) FROM arrays").fetchone()[0]
    db.execute("UPDATE chain SET arrays = ? WHERE seq = (SELECT max(seq) FROM chain)", (count,))
    _make_index_fit(db)
    rows = sorted(((row[0], table, row) for table in fmt.CHAINED for row in _select(db, table)), key=lambda r: r[0])
    chain = Chain()
    for seq, table, row in rows:
        if table is fmt.CHAIN:
            row = (seq, chain.digest(), *row[2:])
            db.execute("UPDATE chain SET digest = ? WHERE seq = ?", (row[1], seq))
        assert table.tag is not None
        chain.add(table.tag, row)
    for number, created, text, digest in _select(db, fmt.DIAGNOSIS):
        if digest != b"left as it is" and isinstance(created, str) and isinstance(text, str):
            db.execute("UPDATE diagnosis SET digest = ? WHERE id = ?", (diagnosis_digest(created, text), number))


def _make_index_fit(db: sqlite3.Connection) -> None:
    """The digest of the index of arrays: of all of them, in the last row that holds one."""
    index = Chain()
    for row in _select(db, fmt.ARRAYS):
        index.add(fmt.INDEX_TAG, row)
    db.execute(
        "UPDATE info SET value = ? WHERE seq = (SELECT max(seq) FROM info WHERE key = ?)",
        (json.dumps(index.digest().hex()), fmt.INDEX_KEY),
    )


def _memory(base: bytes) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(base)
    return db


def _select(db: sqlite3.Connection, table: fmt.Table) -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT {', '.join(table.names)} FROM {table.name}").fetchall()


def _insert(db: sqlite3.Connection, table: str, rows: list[list[Any]]) -> None:
    if not rows:
        return
    insert = f"INSERT OR REPLACE INTO {table} VALUES "
    plain = [[_bound(value) for value in row] for row in rows if not any(isinstance(v, values.RawText) for v in row)]
    db.executemany(f"{insert}({', '.join('?' * len(rows[0]))})", plain)
    for row in rows:
        if any(isinstance(value, values.RawText) for value in row):
            marks = ("CAST(? AS TEXT)" if isinstance(value, values.RawText) else "?" for value in row)
            db.execute(f"{insert}({', '.join(marks)})", [_bound(value) for value in row])


def _bound(value: Any) -> Any:
    """What SQLite can hold."""
    if type(value) is int:
        return max(-(2**63), min(2**63 - 1, value))
    if isinstance(value, values.RawText):
        return value.raw
    return value.encode("utf-8", "replace").decode() if type(value) is str and not value.isascii() else value


# ── productions: each alters `tables` in place ──


def header_part(tables: Tables, chance: random.Random) -> None:
    """Something inside a header row is another thing."""
    if places := tables.of("info"):
        row = tables.chained[chance.choice(places)][1]
        row[1] = values.alter_json(row[1], chance)


def header_row(tables: Tables, chance: random.Random) -> None:
    """A header row is missing, there twice, of another name, or exchanged with another."""
    places = tables.of("info")
    if not places:
        return
    place, other = chance.choice(places), chance.choice(places)
    row = tables.chained[place][1]
    kind = chance.randrange(5)
    if kind == 0:
        del tables.chained[place]
    elif kind == 1:
        tables.chained.insert(chance.randrange(1, len(tables.chained)), ("info", list(row)))
    elif kind == 2:
        row[0] = chance.choice([*values.TEXTS, tables.chained[other][1][0]])
    elif kind == 3:
        row[1] = tables.chained[other][1][1]
    else:
        row[1] = values.json_text(chance)


def event_part(tables: Tables, chance: random.Random) -> None:
    """An event's detail, kind, epoch or step is another."""
    if not tables.of("events"):
        return event_new(tables, chance)
    row = tables.chained[chance.choice(tables.of("events"))][1]
    kind = chance.randrange(4)
    if kind == 0:
        row[0] = chance.choice([*values.EVENTS, *values.TEXTS])
    elif kind == 1:
        row[chance.choice((1, 2))] = values.number(chance)
    else:
        row[3] = values.alter_json(row[3], chance)


def event_new(tables: Tables, chance: random.Random) -> None:
    """An event that was not there, well formed or nearly."""
    name = chance.choice(list(values.EVENTS))
    detail = json.dumps(values.EVENTS[name])
    for _ in range(chance.randrange(3)):
        detail = values.alter_json(detail, chance)
    row = [name, chance.choice((None, 1, 2, values.number(chance))), chance.choice((None, 0, 3)), detail]
    tables.chained.insert(chance.randrange(len(tables.chained)), ("events", row))


def column(tables: Tables, chance: random.Random) -> None:
    """One column of one record is another value, of the right type or not."""
    name = chance.choice([t for t in TAGGED if t not in ("chain",) and tables.of(t)])
    row = tables.chained[chance.choice(tables.of(name))][1]
    place = chance.randrange(len(row))
    kind = TAGGED[name].columns[place][1].rstrip("?")
    others = [tables.chained[i][1][place] for i in tables.of(name)]
    row[place] = values.of_kind(kind, row[place], others, chance)


def rows_moved(tables: Tables, chance: random.Random) -> None:
    """A record is missing, there twice, or elsewhere."""
    place = chance.randrange(len(tables.chained) - 1)
    name, row = tables.chained[place]
    kind = chance.randrange(4)
    if kind == 3:
        # All of one table.
        tables.chained = [item for item in tables.chained if item[0] != name or name == "chain"]
        return
    if kind != 1:
        del tables.chained[place]
    if kind != 0:
        tables.chained.insert(chance.randrange(len(tables.chained)), (name, list(row)))


def array_entry(tables: Tables, chance: random.Random) -> None:
    """An entry of the index of arrays says something else, or names other contents."""
    if not tables.arrays:
        return
    row, other = chance.choice(tables.arrays), chance.choice(tables.arrays)
    kind = chance.randrange(6)
    if kind == 0:
        row[2] = chance.choice([*values.DTYPES, *values.TEXTS])
    elif kind == 1:
        row[3] = values.json_text(chance) if chance.random() < 0.5 else values.shape(chance)
    elif kind == 2:
        row[4] = values.number(chance)
    elif kind == 3:
        row[5] = chance.choice((None, other[5], values.number(chance)))
    elif kind == 4:
        tables.arrays.remove(row)
    else:
        row[1] = chance.choice((other[1], chance.randbytes(16), b""))


def array_anew(tables: Tables, chance: random.Random) -> None:
    """An array has another type and shape, and its digest fits, wherever it is named."""
    if not tables.arrays:
        return
    row = chance.choice(tables.arrays)
    db = _memory(tables.base)
    data = db.execute("SELECT data FROM blobs WHERE blob = ?", (row[5],)).fetchone()
    db.close()
    raw = data[0] if data else b""
    dtype, size = chance.choice(list(values.DTYPES.items()))
    if len(raw) % size:
        return
    shape = chance.choice(
        ([len(raw) // size], [1, len(raw) // size, 1], [len(raw) // size] + [1] * chance.randrange(34))
    )
    digest = content_digest(dtype, tuple(shape), (raw,))
    old, row[1:4] = row[1], [digest, dtype, json.dumps(shape)]
    for _, columns in tables.chained:
        for place, value in enumerate(columns):
            if isinstance(value, bytes) and len(value) % 16 == 0 and old in value:
                columns[place] = value.replace(old, digest)


def diagnosis_part(tables: Tables, chance: random.Random) -> None:
    """The stored diagnosis says something else, or is none."""
    kind = chance.randrange(12)
    if kind == 0:
        tables.diagnosis[2] = values.json_text(chance)
    elif kind == 1:
        tables.diagnosis[1] = chance.choice(values.TEXTS)
    elif kind == 2:
        tables.diagnosis[3] = b"left as it is"
    elif kind == 3:
        tables.diagnosis[2] = "null"
    else:
        tables.diagnosis[2] = values.alter_json(tables.diagnosis[2], chance)


def hostile_names(tables: Tables, chance: random.Random) -> None:
    """One name is another, hostile one, everywhere: header, logs, events, diagnosis."""
    strings = values.strings_in([row[1] for name, row in tables.chained if name == "info"] + [tables.diagnosis[2]])
    if not strings:
        return
    old, new = json.dumps(chance.choice(strings)), json.dumps(chance.choice(values.TEXTS))
    for _, row in tables.chained:
        for place, value in enumerate(row):
            if isinstance(value, str) and old in value:
                row[place] = value.replace(old, new)
    tables.diagnosis[2] = tables.diagnosis[2].replace(old, new)


def container(tables: Tables, chance: random.Random) -> None:
    """The database has something more, something less, or says it is another."""
    tables.sql.append(chance.choice(values.STATEMENTS))


PRODUCTIONS: dict[Callable[[Tables, random.Random], None], int] = {
    header_part: 10, header_row: 3, event_part: 5, event_new: 4, column: 8, rows_moved: 3, array_entry: 3,
    array_anew: 2, diagnosis_part: 6, hostile_names: 3, container: 1,
}  # fmt: skip
"""Each with how often it is taken."""


ACCEPTED: dict[Callable[[Tables, random.Random], None], int] = {
    header_part: 10, header_row: 3, event_part: 5, event_new: 4, column: 2, diagnosis_part: 5, hostile_names: 3,
}  # fmt: skip
"""Those that a reader of the records alone has little reason to refuse: what comes after it meets them."""


def forge(
    honest: Tables,
    chance: random.Random,
    productions: Mapping[Callable[[Tables, random.Random], None], int] = PRODUCTIONS,
) -> tuple[bytes, str]:
    """A forged trace, and the names of what was done to it."""
    tables = honest.copy()
    if tables.diagnosis[2] != "null" and chance.random() < 0.5:
        tables.diagnosis[2] = "null"  # else every verb goes by what is stored, and the records are never looked at
    chosen = chance.choices(list(productions), list(productions.values()), k=chance.choice((1, 1, 1, 2, 2, 3, 5)))
    for production in chosen:
        production(tables, chance)
    return put_together(tables), ", ".join(production.__name__ for production in chosen)
