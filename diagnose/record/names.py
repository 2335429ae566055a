"""Which file each fit of a tracer writes. Copies of a tracer share the names, so that none writes over another's."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import uuid
import weakref
from pathlib import Path
from typing import Any, Self


class Names:
    """Gives names away: "NAME.diag" to the first fit of the tracer that was made with it, then "NAME-2.diag",
    "NAME-3.diag", … to its further fits and to those of its copies, in the order in which they begin.

    Args:
        path: where to write, taken from where the process stands now; None: in a temporary folder, which lasts as long
            as the tracer or one of its copies.
        token: of names that another process gave away. Here all of them get "-pidN", as in a forked child.
    """

    def __init__(self, path: Path | None, token: str | None = None) -> None:
        self.temporary = path is None
        if path is None:
            # Not a TemporaryDirectory, which warns the user's process when a tracer is simply dropped.
            folder = tempfile.mkdtemp(prefix="diagnose-")
            weakref.finalize(self, remove_folder, folder, os.getpid())
            path = Path(folder) / "fit.diag"
        self.path = path.absolute()
        self._made_in = os.getpid() if token is None else None
        self._token = token or uuid.uuid4().hex
        self._lock = threading.Lock()
        self._plain_given = False
        self._numbers = itertools.count(2)

    def next(self, *, plain: bool) -> Path:
        """The file of a fit that begins now. `plain`: it may have the name without a number."""
        with self._lock:
            plain = (plain or self._made_in is None) and not self._plain_given
            self._plain_given = self._plain_given or plain
            path = self.path if plain else numbered(self.path, next(self._numbers))
        return of_this_process(path, self._made_in)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        _PICKLED[self._token] = self
        return _unpickled, (self._token, None if self.temporary else str(self.path))


def numbered(path: Path, number: int) -> Path:
    """`path` with a number behind its name."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def of_this_process(path: Path, made_in: int | None) -> Path:
    """`path`, under another name in a forked child of the process that chose it (None: another process in any case):
    that may be writing there."""
    if os.getpid() == made_in:
        return path
    return path.with_name(f"{path.stem}-pid{os.getpid()}{path.suffix}")


def remove_folder(folder: str, made_in: int) -> None:
    """Removes a temporary folder. Not in a forked child: it is its parent's."""
    if os.getpid() == made_in:
        shutil.rmtree(folder, ignore_errors=True)


_PICKLED: dict[str, Names] = {}
"""Names whose tracers were pickled, by token: what is unpickled in the same process goes on with them."""


def _unpickled(token: str, path: str | None) -> Names:
    found = _PICKLED.get(token)
    if found is None:
        found = _PICKLED[token] = Names(None if path is None else Path(path), token)
    return found
