"""The trace file format: identity, versions, tables, limits. In prose: `docs/trace-format.md`. Opens nothing.

A trace is one SQLite database. Rows of *chained* tables carry a `seq` that grows by one over all of them; a running
digest over these rows (see `diagnose.tracefile.chain`) makes damage to any of them known. Contents are not chained:
each is checked against its own digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

VERSION: Final = 3
"""`PRAGMA user_version`. A reader refuses newer versions and reads all older ones.

History:
    1  first version
    2  what belongs to a batch is stored with it (`layout`); `framework` and `sources` in the header
    3  a row of `steps` and of `states` holds up to `BLOCK_STEPS` of them
"""

APPLICATION_ID: Final = 0x64694167
"""`PRAGMA application_id`: "diAg" in ASCII."""

PAGE_BYTES: Final = 65536
SMALL_PAGE_BYTES: Final = 4096
"""For a trace that may not take much: its tables, empty, take 60 KiB in place of 960."""
PAGE_SIZES: Final = (PAGE_BYTES, SMALL_PAGE_BYTES)

PART_BYTES: Final = 256 * 2**20
"""Contents longer than this are split over several rows of `blobs`."""

MOST_KNOWN_ROWS: Final = 2_000_000
"""So many rows are known again by content, at about 150 bytes of the recorder's memory each. Later ones get a new id
each time, which looks like new data."""

MOST_KNOWN_ARRAYS: Final = 1 << 14
"""So many contents are known again by digest, those used last, at some 150 bytes each; older ones are stored again."""

MAX_JSON_BYTES: Final = 64 * 2**20
MAX_TEXT_CHARS: Final = 65536
MAX_DIMS: Final = 32
MAX_BATCH_BYTES: Final = 2**30
"""A batch built from rows may be as large as this or as the file, whichever is larger: a batch may use one row many
times."""
MAX_JSON_DEPTH: Final = 80
"""A little more than `jsontext.MAX_DEPTH`, to which a writer nests."""
FREE_BYTES: Final = 48 * 2**20
BYTES_PER_BYTE: Final = 10
"""The records of a file of n bytes may take as much memory as FREE_BYTES + 10 n, by an estimate from above."""

BATCH_COST: Final = 400
"""Bytes of memory that a batch takes, with its row ids."""
VALUE_COST: Final = 60
"""Bytes of memory that a value of a row takes, apart from its length."""

BLOCK_STEPS: Final = 64
"""Steps, or states, that a row holds at most."""

BLOCK_COST: Final = 480
"""Bytes of memory that each of them takes, with its batch."""

FREE_STEPS: Final = 200_000
"""So many of them any file may have: one with a single row that nobody looked at has 13 bytes in the file. Of twice as
many, a report would take more than 10 seconds and 500 MB."""

WAITING_BYTES: Final = 4 * 2**20
"""A block that is being filled is written once it holds as much."""

MOST_STEPS: Final = 2**62
"""No number of a step or a version is as large."""

AS_AFTER: Final = 1
"""Of a step in a block: its metrics were before it what they were after the step before it."""
BEFORE: Final = 2
"""They were something else, which stands in `metrics`."""
AFTER: Final = 4
"""What they were after it stands in `metrics`."""
GENERATOR: Final = 8
"""The generator's state before it stands in `generators`."""
MOST_MARK: Final = AS_AFTER | BEFORE | AFTER | GENERATOR

