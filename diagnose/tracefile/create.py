"""Creates an empty trace file with the settings that recording needs. Writes no records."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from diagnose.errors import TraceWriteError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.chain import diagnosis_digest
from diagnose.tracefile.journal import is_being_written, journal_path, names_other_files

BUSY_SECONDS = 60.0
"""How long a commit waits for a reader that is copying the file."""


_HERE: set[Path] = set()
"""Files that this process is writing: closing any other descriptor of one drops SQLite's locks on it."""


def is_written_here(path: Path) -> bool:
    """Whether this process is writing the file: a recording, or one that was given up and may yet go on."""
    return path.resolve() in _HERE


def released(path: Path) -> None:
    """To be called when a connection that `create` made for `path` is closed."""
    _HERE.discard(path)


def create(path: Path, page_bytes: int, journal_bytes: int, version: int) -> tuple[sqlite3.Connection, int]:
    """Makes an empty trace at `path`, in place of an older one, and missing folders. The journal is cut to
    `journal_bytes` after each transaction.

    Returns a connection inside an open transaction, usable from any one thread at a time, and a file descriptor for
    syncing. Whoever closes them calls `released`.
    Raises TraceWriteError.
    """
    try:
        real = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_link(path)
        if is_written_here(path):
            raise TraceWriteError(f"{path} is being written by another recording. Choose another name.")
        if path.exists():
            _clear(path)
        # A journal left by an older file of this name would be rolled back into the new one.
        journal_path(path).unlink(missing_ok=True)
        # Nobody else's to read: a trace holds the user's data. SQLite gives the journal the same mode.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    except OSError as error:
        raise TraceWriteError(f"{path} cannot be created: {error.strerror or error}.") from error
    db = None
    try:
        db = sqlite3.connect(real, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
        for pragma in (
            f"page_size = {page_bytes}", "auto_vacuum = NONE", "encoding = 'UTF-8'",
            "trusted_schema = OFF", "secure_delete = OFF", "journal_mode = PERSIST",
            f"journal_size_limit = {journal_bytes}", "synchronous = OFF",
            "cache_size = -32768", "temp_store = MEMORY",
        ):  # fmt: skip
            db.execute(f"PRAGMA {pragma}")
        # One transaction from here to the first commit: a file whose recording was killed before is empty, or is once
        # its journal is rolled back.
        db.execute("BEGIN IMMEDIATE")
        db.execute(f"PRAGMA application_id = {fmt.APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        for table in fmt.of_version(fmt.TABLES, version):
            db.execute(table.ddl)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        db.execute("INSERT INTO diagnosis VALUES (1, ?, 'null', ?)", (created, diagnosis_digest(created, "null")))
        _HERE.add(real)
    except BaseException as error:
        if db is not None:
            db.close()
        os.close(fd)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        if isinstance(error, (sqlite3.Error, OSError, MemoryError)):
            raise TraceWriteError(f"{path} cannot be created: {error}.") from error
        raise
    return db, fd


def refuse_link(path: Path) -> None:
    """Raises TraceWriteError for a symbolic link: in its place, or beside the file it leads to, nothing is removed or
    made. Links among the folders above are followed."""
    if path.is_symlink():
        raise TraceWriteError(f"{path} is a link; name the file it leads to, or another one.")


def _clear(path: Path) -> None:
    """Removes an older trace. Raises TraceWriteError if the file is something else or is being written."""
    if not path.is_file():
        raise TraceWriteError(f"{path} cannot be created: it exists and is not a file.")
    with path.open("rb") as file:
        head = file.read(100)
    if head and not (head.startswith(b"SQLite format 3\0") and head[68:72] == fmt.APPLICATION_ID.to_bytes(4, "big")):
        raise TraceWriteError(f"{path} exists and is not a trace; it is left as it is. Choose another name.")
    if names_other_files(path):
        raise TraceWriteError(f"{journal_path(path)} is not a journal of a trace; remove it or choose another name.")
    if is_being_written(path):
        raise TraceWriteError(f"{path} is being written by another recording. Choose another name.")
    path.unlink()
