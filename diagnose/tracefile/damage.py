"""Turns what goes wrong on a file that may be damaged, or made to do harm, into one clear error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diagnose.errors import DiagnoseError, TraceError
from diagnose.tracefile.journal import journal_hint


@contextmanager
def no_odd_error(path: Path) -> Iterator[None]:
    """For work on what a file says of its fit, without any code of the user's: what goes wrong there in a way that
    nobody thought of is one TraceError too, not an error of some odd type."""
    try:
        yield
    except DiagnoseError:
        raise
    except Exception as error:
        raise TraceError(
            f"{path} cannot be analysed. Either it is not as a recording leaves it, or this is an error in diagnose "
            f"itself ({type(error).__name__}: {error})."
        ) from error


@contextmanager
def damage(path: Path, *, sealed: bool) -> Iterator[None]:
    """Turns what can go wrong on a damaged or hostile file into one TraceError."""
    try:
        yield
    except DiagnoseError:
        raise
    except sqlite3.ProgrammingError as error:
        raise TraceError(f"{path} is closed.") from error
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error}.") from error
    except Exception as error:  # of any type: what a file makes of a reader is the file's fault
        what = str(error) if isinstance(error, (ValueError, sqlite3.Error)) else f"{type(error).__name__} {error}"
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_INTERRUPT:
            what = "its pages lead to more than the file holds"
        hint = "" if sealed else journal_hint(path)
        raise TraceError(f"{path} is altered or damaged: {what}.{hint}") from error
