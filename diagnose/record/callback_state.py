"""What callbacks bring into a fit from before it, and which files `ModelCheckpoint` writes during it. Reads only."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras

from diagnose.frameworks.keras.fits import began_an_epoch
from diagnose.record import describe
from diagnose.record.handlers import let_through
from diagnose.tracefile.model import Json

_CLOCK_TICK: Final = 20_000_000
"""Nanoseconds by which the time a file system notes can lie behind the clock."""

_USED: weakref.WeakSet[Any] = weakref.WeakSet()


def at_start(callbacks: Sequence[Any]) -> list[dict[str, Json]]:
    """One entry per callback, as it is after all ran their `on_train_begin`: class, settings, whether it holds
    `best_weights` (None: it has no such attribute), and whether it was used in an earlier fit."""
    found: list[dict[str, Json]] = []
    for cb in callbacks:
        held = vars(cb).get("best_weights", _USED)
        found.append(
            {
                "class": type(cb).__name__,
                "settings": describe.settings(cb),
                "best_weights": None if held is _USED else held is not None,
                "used_before": _used_before(cb),
            }
        )
    return found


def _used_before(cb: Any) -> bool:
    """Known where that fit was traced; `ModelCheckpoint` also remembers by itself that an epoch was begun with it."""
    try:
        used = cb in _USED
        _USED.add(cb)
    except TypeError as error:  # a class of the user's that cannot be hashed
        let_through(error)
        used = False
    return used or began_an_epoch(cb)


class SavedFile:
    """Looks, after the hooks of one `ModelCheckpoint`, whether it has written its file."""

    def __init__(self, callback: Any) -> None:
        self._callback = callback
        self._began = time.time_ns()
        self._known: dict[str, tuple[int, ...]] = {}
        path = getattr(callback, "filepath", None)
        if isinstance(path, str):
            self._look(path)

    def in_batches(self) -> bool:
        return getattr(self._callback, "save_freq", "epoch") != "epoch"

    def written(self, epoch: int, logs: Mapping[str, Any] | None, batch: int | None = None) -> dict[str, Json] | None:
        """`path` and `bytes` of the file if it is another than at the last look; `epoch` is Keras's, from 0."""
        try:
            # As `ModelCheckpoint._get_file_path` (Keras 3.8 to 3.15.1) makes the name.
            named = {**({} if batch is None else {"batch": batch + 1}), **(logs or {})}
            path = str(self._callback.filepath).format(epoch=epoch + 1, **named)
        except Exception as error:
            let_through(error)
            return None
        known, now = self._known.get(path), self._look(path)
        if now is None or now == known or (known is None and now[1] < self._began - _CLOCK_TICK):
            return None
        return {"path": path, "bytes": now[3]}

    def _look(self, path: str) -> tuple[int, ...] | None:
        try:
            found = os.stat(path)
        except (OSError, ValueError) as error:  # not there, or a place that is no local file
            let_through(error)
            return None
        self._known[path] = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        return self._known[path]


def saved_file(callback: Any) -> SavedFile | None:
    """For a `ModelCheckpoint`; None for any other callback."""
    return SavedFile(callback) if isinstance(callback, keras.callbacks.ModelCheckpoint) else None


def quiet_in_batches(callback: Any) -> bool:
    """Whether a callback of Keras's own changes nothing in its batch hooks, saves no file and ends no fit there."""
    if type(callback) in (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore):
        return bool(getattr(callback, "save_freq", None) == "epoch")
    return type(callback) is keras.callbacks.TensorBoard
