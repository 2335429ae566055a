"""The file under a TraceWriter: chained rows and contents, transactions, failures. Knows tables, not their meaning."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from diagnose.errors import TraceWriteError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.chain import Chain, Value, encode_values
from diagnose.tracefile.create import create, released
from diagnose.tracefile.journal import journal_path
from diagnose.tracefile.jsontext import to_json


def _insert(table: str, width: int) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * width)})"


_SMALL_BYTES: Final = 1 << 16
_MOST_WAITING: Final = 256
"""Rows that may wait for one insert, each of at most `_SMALL_BYTES` of content."""
_JOURNAL_PAGES: Final = 64
"""Most pages of the file that one transaction writes again, and so most that its journal holds: rows are only added at
the ends of tables, and no table is more than four pages deep."""


_INT: Final = struct.Struct("<cq").pack
_ARRAY: Final = struct.Struct("<BBcqcQ").pack


@functools.lru_cache(maxsize=4096)
def _described(dtype: str, shape: str, nbytes: int) -> bytes:
    """These columns of a row of the index, encoded. Raises ValueError where one of them is not valid."""
    fmt.check_row(fmt.ARRAYS, (1, bytes(16), dtype, shape, nbytes, None))
    return encode_values((dtype, shape, nbytes))


@dataclass(slots=True)
class _Progress:
    """What was written so far. Kept a second time as of the last commit, so that a failed write can be taken back."""

    seq: int = 0
    arrays: int = 0
    indexed: int = 0
    """Arrays that the digest of the index covers which was written last."""
    blobs: int = 0
    chain: Chain = field(default_factory=Chain)
    index: Chain = field(default_factory=Chain)

    def snapshot(self) -> _Progress:
        return replace(self, chain=self.chain.copy(), index=self.index.copy())


class TraceStore:
    """Creates the file and inserts into it. After a failed write only inserts that say `after_failure` work; see
    `TraceWriter`."""

    def __init__(self, path: Path, part_bytes: int, page_bytes: int, version: int = fmt.VERSION) -> None:
        self.path = path
        self.part_bytes = part_bytes
        self.page_bytes = page_bytes
        self.bytes_written = 0
        self.beats = 0
        """Grows with everything that is done: another thread sees by it whether the disk still takes what it gets."""
        self.syncing = False
        self._now = _Progress()
        self._committed = self._now
        self._failure: str | None = None
        self._sealed = False
        self._pages: int | None = None
        """Of the file, unless something was written since."""
        self._waiting: dict[str, list[tuple[Any, ...]]] = {}
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._journal = journal_path(path)
        self._fd: int | None
        self._db: sqlite3.Connection | None
        self._real = path.resolve()
        self._db, self._fd = create(path, page_bytes, journal_bytes(page_bytes), version)
        try:
            self._commit_chain()
        except BaseException:
            self._release()
            raise

    @property
    def failed(self) -> bool:
        """Whether it takes no rows any more: a write failed, or it is closed."""
        return self._db is None or self._failure is not None

    def insert(self, table: fmt.Table, *values: Value, after_failure: bool = False) -> None:
        """Adds a row to a chained table. Raises ValueError, before anything changes, if the row is not valid."""
        self.ready(after_failure=after_failure)
        row = (self._now.seq + 1, *values)
        fmt.check_row(table, row)
        assert table.tag is not None
        nbytes = self._now.chain.add(table.tag, row)
        self.bytes_written += nbytes
        self._now.seq += 1
        self._insert(table.name, row, nbytes)

    def insert_array(self, digest: bytes, dtype: str, shape: str, data: npt.NDArray[np.uint8]) -> None:
        """Adds an array: its content, flat, and its entry in the index."""
        self.ready()
        if type(digest) is not bytes or len(digest) != 16:
            raise ValueError("arrays.digest is not a valid digest")
        middle = _described(dtype, shape, data.size)
        number = self._now.arrays + 1
        blob = self.insert_content(data)
        self._insert("arrays", (number, digest, dtype, shape, data.size, blob), 64 + len(shape))
        # As `Chain.add` takes in the row: most rows of a long recording are these.
        last = b"n" if blob is None else _INT(b"i", blob)
        self._now.index.add_encoded(_ARRAY(fmt.INDEX_TAG, 6, b"i", number, b"b", 16) + digest + middle + last)
        self._now.arrays = number

    def insert_content(self, data: npt.NDArray[np.uint8]) -> int | None:
        """Adds flat bytes as consecutive parts. Returns the number of the first part; None if there are no bytes."""
        self.ready()
        first = self._now.blobs + 1 if data.size else None
        for start in range(0, data.size, self.part_bytes):
            self._now.blobs += 1
            part = data[start : start + self.part_bytes]
            if part.size <= _SMALL_BYTES:
                self._insert("blobs", (self._now.blobs, part.tobytes()), part.size)
            else:
                self._execute(_insert("blobs", 2), (self._now.blobs, part.data))
        self.bytes_written += data.size
        return first

    def _insert(self, table: str, row: tuple[Any, ...], nbytes: int) -> None:
        """Keeps a row for the next flush: many rows in one call cost a fraction of a call each."""
        self._waiting.setdefault(table, []).append(row)
        self._waiting_rows += 1
        self._waiting_bytes += 32 + nbytes
        if self._waiting_rows >= _MOST_WAITING:
            self._flush()

    def nbytes(self, *, exact: bool = False) -> int:
        """Bytes of the file once it holds all that was given, without its journal: at most so many, or `exact`."""
        self.ready(after_failure=True)
        if exact:
            self._flush()
        assert self._db is not None
        if self._pages is None:
            try:
                self._pages = int(self._db.execute("PRAGMA page_count").fetchone()[0])
            except (sqlite3.Error, OSError, MemoryError) as error:
                self._fail(error)
        waiting = 2 * self._waiting_bytes + self.page_bytes * len(self._waiting)
        return self._pages * self.page_bytes + waiting

    def _flush(self) -> None:
        assert self._db is not None
        self._pages = None
        waiting, self._waiting, self._waiting_rows, self._waiting_bytes = self._waiting, {}, 0, 0
        try:
            for table, rows in waiting.items():
                self._db.executemany(_insert(table, len(rows[0])), rows)
                self.beats += 1
        except (sqlite3.Error, OSError, MemoryError) as error:
            self._fail(error)

    def commit(self, *, sync: bool) -> None:
        """Ends the transaction and begins the next."""
        self.ready(after_failure=True)
        if (self._now.seq, self._now.arrays, self._now.blobs) != (
            self._committed.seq,
            self._committed.arrays,
            self._committed.blobs,
        ):
            self._commit_chain()
        if sync:
            self._sync()

    def commit_here(self) -> None:
        """Ends the transaction with a digest of all rows, even if there are none since the last: in a copy, rows keep
        their numbers."""
        self.ready()
        self._commit_chain()

    def seal(self, status: str) -> None:
        """Commits, syncs, adds the seal and closes."""
        self.commit(sync=True)
        self._end_transaction()
        # The one write SQLite itself orders and syncs: after power loss the seal is there with everything before it,
        # or not at all.
        self._execute("PRAGMA synchronous = FULL")
        self._execute("BEGIN IMMEDIATE")
        self.insert(fmt.SEAL, status, after_failure=True)
        self._commit_chain()
        self._sealed = True
        self.close()

    def close(self) -> None:
        """Commits what is left and closes; a second call does nothing."""
        if self._db is None:
            return
        try:
            if not self._sealed:
                self.commit(sync=False)
            self._end_transaction()
            # A file that is not being written any more stands alone, without a journal beside it.
            self._execute("PRAGMA journal_mode = DELETE")
            self._sync()
        finally:
            self._release()

    def _release(self) -> None:
        db, fd = self._db, self._fd
        self._db = self._fd = None
        if db is not None:
            db.close()
        if fd is not None:
            # Closed last: on POSIX, closing any descriptor of a file drops the locks the process holds on it.
            os.close(fd)
            released(self._real)

    def insert_index(self) -> None:
        """Puts the digest of the index of arrays into the chain. A commit does so itself where arrays were added."""
        self.insert(fmt.INFO, fmt.INDEX_KEY, to_json(self._now.index.digest().hex()), after_failure=True)
        self._now.indexed = self._now.arrays

    def _commit_chain(self) -> None:
        if self._now.arrays != self._now.indexed:
            self.insert_index()
        self.insert(fmt.CHAIN, self._now.chain.digest(), self._now.arrays, after_failure=True)
        self._flush()
        self._execute("COMMIT")
        self._committed = self._now.snapshot()
        # Held between commits, this lock tells other processes that the file is being written; readers are not kept
        # out.
        self._execute("BEGIN IMMEDIATE")

    def _end_transaction(self) -> None:
        if self._db is not None and self._db.in_transaction:
            self._flush()
            self._execute("COMMIT")

    def _sync(self) -> None:
        self.syncing = True
        try:
            if self._fd is not None:
                os.fsync(self._fd)
            for path in (self._journal, self._journal.parent):
                # The emptied journal has to reach the disk too, or power loss could bring an old one back.
                if os.name == "posix" and path.exists():
                    _sync_path(path)
        except OSError as error:
            self._fail(error)
        finally:
            self.syncing = False
            self.beats += 1

    def ready(self, *, after_failure: bool = False) -> None:
        """Raises TraceWriteError where it takes no rows any more."""
        if self._db is None or (self._sealed and not after_failure):
            raise TraceWriteError(f"{self.path} is closed: nothing more can be recorded in it.")
        if self._failure is not None and not after_failure:
            raise TraceWriteError(self._failure)

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        assert self._db is not None
        self._pages = None
        try:
            self._db.execute(sql, values)
            self.beats += 1
        except (sqlite3.Error, OSError, MemoryError) as error:
            self._fail(error)

    def take_back(self, reason: str) -> None:
        """Takes back all since the last commit, whatever state a writer that died left it in. Then it is as after a
        failed write."""
        if self._db is not None:
            with contextlib.suppress(TraceWriteError):
                self._fail(RuntimeError(reason))

    def _fail(self, error: BaseException) -> NoReturn:
        """Takes back the open transaction, so that file and counters agree again, and raises."""
        self._pages = None
        self._failure = f"{self.path} cannot be written ({error}). What was recorded until the last commit is in it."
        assert self._db is not None
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error:
            pass  # The next write fails with its own message.
        self._now = self._committed.snapshot()
        self._waiting, self._waiting_rows, self._waiting_bytes = {}, 0, 0
        raise TraceWriteError(self._failure) from error


def journal_bytes(page_bytes: int) -> int:
    """Most bytes that the journal takes beside a file of these pages."""
    return _JOURNAL_PAGES * (page_bytes + 8) + 1024


def content_bytes(nbytes: int, page_bytes: int) -> int:
    """Most bytes that a content takes in the file: one that fills most of a page leaves the rest of it empty."""
    return 2 * nbytes + 256 if nbytes < page_bytes else nbytes + nbytes // 512 + 2 * page_bytes


def _sync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
