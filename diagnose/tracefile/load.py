"""Reads and verifies all records of an open trace, and the index of its contents. Loads no contents."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from diagnose.tracefile import format as fmt
from diagnose.tracefile.about import Header, header, typed
from diagnose.tracefile.bounds import Budget
from diagnose.tracefile.chain import Chain, Value, decode_values, diagnosis_digest
from diagnose.tracefile.digest import split_digests
from diagnose.tracefile.events import detail
from diagnose.tracefile.format1 import with_layouts
from diagnose.tracefile.jsontext import from_json, json_cost
from diagnose.tracefile.model import (
    DTYPES,
    BatchRef,
    Digest,
    Epoch,
    Evaluation,
    Event,
    Json,
    Layout,
    Leaf,
    Signature,
    State,
    Step,
    itemsize,
)
from diagnose.tracefile.step_rows import ids_of, state_of, states_of, step_of, steps_of

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ArrayEntry:
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    blob: int | None


@dataclass(frozen=True, slots=True)
class RowBlock:
    first_row: int
    count: int
    signature: int
    digests: bytes
    kept: bool
    blob: int | None


@dataclass(frozen=True, slots=True)
class Records:
    """All of a trace but its contents and its diagnosis."""

    info: Mapping[str, Json]
    header: Header
    status: str | None
    signatures: tuple[Signature, ...]
    blocks: tuple[RowBlock, ...]
    rows: int
    states: tuple[State, ...]
    steps: tuple[Step, ...]
    batch_lists: Mapping[Digest, tuple[BatchRef, ...]]
    evaluations: tuple[Evaluation, ...]
    epochs: tuple[Epoch, ...]
    events: tuple[Event[Any], ...]
    arrays: Mapping[Digest, ArrayEntry]

    @property
    def empty(self) -> bool:
        """Whether the file was created and no more: it has no seal either."""
        found = (self.info, self.signatures, self.states, self.steps, self.evaluations, self.epochs, self.events)
        return self.status is None and not any(found)


def load_records(db: sqlite3.Connection, nbytes: int, version: int) -> Records:
    """Reads and verifies all records of a file in the format of a version. Raises ValueError naming what is wrong, or
    sqlite3.Error."""
    budget = Budget(nbytes)
    chained = fmt.of_version(fmt.CHAINED, version)
    tables = {table.name: _read(db, table, budget) for table in chained}
    arrays = _read(db, fmt.ARRAYS, budget)
    _verify_chain(chained, tables)
    if len(arrays) != tables["chain"][-1][2]:
        raise ValueError(f"its index of arrays has {len(arrays)} entries instead of {tables['chain'][-1][2]}")

    signatures = tuple(_signature(row) for row in tables["signatures"])
    blocks = _blocks(tables["row_blocks"], signatures)
    index = _arrays(arrays)
    widths = [signature.row_nbytes for signature in signatures]
    stored = sum(block.count * widths[block.signature] for block in blocks if block.kept)
    if stored + sum(entry.nbytes for entry in index.values()) > nbytes:
        raise ValueError("its contents are said to be larger than the file")

    build = _Builder(budget, version, len(signatures), blocks[-1].first_row + blocks[-1].count if blocks else 0)
    states = tuple(build.all_states(tables["states"]))
    info = {row[1]: from_json(row[2]) for row in tables["info"]}
    _verify_index(arrays, info.pop(fmt.INDEX_KEY, None))
    if not all(digest in index for state in states if state.kept for digest in state.arrays):
        raise ValueError("an array of a kept state is missing in its index of arrays")
    found = Records(
        info=info,
        header=header(info),
        status=_status(tables),
        signatures=signatures,
        blocks=blocks,
        rows=build.rows,
        states=states,
        steps=tuple(build.all_steps(tables["steps"])),
        batch_lists={row[1]: build.batch_list(row[2]) for row in tables["batch_lists"]},
        evaluations=tuple(build.evaluation(number, row) for number, row in enumerate(tables["evaluations"])),
        epochs=tuple(build.epoch(row) for row in tables["epochs"]),
        events=tuple(_event(row) for row in tables["events"]),
        arrays=index,
    )
    if version > 1:
        return found
    steps, lists = with_layouts(found.header, found.events, found.evaluations, found.steps, found.batch_lists)
    return replace(found, steps=steps, batch_lists=lists)


def load_diagnosis(db: sqlite3.Connection, nbytes: int) -> str:
    """The JSON text of the stored diagnosis ("null" if none), verified. Raises ValueError or sqlite3.Error."""
    rows = db.execute("SELECT id, created, json, digest FROM diagnosis LIMIT 2").fetchall()
    if len(rows) != 1:
        raise ValueError("its table for the diagnosis does not have one row")
    fmt.check_row(fmt.DIAGNOSIS, rows[0])
    if rows[0][0] != 1 or diagnosis_digest(rows[0][1], rows[0][2]) != rows[0][3]:
        raise ValueError("the diagnosis in it does not match its digest")
    Budget(nbytes).take(json_cost(rows[0][2]))
    return cast(str, rows[0][2])


def _read(db: sqlite3.Connection, table: fmt.Table, budget: Budget) -> list[Row]:
    rows: list[Row] = []
    last = -1
    texts = table.json
    for row in db.execute(f"SELECT {', '.join(table.names)} FROM {table.name}"):
        budget.take_row(row)
        fmt.check_row(table, row)
        for place in texts:
            budget.take(0 if row[place] is None else json_cost(row[place]))
        if row[0] <= last:
            raise ValueError(f"the rows of its table {table.name} are out of order")
        last = row[0]
        rows.append(row)
    return rows


def _verify_chain(chained: Sequence[fmt.Table], tables: Mapping[str, list[Row]]) -> None:
    chain = Chain()
    merged = sorted(((table, row) for table in chained for row in tables[table.name]), key=lambda item: item[1][0])
    if not merged or merged[-1][0] is not fmt.CHAIN:
        raise ValueError("its last record is not a digest of the others")
    verified = 0
    for position, (table, row) in enumerate(merged, start=1):
        if row[0] != position:
            raise ValueError(f"record {position} is missing")
        if table is fmt.CHAIN:
            if row[1] != chain.digest():
                raise ValueError(f"a record between {verified + 1} and {position} does not match the running digest")
            verified = position
        assert table.tag is not None
        chain.add(table.tag, row)


def _verify_index(rows: list[Row], expected: Json) -> None:
    """The index of arrays is not chained, but its digest is. Traces of older releases have none."""
    if expected is None:
        return
    index = Chain()
    for row in rows:
        index.add(fmt.INDEX_TAG, row)
    if index.digest().hex() != expected:
        raise ValueError("its index of arrays does not match its digest")


def _status(tables: Mapping[str, list[Row]]) -> str | None:
    if not tables["seal"]:
        return None
    if (
        len(tables["seal"]) > 1
        or tables["seal"][0][0] != tables["chain"][-1][0] - 1
        or tables["seal"][0][1] not in fmt.STATUSES
    ):
        raise ValueError("its seal is not a valid one")
    return cast(str, tables["seal"][0][1])


def _shape(value: Json) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > fmt.MAX_DIMS or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError("a shape in it is not a list of whole numbers")
    # NumPy multiplies the sizes of empty arrays too, so zeros do not make the others harmless.
    if prod(n for n in value if n) >= 2**58:
        raise ValueError("a shape in it is larger than any array")
    return tuple(value)


def _dtype(value: Json) -> str:
    if not isinstance(value, str) or value not in DTYPES:
        raise ValueError(f"dtype {value!r:.40} is not one a trace may hold")
    return value


def _mapping(text: str) -> dict[str, Json]:
    value = from_json(text)
    if not isinstance(value, dict):
        raise ValueError("a record that should be a JSON object is not one")
    return value


def _logs(text: str) -> dict[str, Json]:
    """Logged values, typed once for all who look at them: a number is a float64, finite or not (Keras compares a truth
    value as one too); what is another thing stays what it is."""
    return {name: float(v) if isinstance(v, (int, float)) else v for name, v in _mapping(text).items()}


def _event(row: Row) -> Event[Any]:
    seq, kind, epoch, step, text = row
    return Event(seq, kind, epoch, step, detail(kind, _mapping(text)))


def _signature(row: Row) -> Signature:
    leaves = from_json(row[2])
    if not isinstance(leaves, list) or not all(isinstance(leaf, list) and len(leaf) == 3 for leaf in leaves):
        raise ValueError("the leaves of a batch signature are not well formed")
    return Signature(from_json(row[1]), tuple(Leaf(_dtype(d), _shape(s), bool(whole)) for d, s, whole in leaves))


def _blocks(rows: list[Row], signatures: tuple[Signature, ...]) -> tuple[RowBlock, ...]:
    blocks = []
    total = 0
    for _, first, count, signature, digests, kept, blob in rows:
        if (
            first != total
            or count < 1
            or len(digests) != 16 * count
            or not 0 <= signature < len(signatures)
            or kept not in (0, 1)
        ):
            raise ValueError("a block of rows does not fit the blocks before it")
        total += count
        blocks.append(RowBlock(first, count, signature, digests, bool(kept), blob))
    return tuple(blocks)


def _arrays(rows: list[Row]) -> dict[Digest, ArrayEntry]:
    index = {}
    for _, digest, dtype, shape_text, nbytes, blob in rows:
        shape = _shape(from_json(shape_text))
        if prod(shape) * itemsize(_dtype(dtype)) != nbytes:
            raise ValueError(f"an array of shape {shape} and dtype {dtype} cannot have {nbytes} bytes")
        index[digest] = ArrayEntry(dtype, shape, nbytes, blob)
    return index


class _Builder:
    """Turns rows into the model's records, and holds their references against what exists."""

    def __init__(self, budget: Budget, version: int, signatures: int, rows: int) -> None:
        self.budget = budget
        self.version = version
        self.columns = fmt.BATCH if version > 1 else fmt.BATCH_1
        self.layouts: dict[str | None, Layout] = {None: Layout()}
        self.signatures = signatures
        self.rows = rows
        self.states = 0

    def all_states(self, rows: list[Row]) -> Iterator[State]:
        for row in rows:
            several = [state_of(self.states, row)] if self.version < 3 else states_of(self.states, row, self.budget)
            for state in several:
                yield state
                self.states += 1

    def all_steps(self, rows: list[Row]) -> Iterator[Step]:
        for row in rows:
            if self.version < 3:
                yield step_of(row, len(self.columns.columns), self.batch)
            else:
                yield from steps_of(row, self.budget, self.batch)

    def batch(
        self, signature: int | None, ids: npt.NDArray[np.int64], weight: Digest | None, whole: bytes,
        missing: str | None, layout: str | None = None,
    ) -> BatchRef:  # fmt: skip
        if signature is not None and not 0 <= signature < self.signatures:
            raise ValueError("a batch is not well formed")
        ids.flags.writeable = False
        if ids.size and not -1 <= ids.min() <= ids.max() < self.rows:
            raise ValueError("a batch names rows that do not exist")
        return BatchRef(signature, ids, weight, split_digests(whole), missing, self.layout(layout))

    def layout(self, text: str | None = None) -> Layout:
        if text not in self.layouts:
            self.layouts[text] = typed(from_json(text or ""), Layout, "in the layout of a batch")
        return self.layouts[text]

    def batch_list(self, encoded: bytes) -> tuple[BatchRef, ...]:
        values = decode_values(encoded, self.budget.values())
        width = len(self.columns.columns)
        self.budget.take(fmt.VALUE_COST * len(values) + fmt.BATCH_COST * (len(values) // width))
        if len(values) % width:
            raise ValueError("a list of batches is not well formed")
        batches = []
        for start in range(0, len(values), width):
            row: list[Value] = values[start : start + width]
            fmt.check_row(self.columns, (0, *row))
            if width == len(fmt.BATCH_COLUMNS) and isinstance(row[-1], str):
                self.budget.take(json_cost(row[-1]))
            number, ids, *rest = cast(Any, row)
            batches.append(self.batch(number, ids_of(ids), *rest))
        return tuple(batches)

    def evaluation(self, number: int, row: Row) -> Evaluation:
        _, epoch, after_step, state, batches, logs = row
        return Evaluation(number, epoch, after_step, self._state(state), batches, _logs(logs))

    def epoch(self, row: Row) -> Epoch:
        _, epoch, first, last, logs, state, rate_text, seconds = row
        rate = from_json(rate_text)
        if rate is not None and type(rate) not in (int, float):
            raise ValueError("a learning rate is not a number")
        if epoch < 1 or not 0 <= first <= last:
            raise ValueError(f"epoch {epoch} is not well formed")
        return Epoch(
            epoch,
            first,
            last,
            _logs(logs),
            self._state(state),
            None if rate is None else float(rate),
            float(seconds),
        )

    def _state(self, state: int) -> int:
        if not 0 <= state < self.states:
            raise ValueError(f"a record names state {state}, which does not exist")
        return state
