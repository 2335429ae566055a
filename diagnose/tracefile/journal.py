"""What can be told about a trace's rollback journal, and who is writing, without changing either file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

_SUPER_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")


def journal_path(path: Path) -> Path:
    """Where SQLite keeps the rollback journal of a database: beside the file a link leads to, not beside the link."""
    real = path.resolve()
    return real.with_name(real.name + "-journal")


def has_journal(path: Path) -> bool:
    """Whether a journal with contents lies beside the file: a transaction was open when its writer was killed, or is
    open now."""
    try:
        with journal_path(path).open("rb") as file:
            return file.read(1) not in (b"", b"\0")
    except OSError:
        return False


def journal_hint(path: Path) -> str:
    """What to add to an error about a file that has no seal, or lost it: nothing if its journal is there."""
    if has_journal(path):
        return ""
    journal = journal_path(path).name
    return f" If its recording was interrupted, it belongs together with the file {journal} that lay beside it."


def names_other_files(path: Path) -> bool:
    """Whether the journal beside the file ends by naming a super-journal, which SQLite would read and delete while it
    rolls back.

    A trace never has one (it takes several attached databases), so such a journal was made to have a file deleted.
    """
    try:
        with journal_path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - len(_SUPER_JOURNAL_MAGIC)))
            return file.read() == _SUPER_JOURNAL_MAGIC
    except OSError:
        return False


def is_being_written(path: Path) -> bool:
    """Whether a TraceWriter holds the file. Rolls back a left-over journal: call it only before a write, after
    `names_other_files`."""
    db = sqlite3.connect(path.resolve(), isolation_level=None, timeout=0)
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    finally:
        db.close()
    return False
