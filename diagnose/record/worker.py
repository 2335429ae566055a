"""The background thread that writes the trace: a bounded queue in front of one encoder. Never raises into the
training thread, and never keeps it waiting for a disk that stands still."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from diagnose.errors import TraceWriteError
from diagnose.record.encoder import Encoder
from diagnose.record.guard import RecordingEnded
from diagnose.record.handlers import let_through
from diagnose.record.items import Item, StepItem, nbytes, release
from diagnose.tracefile.writer import TraceWriter

if TYPE_CHECKING:
    from diagnose.record.costs import Metered

COMMIT_SECONDS = 0.25
"""A killed process loses at most about this much of the trace."""

SYNC_SECONDS = 1.0
"""Epoch ends reach the disk itself (against a power cut) at most this often."""

QUEUE_BYTES = 256 << 20
"""What may wait to be written; one item that is larger waits alone."""

QUEUE_ITEMS = 256
"""Small items that may wait: what a killed process loses is bounded by them."""

WAKE_ITEMS = 64
WAKE_BYTES = 1 << 20
"""So many steps, or so much, may gather before the thread is woken for them: waking it for each would cost more than
what it does."""

STALL_SECONDS = 2.0
"""A disk that took nothing for so long, while others wait for it, ends the recording."""

SYNC_STALL_SECONDS = 5.0
"""The same at the end of a fit, while what was written is brought to the disk itself: it says nothing until it is
done."""

MOST_SECONDS = 10.0
"""A step never waits longer, however slowly the disk goes on."""


class TraceStalled(RecordingEnded):
    """The disk, or a reader that holds the file, kept the trace from being written."""


class Worker:
    """Writes items in order. After the first error items are dropped."""

    def __init__(self, writer: TraceWriter, encoder: Encoder | Metered) -> None:
        self._error: Exception | None = None
        self._late: TraceStalled | None = None
        """The fit is over, and the rest of its trace was not written in time: it may be written yet."""
        self._writer = writer
        self._encoder = encoder
        self._items: deque[tuple[Item, int]] = deque()
        self._held = 0
        """Bytes of the items that wait, and of those that are being written."""
        self._handled = 0
        self._changed = threading.Condition()
        self._ending = False
        self._closed = False
        self._status: str | None = None
        self._done = threading.Event()
        """Set when the thread has ended, or is about to and touches nothing any more. Not `Thread.is_alive`: a signal
        handler that raises inside `Thread.join` makes a thread that runs look ended (Python 3.11, bpo-45274), and two
        threads on one connection crash the process."""
        try:
            self._start(self._run)
        except BaseException:  # a signal handler's, while `Thread.start` waits: the thread runs all the same
            self._status = "failed"
            self._ending = True
            raise

    def _start(self, run: Callable[[], None]) -> None:
        done = self._done = threading.Event()

        def body() -> None:
            try:
                run()
            finally:
                done.set()

        # A daemon: it may be stuck in the disk when the process wants to end.
        threading.Thread(target=body, name="diagnose-writer", daemon=True).start()

    # ── on the training thread ──

    @property
    def failure(self) -> Exception | None:
        """What ended the recording before its time; never more than an `Exception`, whatever ended the thread."""
        return self._error or self._late

    def put(self, item: Item) -> None:
        """Hands an item over. Waits while the queue is full, as long as the disk takes what it gets."""
        size = nbytes(item)
        waiting: _Waiting | None = None
        with self._changed:
            while not self._dropping() and self._full(size):
                waiting = waiting or _Waiting(self._beats, MOST_SECONDS)
                if waiting.over(STALL_SECONDS):
                    self._give_up()
                else:
                    self._changed.notify_all()
                    self._changed.wait(0.05)
            if not self._dropping():
                self._items.append((item, size))
                self._held += size
                gathers = isinstance(item, StepItem) and len(self._items) < WAKE_ITEMS and self._held < WAKE_BYTES
                if not gathers:
                    self._changed.notify_all()
                return
        release(item)

    def end(self, status: str) -> None:
        """Takes nothing any more: what is queued is written, and the trace sealed with `status`."""
        with self._changed:
            self._status = self._status or status
            self._ending = True
            self._changed.notify_all()

    def finish(self, status: str) -> None:
        """Has what is queued written and the trace sealed with `status`. Waits for it as long as the disk goes on."""
        self.end(status)
        if self._late is None and not isinstance(self._error, TraceStalled):
            self._await()
            if self._done.is_set() and not self._closed:
                # It is gone and said nothing: what it left open is closed by another thread.
                self._dropping()
                self._start(lambda: self._close(sealed=False))
                self._await()

    def _await(self) -> None:
        waiting = _Waiting(self._beats)
        while not self._done.is_set():
            if waiting.over(SYNC_STALL_SECONDS if self._writer.syncing else STALL_SECONDS):
                self._late = TraceStalled(
                    f"the end of {self._writer.path.name} could not be written in time (the disk does not answer, or "
                    "another program holds the file). It is written if that changes while this process runs."
                )
                return
            self._done.wait(0.02)

    def _beats(self) -> int:
        return self._handled + self._writer.beats

    def _full(self, size: int) -> bool:
        return bool(self._held) and (self._held + size > QUEUE_BYTES or len(self._items) >= QUEUE_ITEMS)

    def _dropping(self) -> bool:
        """Whether items are dropped from now on."""
        if self._error is None and not self._closed and self._done.is_set():
            self._error = TraceWriteError("the thread that writes the trace is gone")
        return self._error is not None or self._ending

    def _give_up(self) -> None:
        self._error = TraceStalled(
            f"{self._writer.path.name} could not be written while training waited for it (the disk does not answer or "
            "is slow, or another program holds the file)."
        )
        self._drop()

    def _drop(self) -> None:
        while self._items:
            item, size = self._items.popleft()
            self._held -= size
            release(item)
        self._changed.notify_all()

    # ── on the background thread ──

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._error = self._error or _as_exception(error)
            self._close(sealed=False)
        else:
            self._close(sealed=True)
        finally:
            with self._changed:
                self._drop()

    def _loop(self) -> None:
        last_commit = last_sync = time.monotonic()
        while (found := self._next()) is not _END:
            sync = False
            if isinstance(found, list):
                try:
                    for item, _ in found:
                        sync = self._written(item) or sync
                finally:
                    with self._changed:
                        self._held -= sum(size for _, size in found)
                        self._changed.notify_all()
            now = time.monotonic()
            sync = sync and now - last_sync > SYNC_SECONDS
            if sync or now - last_commit > COMMIT_SECONDS or found is None:
                self._commit(sync)
                last_commit = now
                last_sync = now if sync else last_sync

    def _next(self) -> list[tuple[Item, int]] | str | None:
        """The next items with their sizes; None where there was none for a while, `_END` at the end."""
        with self._changed:
            if not self._items and not self._ending:
                self._changed.wait(COMMIT_SECONDS)
            if self._items:
                taken = [self._items.popleft()]
                size = taken[0][1]
                while self._items and len(taken) < WAKE_ITEMS and size + self._items[0][1] < WAKE_BYTES:
                    taken.append(self._items.popleft())
                    size += taken[-1][1]
                return taken
            return _END if self._ending else None

    def _written(self, item: Item) -> bool:
        """Writes an item, unless an error came before it. Returns whether the trace should reach the disk now."""
        if self._error is not None:
            release(item)
            return False
        try:
            return self._encoder.handle(item)
        except Exception as error:
            self._error = error
            release(item)
            return False
        finally:
            self._handled += 1

    def _commit(self, sync: bool) -> None:
        if self._error is None:
            try:
                self._writer.commit(sync=sync)
            except Exception as error:
                self._error = error

    def _close(self, *, sealed: bool) -> None:
        """Says what went wrong, seals the trace unless its writer died, and closes it."""
        failure = self._error
        try:
            if not sealed:
                self._writer.take_back(str(failure))
            if isinstance(failure, RecordingEnded):
                self._writer.event("tracing-stopped", {"reason": str(failure)})
            elif failure is not None:
                self._writer.event("tracer-error", describe_error(failure))
            if sealed:
                self._writer.seal(self._status if self._status and failure is None else "failed")
        except BaseException as error:
            self._error = self._error or _as_exception(error)
        with contextlib.suppress(BaseException):
            self._writer.close()
        self._closed = True
        with contextlib.suppress(BaseException):
            self._encoder.closed()


class _Waiting:
    """Tells whether one has waited long enough for another thread, by a count that grows while it goes on."""

    def __init__(self, beats: Callable[[], int], most: float | None = None) -> None:
        self._beats = beats
        self._most = most
        self._last = -1
        self._began = self._since = time.monotonic()

    def over(self, quiet: float) -> bool:
        """Whether nothing went on for `quiet` seconds, or the wait is as long as it may be."""
        now, beats = time.monotonic(), self._beats()
        if beats != self._last:
            self._last, self._since = beats, now
        return now - self._since > quiet or (self._most is not None and now - self._began > self._most)


_END = "end"


def _as_exception(error: BaseException) -> Exception:
    """What ended the thread must not end the training thread when it is raised there."""
    if isinstance(error, Exception):
        return error
    text = f": {error}" if str(error) else ""
    found = TraceWriteError(f"the thread that writes the trace was ended by {type(error).__name__}{text}")
    found.__cause__ = error
    return found


class Ended:
    """What is left of a worker once the trace is sealed: how it ended, and none of its memory."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure

    def put(self, item: Item) -> None:
        """Nothing is written any more."""

    def end(self, status: str) -> None:
        """It has ended."""


def describe_error(error: BaseException) -> dict[str, str]:
    """An error as the detail of a "tracer-error" event."""
    try:
        text, where = f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))[-8000:]
    except Exception as another:  # a traceback is made with the sources, which have to be read
        let_through(another)
        text, where = type(error).__name__, ""
    return {"error": text, "traceback": where}
