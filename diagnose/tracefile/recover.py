"""Opens a trace file for reading and never changes it: a finished one in place, any other from a private copy."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from diagnose.errors import TraceError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.bounds import bounded, value_bytes
from diagnose.tracefile.journal import has_journal, journal_hint, journal_path, names_other_files

_MAGIC = b"SQLite format 3\0"
_BUSY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection inside a read transaction, the private folder it reads from (None: the user's own file), and the
    bytes of the file read, with those of its journal. Its statements are bounded until `bounds.unbounded`."""

    db: sqlite3.Connection
    folder: Path | None
    nbytes: int


def open_file(path: Path) -> Opened:
    """Opens a trace for reading. Raises TraceError if it is no trace, and sqlite3.Error or OSError if it cannot be
    read."""
    unfinished = check_head(path)
    if unfinished and has_journal(path):
        return _recovered(path)
    nbytes = path.stat().st_size
    db = _connect(path, "ro", nbytes)
    try:
        _begin(db)
    except sqlite3.Error as error:
        db.close()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_BUSY:
            raise TraceError(f"{path} is being written right now; try again when the recording has ended.") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN) and has_journal(path):
            return _recovered(path)
        raise
    try:
        check_schema(db)
        value_bytes(db, nbytes)
        # Not counted: SQLite counts in one go, which nothing can stop, and a page tree may lead to one page for ever.
        if db.execute("SELECT 1 FROM seal LIMIT 1").fetchone() is not None:
            return Opened(db, None, nbytes)
        # A writer waits for readers, so an unfinished file is read from a copy. The read transaction keeps the copy
        # consistent.
        return _copied(db)
    except BaseException:
        db.close()
        raise


def check_head(path: Path) -> bool:
    """Raises TraceError unless the file starts like a trace this version can read, and is as long as it says. Returns
    whether it is one whose first transaction did not end, as far as the head tells: then the journal decides."""
    if not path.exists():
        raise TraceError(f"There is no trace file {path}.")
    if not path.is_file():
        raise TraceError(f"{path} is not a trace: it is not a file.")
    try:
        with path.open("rb") as file:
            head = file.read(100)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head:
        raise nothing_yet(path)
    if not head.startswith(_MAGIC[: len(head)]):
        raise TraceError(f"{path} is not a trace file.")
    if len(head) < 100 and has_journal(path):
        return True
    if len(head) < 100:
        raise TraceError(f"{path} is truncated: it ends within its header.")
    if head[68:72] != fmt.APPLICATION_ID.to_bytes(4, "big"):
        raise TraceError(
            f"{path} is not a trace: it is an SQLite database of another application, or its header is damaged."
        )
    version = int.from_bytes(head[60:64], "big")
    if version > fmt.VERSION:
        raise TraceError(
            f"{path} has trace format {version}; this release reads up to {fmt.VERSION}. Please upgrade keras-diagnose."
        )
    if head[28:32] == b"\0\0\0\1" and size == fmt.PAGE_BYTES:
        raise nothing_yet(path)  # one page has no room for the tables: earlier releases wrote it before these
    # Page size 65536 is spelled 1; 1, 1: rollback journal, not WAL; the last one: UTF-8.
    page = int.from_bytes(head[16:18], "big")
    page = fmt.PAGE_BYTES if page == 1 else page
    if version < 1 or page not in fmt.PAGE_SIZES or head[18:20] != b"\1\1" or head[56:60] != b"\0\0\0\1":
        raise TraceError(f"{path} is altered or damaged: its header is not that of a trace.")
    pages = int.from_bytes(head[28:32], "big")
    if head[24:28] == head[92:96] and size < pages * page and not has_journal(path):
        raise TraceError(f"{path} is truncated: {size} of {pages * page} bytes are left.{journal_hint(path)}")
    return False


def nothing_yet(path: Path) -> TraceError:
    """For a trace whose recording ended, or stands, before its first record."""
    return TraceError(f"{path} is empty: nothing was recorded yet, or the file was cut off.")


def check_schema(db: sqlite3.Connection) -> None:
    """Raises ValueError unless the database has exactly the tables of a trace and nothing else."""
    tables = fmt.of_version(fmt.TABLES, format_version(db))
    limit = len(tables) + 1
    found = db.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid LIMIT ?", (limit,)
    ).fetchall()
    if found != [("table", table.name, table.name, table.ddl) for table in tables]:
        known = {table.ddl for table in tables}
        strange = next((f"{kind} {name!r:.60}" for kind, name, _, sql in found if sql not in known), "a missing table")
        raise ValueError(f"its tables are not those of a trace ({strange})")


def format_version(db: sqlite3.Connection) -> int:
    """The version of the format that an open trace says it is in."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def discard(db: sqlite3.Connection, folder: Path | None) -> None:
    """Closes what `open_file` opened and deletes the private copy."""
    db.close()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def owning(opened: Opened, folder: Path) -> Opened:
    """What was opened from a private folder, which goes when it is discarded."""
    if opened.folder is None:
        return replace(opened, folder=folder)
    shutil.rmtree(folder, ignore_errors=True)  # it is read from a copy of its own
    return opened


def _recovered(path: Path) -> Opened:
    folder = Path(tempfile.mkdtemp(prefix="diagnose-"))
    try:
        copy = folder / "trace.diag"
        shutil.copyfile(path, copy)
        shutil.copyfile(journal_path(path), journal_path(copy))
        if names_other_files(copy):
            raise TraceError(f"{journal_path(path)} is not a journal of a trace: it names other files.")
        # What the journal says the file's length was before may be anything: it bounds nothing.
        return _private(copy, folder, copy.stat().st_size + journal_path(copy).stat().st_size, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _copied(db: sqlite3.Connection) -> Opened:
    folder = Path(tempfile.mkdtemp(prefix="diagnose-"))
    try:
        copy = folder / "trace.diag"
        target = sqlite3.connect(copy)
        try:
            db.backup(target)
        finally:
            target.close()
        db.close()
        return _private(copy, folder, copy.stat().st_size, copy)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _private(copy: Path, folder: Path, nbytes: int, shown: Path) -> Opened:
    db = _connect(copy, "rw", nbytes)
    try:
        _begin(db)  # rolls back what the journal holds
        db.execute("COMMIT")
        if not copy.stat().st_size:
            raise nothing_yet(shown)
        check_head(copy)
        _begin(db)
        check_schema(db)
        value_bytes(db, nbytes)
    except BaseException:
        db.close()
        raise
    return Opened(db, folder, min(nbytes, copy.stat().st_size))


def _connect(path: Path, mode: str, nbytes: int) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    bounded(db, nbytes)
    return db


def _begin(db: sqlite3.Connection) -> None:
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("BEGIN")
    db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # takes the lock
