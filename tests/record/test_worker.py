"""The writer thread: what it does to a fit when it dies, and when the disk stands still."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.record import worker
from diagnose.record.encoder import Encoder
from diagnose.record.guard import TracingStopped
from diagnose.record.items import InfoItem, Snapshot, StateItem
from diagnose.record.worker import Worker
from diagnose.tracefile.store import TraceStore
from tests.record.fits import linear, rows

FAR = 20.0
"""Seconds; a stalled disk may cost a fit a few of them, before it cost 25."""


def trained(tracer: Tracer | None, epochs: int = 3) -> tuple[list[float], list[str], float]:
    """The losses of a fit, its warnings of stopped tracing, and how long it took."""
    x, y = rows()
    model = linear()
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(
            x, y, batch_size=4, epochs=epochs, verbose=0, shuffle=False, callbacks=[tracer] if tracer else []
        )
    said = [str(w.message) for w in caught if w.category is TracingStopped]
    return history.history["loss"], said, time.monotonic() - began


@contextlib.contextmanager
def reader_of(path: Path) -> Iterator[None]:
    """Another process reads the file all the time, so that no transaction can end."""
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('BEGIN');"
        "db.execute('SELECT count(*) FROM info').fetchone(); print('reading', flush=True); sys.stdin.read()"
    )
    done = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout is not None
    assert done.stdout.readline().strip() == "reading"
    try:
        yield
    finally:
        done.communicate("")


class Reads:
    """Begins to read a tracer's file when its fit begins."""

    def __init__(self, stack: contextlib.ExitStack, tracer: Tracer) -> None:
        import keras

        class Callback(keras.callbacks.Callback):  # type: ignore[misc]
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                if epoch == 0:
                    time.sleep(0.5)  # what came before is committed
                    stack.enter_context(reader_of(tracer.path))

        self.callback = Callback()


def fit_beside_a_reader(stack: contextlib.ExitStack, tracer: Tracer) -> tuple[list[float], list[str], float]:
    x, y = rows()
    model = linear()
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(
            x, y, batch_size=4, epochs=3, verbose=0, shuffle=False, callbacks=[tracer, Reads(stack, tracer).callback]
        )
    said = [str(w.message) for w in caught if w.category is TracingStopped]
    return history.history["loss"], said, time.monotonic() - began


@pytest.fixture
def ended() -> Callable[[], bool]:
    """Asks whether the threads that this test set to write traces come to their end. A test that failed before may have
    left one: its traceback keeps a fit alive that raised, and so a recording that nobody ends."""
    before = set(threading.enumerate())

    def come_to_their_end() -> bool:
        threads = [t for t in threading.enumerate() if t.name == "diagnose-writer" and t not in before]
        for thread in threads:
            thread.join(FAR)
        return not any(thread.is_alive() for thread in threads)

    return come_to_their_end


def test_a_reader_that_holds_the_file_stops_the_recording_not_the_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[[], bool]
) -> None:
    monkeypatch.setattr(worker, "QUEUE_ITEMS", 4)
    monkeypatch.setattr(worker, "COMMIT_SECONDS", 0.002)  # a transaction is begun soon, which the reader keeps open
    plain, _, _ = trained(None)
    tracer = Tracer(tmp_path / "fit.diag")
    with contextlib.ExitStack() as stack:
        losses, said, seconds = fit_beside_a_reader(stack, tracer)
        assert losses == plain and seconds < FAR
        assert len(said) == 1 and "could not be written while training waited for it" in said[0]
        began = time.monotonic()
        tracer.close()
        assert time.monotonic() - began < 1
    assert ended()
    with read_trace(tracer.path) as trace:
        assert trace.status == "failed"
        assert [e.kind for e in trace.events if e.kind.startswith("trac")] == ["tracing-stopped"]
    notice = tracer.diagnose().notice
    assert notice is not None and notice.startswith("Tracing stopped: fit.diag could not be written")


def test_a_reader_at_the_end_of_a_fit_is_not_waited_for(tmp_path: Path, ended: Callable[[], bool]) -> None:
    tracer, again = Tracer(tmp_path / "fit.diag"), Tracer(tmp_path / "fit.diag")
    with contextlib.ExitStack() as stack:
        _, said, seconds = fit_beside_a_reader(stack, tracer)
        assert seconds < FAR and len(said) == 1 and "could not be written in time" in said[0]
        # Its thread may go on at any time, so another recording of this name goes elsewhere.
        _, said, _ = trained(again)
        assert said == [] and [run.path.name for run in again.runs] == ["fit-2.diag"]
    assert ended()
    for path in (tracer.path, again.runs[0].path):
        with read_trace(path) as trace:
            assert trace.status == "complete" and len(trace.steps) == 9
            assert not [e for e in trace.events if e.kind in ("tracer-error", "tracing-stopped")]