Kind = Literal[
    "int", "int?", "real", "text", "text?", "json", "json?", "blob", "blob?", "digest", "digest?", "digests", "digests?"
]
_SQL_TYPE = {
    "int": "INTEGER",
    "real": "",
    "text": "TEXT",
    "json": "TEXT",
    "blob": "BLOB",
    "digest": "BLOB",
    "digests": "BLOB",
}


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its first column is the integer primary key, `columns` are the others with their kinds. `tag` marks
    its rows in
    the running digest; tables without one are not chained."""

    name: str
    key: str
    columns: tuple[tuple[str, Kind], ...]
    tag: int | None = None

    @property
    def ddl(self) -> str:
        """The exact text SQLite keeps for this table; a reader accepts no other."""
        # A "real" column has no SQL type: with affinity REAL, SQLite stores whole numbers as integers.
        columns = [f"{name} {_SQL_TYPE[kind.rstrip('?')]}".rstrip() for name, kind in self.columns]
        return f"CREATE TABLE {self.name} ({', '.join([f'{self.key} INTEGER PRIMARY KEY', *columns])})"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.key, *(name for name, _ in self.columns))

    @property
    def json(self) -> tuple[int, ...]:
        """Places of the columns that hold JSON."""
        return tuple(place for place, (_, kind) in enumerate(self.columns, 1) if kind.startswith("json"))


INFO: Final = Table("info", "seq", (("key", "text"), ("value", "json")), 1)
SIGNATURES: Final = Table("signatures", "seq", (("structure", "json"), ("leaves", "json")), 2)
ROW_BLOCKS: Final = Table(
    "row_blocks", "seq",
    (("first_row", "int"), ("count", "int"), ("signature", "int"), ("digests", "digests"), ("kept", "int"),
     ("blob", "int?")), 3,
)  # fmt: skip
STATES: Final = Table(
    "states", "seq",
    (("version", "int?"), ("count", "int"), ("label", "text"), ("groups", "digests"), ("optimizer", "digest?"),
     ("arrays", "digests"), ("optimizer_arrays", "digests?"), ("kept", "blob")), 4,
)  # fmt: skip
STATES_2: Final = Table(
    "states", "seq",
    (("version", "int?"), ("label", "text"), ("trainable", "digest"), ("non_trainable", "digest"), ("seeds", "digest"),
     ("optimizer", "digest?"), ("arrays", "digests"), ("optimizer_arrays", "digests?"), ("kept", "int")), 4,
)  # fmt: skip
BATCH_COLUMNS: Final[tuple[tuple[str, Kind], ...]] = (
    ("signature", "int?"), ("row_ids", "blob"), ("sample_weight", "digest?"), ("whole", "digests"),
    ("missing", "text?"), ("layout", "json?"),
)  # fmt: skip
BATCH: Final = Table("batch", "number", BATCH_COLUMNS)
"""No table of the file: the columns of one batch inside `batch_lists.batches`."""
BATCH_1: Final = Table("batch", "number", BATCH_COLUMNS[:-1])
STEPS: Final = Table(
    "steps", "seq",
    (("step", "int"), ("epoch", "int"), ("batch_index", "int"), ("count", "int"), ("signature", "int?"),
     ("row_ids", "blob"), ("rows", "int"), ("sample_weights", "digests"), ("whole", "digests"), ("missing", "text?"),
     ("layout", "json?"), ("marks", "blob"), ("metrics", "blob"), ("generators", "digests"), ("seconds", "blob")), 5,
)  # fmt: skip
STEPS_2: Final = Table(
    "steps", "seq",
    (("step", "int"), ("epoch", "int"), ("batch_index", "int"), ("computed_at", "int"), ("produced", "int"),
     *BATCH_COLUMNS, ("metrics_before", "blob?"), ("metrics_after", "blob?"), ("generator", "digest?"),
     ("seconds", "real")), 5,
)  # fmt: skip
STEPS_1: Final = Table("steps", "seq", tuple(column for column in STEPS_2.columns if column[0] != "layout"), 5)
BATCH_LISTS: Final = Table("batch_lists", "seq", (("digest", "digest"), ("batches", "blob")), 6)
EVALUATIONS: Final = Table(
    "evaluations", "seq",
    (("epoch", "int"), ("after_step", "int"), ("state", "int"), ("batches", "digest?"), ("logs", "json")), 7,
)  # fmt: skip
EPOCHS: Final = Table(
    "epochs", "seq",
    (("epoch", "int"), ("first_version", "int"), ("last_version", "int"), ("logs", "json"), ("state", "int"),
     ("learning_rate", "json"), ("seconds", "real")), 8,
)  # fmt: skip
EVENTS: Final = Table("events", "seq", (("kind", "text"), ("epoch", "int?"), ("step", "int?"), ("detail", "json")), 9)
SEAL: Final = Table("seal", "seq", (("status", "text"),), 10)
CHAIN: Final = Table("chain", "seq", (("digest", "digest"), ("arrays", "int")), 11)

ARRAYS: Final = Table(
    "arrays", "array", (("digest", "digest"), ("dtype", "text"), ("shape", "json"), ("nbytes", "int"), ("blob", "int?"))
)
BLOBS: Final = Table("blobs", "blob", (("data", "blob"),))
DIAGNOSIS: Final = Table("diagnosis", "id", (("created", "text"), ("json", "json"), ("digest", "digest")))

CHAINED: Final = (INFO, SIGNATURES, ROW_BLOCKS, STATES, STEPS, BATCH_LISTS, EVALUATIONS, EPOCHS, EVENTS, SEAL, CHAIN)
TABLES: Final = (*CHAINED, ARRAYS, BLOBS, DIAGNOSIS)


def of_version(tables: tuple[Table, ...], version: int) -> tuple[Table, ...]:
    """The same tables as a format of that version has them."""
    if version > 2:
        return tables
    older = {STEPS: STEPS_2 if version > 1 else STEPS_1, STATES: STATES_2}
    return tuple(older.get(table, table) for table in tables)


INDEX_KEY: Final = "array_index"
"""The row of `info` that holds the digest of the index of arrays, which is not chained itself; hexadecimal."""
INDEX_TAG: Final = 12
"""Marks a row of `arrays` in that digest."""

STATUSES: Final = ("complete", "failed", "interrupted")
"""What a seal may say. A file without a seal was interrupted too."""


def check_row(table: Table, row: tuple[object, ...]) -> None:
    """Holds one row against its table's kinds. Raises ValueError naming the column; writer and reader share it, so
    what is written can be read."""
    if type(row[0]) is not int or row[0] < 0:
        raise ValueError(f"{table.name}.{table.key} is not a whole number from 0 up")
    for (name, kind), value in zip(table.columns, row[1:], strict=True):
        if value is None:
            valid = kind.endswith("?")
        elif kind in ("digest", "digest?"):
            valid = type(value) is bytes and len(value) == 16
        elif kind in ("int", "int?"):
            valid = type(value) is int and -(2**63) <= value < 2**63
        elif kind == "real":
            valid = type(value) is float or value == "nan"
        elif kind in ("digests", "digests?"):
            valid = type(value) is bytes and len(value) % 16 == 0
        elif kind in ("blob", "blob?"):
            valid = type(value) is bytes and len(value) <= PART_BYTES
        else:
            valid = type(value) is str and len(value) <= (MAX_JSON_BYTES if kind.startswith("json") else MAX_TEXT_CHARS)
        if not valid:
            raise ValueError(f"{table.name}.{name} of row {row[0]} is not a valid {kind.rstrip('?')}")
