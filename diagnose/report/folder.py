"""Chooses the folder of a report: an earlier report is never replaced unasked. Writes nothing in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from diagnose.errors import DiagnoseError

try:
    import fcntl
except ImportError:  # Windows: two runs that start at once into one empty folder are not kept apart there
    _flock: Any = None
else:
    _flock = fcntl.flock
    _EXCLUSIVE = fcntl.LOCK_EX | fcntl.LOCK_NB

REPORT: Final = r"(fit-\d+-)?(timeline|ledger)\.png|report\.html|diagnosis\.json"
TRACES: Final = r"fit-\d+(-\d+)?\.diag(-journal)?"


@contextlib.contextmanager
def claimed(
    out: Path, *, ours: str = REPORT, force: bool = False, same: dict[str, bytes] | None = None
) -> Iterator[Path]:
    """Within: `out`, or the first of `out-1`, `out-2`, … that holds no earlier report and that no run is writing to.
    The folder is made if need be.

    Args:
        ours: the names of files that an earlier report is known by.
        force: an earlier report in `out` is to be replaced.
        same: file contents that, where a folder has them all, say that the report in it is the one to be written.

    Raises:
        DiagnoseError: the folder cannot be made, or no name can be put beside it.
    """
    lock = None
    try:
        for folder in _candidates(out):
            folder.mkdir(parents=True, exist_ok=True)
            held, lock = _locked(folder)
            if held and (force or not _holds(folder, ours) or (same is not None and _has(folder, same))):
                break
            _release(lock)
            lock = None
    except OSError as error:
        _release(lock)
        raise DiagnoseError(
            f"Cannot write reports to {folder}: {error.strerror or error}. Choose another --out."
        ) from error
    try:
        yield folder
    finally:
        _release(lock)


def moved(asked: Path, out: Path) -> str:
    """What to tell where the report is in another folder than the one asked for; else nothing."""
    return "" if asked == out else f"{asked} holds an earlier report, which stays (--force replaces it)."


def _candidates(out: Path) -> Iterator[Path]:
    yield out
    if out.name in ("", ".."):
        raise DiagnoseError(f"{out} holds an earlier report. Name another folder with --out, or replace it by --force.")
    for number in itertools.count(1):
        yield out.with_name(f"{out.name}-{number}")


def _holds(folder: Path, ours: str) -> bool:
    return any(re.fullmatch(ours, path.name) for path in folder.iterdir())


def _has(folder: Path, files: dict[str, bytes]) -> bool:
    try:
        return all((folder / name).read_bytes() == content for name, content in files.items())
    except OSError:
        return False


def _locked(folder: Path) -> tuple[bool, int | None]:
    """Whether nobody else holds the folder, and the descriptor that holds it from now on. The lock is on the folder
    itself and goes with the process, so that nothing is left behind."""
    if _flock is None:
        return True, None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _flock(descriptor, _EXCLUSIVE)
    except BlockingIOError:
        return False, descriptor
    except OSError:
        pass  # a file system without locks
    return True, descriptor


def _release(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
