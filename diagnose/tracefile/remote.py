"""Traces that lie elsewhere: `s3://…`, `https://…`, `memory://…`, whatever fsspec reads. A trace is an SQLite database,
which is read in place; so it is fetched whole, into a private temporary file that goes when it is closed."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from diagnose.errors import TraceError

T = TypeVar("T")

MOST_BYTES: Final = 8 << 30
"""Of one trace; it must also fit into half of the free disk."""

STALL_SECONDS: Final = 60.0
"""For so long nothing may come."""

MOST_SECONDS: Final = 900.0
"""What all of it may take."""

_CHUNK: Final = 1 << 20

_URL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")  # of two letters at least: C:// is a drive


def is_url(path: object) -> bool:
    """Whether this names a trace for fsspec: `scheme://…`."""
    return isinstance(path, str) and _URL.match(path) is not None


def located(text: str) -> Path | str:
    """A trace as the command line names it: a URL, or a path."""
    return text if is_url(text) else Path(text)


@contextlib.contextmanager
def at_hand(trace: Path | str) -> Iterator[Path]:
    """Within: the trace as a file of this machine (see `fetched`)."""
    if isinstance(trace, str) and is_url(trace):
        with fetched(trace) as path:
            yield path
    else:
        yield Path(trace)


def stem(url: Path | str) -> str:
    """The name of a trace without its folders and its extension."""
    if not isinstance(url, str) or not is_url(url):
        return Path(url).stem
    place = re.split(r"[?#]", url.partition("://")[2])[0]
    return PurePosixPath(place).stem or "trace"


def shown(url: str) -> str:
    """The URL as messages have it: without a password, and without what a signed one ends with."""
    bare = re.sub(r"//[^/@]*@", "//", url)
    return (bare.partition("?")[0] if re.match("https?:", bare, re.IGNORECASE) else bare)[:300]


@contextlib.contextmanager
def fetched(url: str) -> Iterator[Path]:
    """Within: the trace as a file of this machine. After: it is gone.

    Raises:
        TraceError: it cannot be had, is too large or does not come; and whatever is wrong with the file itself, by the
            name that was asked for.
    """
    with _copied(url) as (path, folder):
        yield path
    shutil.rmtree(folder, ignore_errors=True)


def read_fetched(url: str, read: Callable[[Path, Path], T]) -> T:
    """What `read` makes of the file, and of the folder it is in, which is `read`'s to delete from then on. TraceError:
    see `fetched`."""
    with _copied(url) as (path, folder):
        return read(path, folder)


@contextlib.contextmanager
def _copied(url: str) -> Iterator[tuple[Path, Path]]:
    """Within: the trace as a file, and its folder, which is gone where something fails."""
    folder = Path(tempfile.mkdtemp(prefix="diagnose-"))
    try:
        path = folder / f"{stem(url)}.diag"
        copy(url, path)
        with named(path, url):
            yield path, folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def named(path: Path, url: str) -> Iterator[None]:
    """Within: errors about the copy are errors about what was asked for."""
    try:
        yield
    except TraceError as error:
        raise TraceError(str(error).replace(str(path), shown(url))) from error


def copy(url: str, path: Path) -> None:
    """Fetches a trace, and its journal where one lies beside it. TraceError: see `fetched`."""
    room = min(MOST_BYTES, shutil.disk_usage(path.parent).free // 2)
    fetch = _Fetch(url, path, room)
    thread = threading.Thread(target=fetch.run, name="diagnose-fetch", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1 if fetch.got else 0.02)
            late = fetch.late()
            if late:
                raise TraceError(f"{shown(url)} cannot be read: {late}.")
    finally:
        fetch.stopped = True  # the thread ends with its next piece, or with the process
    if fetch.error is not None:
        raise _said(url, fetch.error) from fetch.error


@dataclass(slots=True)
class _Fetch:
    """One download, in a thread of its own: no library of a store promises to end."""

    url: str
    path: Path
    room: int
    got: int = 0
    error: BaseException | None = None
    stopped: bool = False
    began: float = field(default_factory=time.monotonic)
    moved: float = field(default_factory=time.monotonic)

    def late(self) -> str | None:
        now = time.monotonic()
        if now - self.moved > STALL_SECONDS:
            return f"nothing came for {STALL_SECONDS:.0f} seconds"
        if now - self.began > MOST_SECONDS:
            return f"it did not come within {MOST_SECONDS:.0f} seconds"
        return None

    def run(self) -> None:
        try:
            from fsspec.core import url_to_fs

            system, name = url_to_fs(self.url)
            self._one(system, name, self.path)
            if _there(system, f"{name}-journal"):
                self._one(system, f"{name}-journal", self.path.with_name(f"{self.path.name}-journal"))
        except BaseException as error:
            self.error = error

    def _one(self, system: Any, name: str, path: Path) -> None:
        with system.open(name, "rb") as source, path.open("xb") as target:
            while not self.stopped and (piece := source.read(_CHUNK)):
                self.got += len(piece)
                self.moved = time.monotonic()
                if self.got > self.room:
                    raise TraceError(
                        f"{shown(self.url)} is larger than the {self.room / 2**30:.1f} GiB there is room for."
                    )
                target.write(piece)


def _there(system: Any, name: str) -> bool:
    """Whether there is a file. A store may forbid to ask for one that is not (S3 does, without the right to list), and
    a trace that misses its journal is found to be damaged."""
    try:
        return bool(system.exists(name))
    except PermissionError:
        return False


def _said(url: str, error: BaseException) -> TraceError:
    if isinstance(error, TraceError):
        return error
    if isinstance(error, ImportError):
        return TraceError(f"{shown(url)} needs {_package(error)}: pip install 'keras-diagnose[remote]'.")
    if isinstance(error, FileNotFoundError):
        return TraceError(f"There is no trace file {shown(url)}.")
    what = str(error).replace(url, shown(url)).partition("\n")[0] or type(error).__name__
    return TraceError(f"{shown(url)} cannot be read: {what[:300]}.")


def _package(error: ImportError) -> str:
    """What is missing: fsspec itself, or what it takes for this kind of store."""
    return error.name or str(error).partition("\n")[0][:100]
