"""The background thread that writes the trace: a bounded queue in front of one encoder. Never raises into the
training thread."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import traceback

from diagnose.record.encoder import Encoder, release
from diagnose.record.items import Item
from diagnose.trace.writer import TraceWriter

COMMIT_SECONDS = 0.25
"""A killed process loses at most about this much of the trace."""

SYNC_SECONDS = 1.0
"""Epoch ends reach the disk itself (against a power cut) at most this often."""


class Worker:
    """Writes items in order. `failure` is set once, by the first error; from then on items are dropped.

    Args:
        depth: how many items may wait. The training thread waits when the queue is full, so
            that memory stays bounded by `depth` snapshots.
    """

    def __init__(self, writer: TraceWriter, encoder: Encoder, depth: int) -> None:
        self.failure: BaseException | None = None
        self._writer = writer
        self._encoder = encoder
        self._queue: queue.Queue[Item | None] = queue.Queue(maxsize=depth)
        self._status: str | None = None
        self._thread = threading.Thread(target=self._run, name="diagnose-writer", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hands an item over; waits while the queue is full."""
        if self.failure is not None or not self._thread.is_alive():
            release(item)
            return
        self._queue.put(item)

    def finish(self, status: str) -> None:
        """Writes what is queued, seals the trace with `status`, and waits for it."""
        self._status = status
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        last_commit = last_sync = time.monotonic()
        while True:
            try:
                item = self._queue.get(timeout=COMMIT_SECONDS)
            except queue.Empty:
                self._try_commit()
                last_commit = time.monotonic()
                continue
            if item is None:
                break
            if self.failure is not None:
                release(item)
                continue
            try:
                sync = self._encoder.handle(item)
                now = time.monotonic()
                sync = sync and now - last_sync > SYNC_SECONDS
                if sync or now - last_commit > COMMIT_SECONDS:
                    self._writer.commit(sync=sync)
                    last_commit = now
                    last_sync = now if sync else last_sync
            except BaseException as error:
                self.failure = error
                release(item)
        self._close()

    def _try_commit(self) -> None:
        if self.failure is None:
            try:
                self._writer.commit()
            except BaseException as error:
                self.failure = error

    def _close(self) -> None:
        try:
            if self.failure is not None:
                self._writer.event("tracer-error", describe_error(self.failure))
            self._writer.seal(self._status if self._status and self.failure is None else "failed")
        except BaseException as error:
            self.failure = self.failure or error
        with contextlib.suppress(BaseException):
            self._writer.close()


class Ended:
    """What is left of a worker once the trace is sealed: how it ended, and none of its memory."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure

    def put(self, item: Item) -> None:
        """Nothing is written any more."""


def describe_error(error: BaseException) -> dict[str, str]:
    """An error as the detail of a "tracer-error" event."""
    return {
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error))[-8000:],
    }
