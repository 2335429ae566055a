"""Which files earlier fits of this process saved, so that a fit can say what stood where it saved its own. On the
background thread. Reads no file, only when it was last changed."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from diagnose.tracefile.model import Json

MOST_FILES: Final = 64
"""Files that are remembered, those saved last."""

Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Saved:
    """A file as a fit left it: `stamp` is when it was changed last, and its size; None before the fit has ended."""

    trace: str
    epoch: int
    logs: Mapping[str, float]
    stamp: Stamp | None = None


_SAVED: dict[str, Saved] = {}
_LOCK = threading.Lock()


class SavedFiles:
    """The files that one fit saves, and what of earlier fits stands at their places."""

    def __init__(self, trace: str) -> None:
        self._trace = trace
        with _LOCK:
            # What was moved, deleted or written by something else since is nothing that this fit can overwrite.
            self._standing = {path: s for path, s in _SAVED.items() if s.stamp is not None and s.stamp == stamp(path)}
        self._mine: dict[str, Saved] = {}

    def saved(self, path: str, epoch: int) -> dict[str, Json] | None:
        """The detail of a `file-replaced` event, where this took the place of an earlier fit's file."""
        place = os.path.abspath(path)
        self._mine[place] = Saved(self._trace, epoch, {})
        earlier = self._standing.pop(place, None)
        if earlier is None:
            return None
        return {"path": path, "trace": earlier.trace, "epoch": earlier.epoch, "logs": dict(earlier.logs)}

    def epoch(self, epoch: int, logs: Mapping[str, Json]) -> None:
        """What an epoch logged, in which files may have been saved."""
        numbers = {k: float(v) for k, v in logs.items() if isinstance(v, (int, float))}
        for path, saved in self._mine.items():
            if saved.epoch == epoch:
                self._mine[path] = replace(saved, logs=numbers)

    def ended(self) -> None:
        """Remembers the files of this fit as they are now."""
        with _LOCK:
            for path, saved in self._mine.items():
                _SAVED.pop(path, None)
                _SAVED[path] = replace(saved, stamp=stamp(path))
            while len(_SAVED) > MOST_FILES:
                del _SAVED[next(iter(_SAVED))]


def stamp(path: str) -> Stamp | None:
    """None for a file that is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size