def test_the_process_ends_although_its_disk_stands_still(tmp_path: Path) -> None:
    """At the end of the interpreter, too, nothing waits for the writer."""
    code = """
import sys, threading, warnings
warnings.simplefilter("ignore")
from diagnose.record import encoder
from tests.record.fits import linear, rows
from diagnose import Tracer
encoder.Encoder._epoch = lambda self, item: threading.Event().wait()
x, y = rows()
class Boom(Exception): pass
import keras
class Raises(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1: raise Boom
try:
    linear().fit(x, y, epochs=3, verbose=0, callbacks=[Tracer(sys.argv[1]), Raises()])
except Boom:
    print("raised")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "fit.diag")],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "raised\n"), done.stderr


def stops(self: Encoder, item: Any) -> bool:
    raise SystemExit(7)


def interrupted(self: Encoder, item: Any) -> bool:
    raise KeyboardInterrupt


def dies_within_a_record(self: TraceStore, table: str, *row: Any) -> None:
    if table == "epochs":
        raise SystemExit(7)  # the running digest has the row, the table does not
    STORED(self, table, *row)


STORED = TraceStore._insert


def no_memory(self: Worker) -> Any:
    raise MemoryError


@pytest.mark.parametrize(
    ("owner", "name", "broken", "text"),
    [
        (Encoder, "_epoch", stops, "ended by SystemExit: 7"),
        (Encoder, "_epoch", interrupted, "ended by KeyboardInterrupt"),
        (Encoder, "_train_end", stops, "ended by SystemExit: 7"),
        (TraceStore, "_insert", dies_within_a_record, "ended by SystemExit: 7"),
        (Worker, "_next", no_memory, "MemoryError"),
        (Worker, "_run", lambda self: None, "the thread that writes the trace is gone"),
    ],
)
def test_a_writer_thread_that_dies_is_one_warning_and_a_trace_that_says_so(
    owner: Any, name: str, broken: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _, _ = trained(None)
    monkeypatch.setattr(owner, name, broken)
    tracer = Tracer(tmp_path / "fit.diag")
    losses, said, seconds = trained(tracer)
    assert losses == plain and seconds < FAR
    assert len(said) == 1 and text in said[0]
    with read_trace(tracer.path) as trace:
        assert not trace.sealed
        (error,) = [e.detail.error for e in trace.events if e.kind == "tracer-error"]
        assert text in error
    monkeypatch.undo()
    notice = tracer.diagnose().notice
    assert notice is not None and text in notice


class Slow:
    """Stands for a file and an encoder: each item takes a while, and the file tells that it goes on, or not."""

    def __init__(self, seconds: float, *, tells: bool) -> None:
        self.seconds, self.tells = seconds, tells
        self.beats = 0
        self.syncing = False
        self.path = Path("slow.diag")
        self.handled: list[Any] = []
        self.status = ""

    def handle(self, item: Any) -> bool:
        for _ in range(10):
            time.sleep(self.seconds / 10)
            self.beats += self.tells
        self.handled.append(item)
        return False

    def seal(self, status: str) -> None:
        self.status = status

    def commit(self, *, sync: bool = False) -> None: ...

    def event(self, *args: Any) -> None: ...

    def take_back(self, reason: str) -> None: ...

    def close(self) -> None: ...

    def closed(self) -> None: ...


def test_a_slow_disk_is_waited_for_as_long_as_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(worker, "QUEUE_ITEMS", 1)
    slow = Slow(1.0, tells=True)
    thread = Worker(slow, slow)  # type: ignore[arg-type]
    items = [InfoItem(str(i), None) for i in range(3)]
    for item in items:
        thread.put(item)
    thread.finish("complete")
    assert slow.handled == items and slow.status == "complete" and thread.failure is None


def test_a_disk_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, ended: Callable[[], bool]) -> None:
    monkeypatch.setattr(worker, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(worker, "QUEUE_ITEMS", 1)
    slow = Slow(3.0, tells=False)
    thread = Worker(slow, slow)  # type: ignore[arg-type]
    for i in range(4):
        thread.put(InfoItem(str(i), None))
    assert isinstance(thread.failure, worker.TraceStalled)
    began = time.monotonic()
    thread.finish("complete")
    assert time.monotonic() - began < 1
    assert ended() and len(slow.handled) == 1 and slow.status == "failed"


def test_what_waits_is_bounded_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "QUEUE_BYTES", 1 << 20)
    slow = Slow(0.02, tells=True)
    thread = Worker(slow, slow)  # type: ignore[arg-type]
    most = 0
    sizes = [10, 400_000, 3 << 20, 400_000, 10, 5 << 20, 900_000, 900_000]
    for i, size in enumerate(sizes):
        thread.put(StateItem("test", None, 1, i, Snapshot([np.zeros(size, np.uint8)])))
        waiting = [item.snapshot.arrays[0].nbytes for item, _ in list(thread._items)]  # type: ignore[union-attr]
        most = max(most, sum(waiting) if len(waiting) > 1 else 0)
    thread.finish("complete")
    assert [item.step for item in slow.handled] == list(range(len(sizes)))
    assert 0 < most <= 1 << 20


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="timers of POSIX")
def test_a_signal_while_the_end_is_waited_for_makes_no_second_thread_write() -> None:
    """Python 3.11 takes a thread for ended whose `join` a signal handler interrupts; two on one connection crash."""

    class Once(Slow):
        inside = most = 0

        def handle(self, item: Any) -> bool:
            self.inside += 1
            self.most = max(self.most, self.inside)
            found = super().handle(item)
            self.inside -= 1
            return found

        def take_back(self, reason: str) -> None:
            self.most = max(self.most, self.inside + 1)

    def rings(signum: int, frame: Any) -> None:
        raise TimeoutError("too late")

    slow = Once(0.6, tells=True)
    thread = Worker(slow, slow)  # type: ignore[arg-type]
    items = [InfoItem(str(i), None) for i in range(2)]
    for item in items:
        thread.put(item)
    before = signal.signal(signal.SIGALRM, rings)
    try:
        for _ in range(4):
            signal.setitimer(signal.ITIMER_REAL, 0.15)
            with pytest.raises(TimeoutError):
                thread.finish("complete")
    finally:
        signal.signal(signal.SIGALRM, before)
    thread.finish("complete")
    assert slow.handled == items and slow.status == "complete" and slow.most == 1
