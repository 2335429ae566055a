"""Makes the n-th operation fail that the package asks of the disk or of SQLite: once, or from then on."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diagnose

PACKAGE = str(Path(diagnose.__file__).parent) + os.sep
OF_OS = ("open", "fsync", "stat", "lstat", "unlink", "remove", "replace", "rename", "link", "write", "mkdir", "chmod")
OF_SQLITE = ("execute", "executemany", "commit", "rollback", "blobopen", "backup", "close")
_DEEP = 6
"""Frames between the package and the operation: `pathlib`, `shutil`, `tempfile` are in between."""

ERRORS: dict[str, Callable[[], BaseException]] = {
    "disk full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "I/O error": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "sqlite3.OperationalError": lambda: sqlite3.OperationalError("database or disk is full"),
    "MemoryError": lambda: MemoryError(),
}


class Injection:
    """Counts operations of the package, and raises at number `at` (from 1); with `stays` at every later one too."""

    def __init__(self, error: str, at: int, *, stays: bool) -> None:
        self.error, self.at, self.stays = error, at, stays
        self.count = 0
        self.struck = ""
        self._lock = threading.Lock()
        self._inside = threading.local()

    def operation(self, name: str, *, of_sqlite: bool) -> None:
        """Called before each operation of any code."""
        if getattr(self._inside, "on", False) or not _from_package():
            return
        with self._lock:
            self.count += 1
            strikes = self.count == self.at or (self.stays and self.count > self.at)
        if strikes:
            self._inside.on = True
            try:
                # A full disk shows itself to SQLite's callers as an error of SQLite's.
                raises = "sqlite3.OperationalError" if of_sqlite and self.error == "disk full" else self.error
                if not of_sqlite and raises == "sqlite3.OperationalError":
                    raises = "I/O error"
                self.struck = self.struck or f"{raises} in {name}"
                raise ERRORS[raises]()
            finally:
                self._inside.on = False


def _from_package() -> bool:
    frame = sys._getframe(3)
    for _ in range(_DEEP):
        if frame is None:
            return False
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or "tools/attacks" in name:
            return False  # a module being loaded is not an operation of the recorder's
        if name.startswith(PACKAGE):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@contextlib.contextmanager
def failing(injection: Injection) -> Iterator[None]:
    """Within it, operations go through `injection`."""
    connect, originals = sqlite3.connect, {name: getattr(os, name) for name in OF_OS}

    class Connection(sqlite3.Connection):
        pass

    def of_connection(name: str) -> Any:
        original = getattr(sqlite3.Connection, name)

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            injection.operation(f"sqlite3 {name}", of_sqlite=True)
            return original(self, *args, **kwargs)

        return method

    def of_os(name: str) -> Any:
        def function(*args: Any, **kwargs: Any) -> Any:
            injection.operation(f"os.{name}", of_sqlite=False)
            return originals[name](*args, **kwargs)

        return function

    def connecting(*args: Any, **kwargs: Any) -> Any:
        injection.operation("sqlite3.connect", of_sqlite=True)
        return connect(*args, factory=Connection, **kwargs)

    for name in OF_SQLITE:
        # Closing that fails would leave what it closes open: SQLite's close does not fail so.
        if name != "close":
            setattr(Connection, name, of_connection(name))
    sqlite3.connect = connecting  # type: ignore[assignment]
    for name in OF_OS:
        setattr(os, name, of_os(name))
    try:
        yield
    finally:
        sqlite3.connect = connect
        for name, original in originals.items():
            setattr(os, name, original)
