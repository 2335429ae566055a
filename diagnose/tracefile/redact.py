"""Writes a trace anew without training rows and without paths, for others to have. The source is only read."""

from __future__ import annotations

import contextlib
import heapq
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from diagnose.errors import TraceWriteError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.chain import Value, decode_values, encode_values
from diagnose.tracefile.create import refuse_link
from diagnose.tracefile.digest import array_bytes, dtype_name
from diagnose.tracefile.jsontext import from_json, to_json
from diagnose.tracefile.model import Digest
from diagnose.tracefile.reader import Trace, read_trace, store_diagnosis
from diagnose.tracefile.scrub import Scrubber
from diagnose.tracefile.store import TraceStore

NOTE = "redacted"
"""Key of the `info` row that says what was left out."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was left out: training rows whose contents were there, and other arrays of batches (sample weights, batches
    in one piece)."""

    rows: int
    arrays: int


def redact(source: Path, target: Path, *, force: bool = False) -> Redacted:
    """Writes `target`, a sealed trace with the records of `source`: digests in the place of rows, sample weights and
    whole batches, file names in the place of paths, no tracebacks, of the environment only versions. A stored diagnosis
    is taken over, likewise without paths.

    Raises:
        TraceError: the source cannot be read as a trace.
        TraceWriteError: the target cannot be written, is the source, or is there already (unless `force`).
    """
    refuse_link(target)
    with read_trace(source) as trace:
        if target.exists() and (target.samefile(source) or not force):
            same = target.samefile(source)
            raise _taken(target, "is the trace itself" if same else "is there already; --force replaces it")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".diagnose-", dir=target.parent))
        except OSError as error:
            raise TraceWriteError(f"{target} cannot be created: {error.strerror or error}.") from error
        try:
            part = folder / target.name
            copier = _Copier(trace, TraceStore(part, fmt.PART_BYTES, fmt.PAGE_BYTES, trace.format))
            found = copier.copy()
            diagnosis = trace.diagnosis()
            if diagnosis is not None:
                store_diagnosis(part, copier.scrubber.diagnosis(diagnosis, target.name))
            _move(part, target, force=force)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _taken(target: Path, why: str) -> TraceWriteError:
    return TraceWriteError(f"{target} {why}. Name another file with --out.")


def _move(part: Path, target: Path, *, force: bool) -> None:
    """Puts the finished file in its place in one move."""
    try:
        if not force:
            try:
                os.link(part, target)  # fails where somebody has made a file of this name meanwhile
                return
            except FileExistsError:
                raise _taken(target, "is there already; --force replaces it") from None
            except OSError:
                pass  # a file system without hard links
        os.replace(part, target)
    except OSError as error:
        raise TraceWriteError(f"{target} cannot be created: {error.strerror or error}.") from error


class _Copier:
    """Copies records in their order: numbers that one has of another, and `seq`, stay what they are."""

    def __init__(self, trace: Trace, store: TraceStore) -> None:
        self._trace = trace
        self._store = store
        self._lists: dict[Digest, Digest] = {}
        logs = [*(e.logs for e in trace.epochs), *(e.logs for e in trace.evaluations)]
        self.scrubber = Scrubber({name for record in logs for key in record for name in (key, f"val_{key}")})

    def copy(self) -> Redacted:
        """Copies all and seals."""
        try:
            arrays: int | None = None
            rows = 0
            merged = heapq.merge(
                *(self._tagged(table) for table in fmt.of_version(fmt.CHAINED, self._trace.format)),
                key=lambda item: int(item[1][0]),
            )
            for table, (seq, *values) in merged:
                if table is fmt.CHAIN:
                    if seq > 1:  # the first is there from the start
                        self._store.commit_here()
                elif table is fmt.INFO and values[0] == fmt.INDEX_KEY:
                    arrays = self._arrays() if arrays is None else arrays
                    self._store.insert_index()  # of the arrays that were copied
                elif table is not fmt.SEAL:
                    rows += values[1] * values[4] if table is fmt.ROW_BLOCKS else 0
                    self._store.insert(table, *self._row(table, values))
            arrays = self._arrays() if arrays is None else arrays
            self._store.insert(fmt.INFO, NOTE, to_json({"rows": True, "paths": True}))
            self._store.seal(self._trace.status)
        except BaseException:
            with contextlib.suppress(TraceWriteError):
                self._store.close()
            raise
        return Redacted(rows, arrays)

    def _tagged(self, table: fmt.Table) -> Iterator[tuple[fmt.Table, tuple[Any, ...]]]:
        return ((table, row) for row in self._trace.raw(table))

    def _arrays(self) -> int:
        """Copies what belongs to the model: variables, the optimizer's, generators. Returns how many arrays are left
        out."""
        states = self._trace.states
        kept = {digest for state in states if state.kept for digest in state.arrays}
        kept |= {digest for state in states for digest in state.optimizer_arrays or ()}
        kept |= {step.generator for step in self._trace.steps if step.generator is not None}
        left = 0
        for _, digest, _, shape, _, _ in self._trace.raw(fmt.ARRAYS):
            if digest not in kept:
                left += 1
                continue
            array = self._trace.array(digest)
            self._store.insert_array(digest, dtype_name(array.dtype), shape, array_bytes(array))
        return left

    def _row(self, table: fmt.Table, values: list[Any]) -> list[Value]:
        scrub = self.scrubber
        if table is fmt.INFO:
            return [values[0], to_json(scrub.info(values[0], from_json(values[1])))]
        if table is fmt.EVENTS:
            detail = from_json(values[3])
            assert isinstance(detail, dict)
            return [*values[:3], to_json(scrub.event(values[0], detail))]
        if table is fmt.ROW_BLOCKS:
            return [*values[:4], 0, None]
        if table.name == "steps":
            return [*values[:9], scrub.text(values[9]), *values[10:]]
        if table is fmt.BATCH_LISTS:
            return self._batches(values[0], values[1])
        if table is fmt.EVALUATIONS:
            batches, logs = values[3], scrub.text(from_json(values[4]))
            return [*values[:3], self._lists.get(batches, batches), to_json(logs)]
        if table is fmt.EPOCHS:
            return [*values[:3], to_json(scrub.text(from_json(values[3]))), *values[4:]]
        return values

    def _batches(self, digest: Digest, encoded: bytes) -> list[Value]:
        """A list of batches; where a text in it changes, so does the digest by which passes name it."""
        values = [scrubbed if (scrubbed := self.scrubber.text(value)) is not value else value
                  for value in decode_values(encoded)]  # fmt: skip
        again = encode_values(values)
        self._lists[digest] = xxhash.xxh3_128_digest(again)
        return [self._lists[digest], again]
