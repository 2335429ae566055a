from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from diagnose.errors import TraceError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.journal import has_journal
from diagnose.tracefile.reader import Trace, read_trace, store_diagnosis
from diagnose.tracefile.writer import TraceWriter
from tests.tracefile import sample
from tests.tracefile.killed_writer import row_of, weights_of

ROOT = Path(__file__).parents[2]
ROUNDS = 10


def kill_a_writer(path: Path, seconds: float, page_bytes: int) -> int:
    """Has a process write a trace, kills it, and returns the number of steps it had acknowledged."""
    command = [sys.executable, "-m", "tests.tracefile.killed_writer", str(path), str(page_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    # The last line may have been cut by the kill.
    return int([line for line in lines if line.endswith("\n")][-1])


def check_contents(trace: Trace) -> None:
    assert not trace.sealed and trace.status == "interrupted"
    for number, (step, state) in enumerate(zip(trace.steps, trace.states, strict=True)):
        assert (step.step, state.version) == (number, number + 1)
        assert trace.batch(step.batch).x.tobytes() == row_of(number).tobytes()
        assert trace.arrays(state)[0].tobytes() == weights_of(number).tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_every_acknowledged_commit_survives_sigkill(tmp_path: Path) -> None:
    chance = random.Random(7)
    hot = 0
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        path = folder / "a.diag"
        acknowledged = kill_a_writer(path, chance.uniform(0.0, 0.15), fmt.PAGE_SIZES[number % 2])
        hot += has_journal(path)
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        with read_trace(path) as trace:
            assert len(trace.steps) >= acknowledged and len(trace.steps) % 3 == 0
            check_contents(trace)
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before

        # Without its journal the file is either complete up to some commit, or says what it lacks.
        alone = tmp_path / f"alone-{number}.diag"
        shutil.copyfile(path, alone)
        try:
            with read_trace(alone) as trace:
                assert len(trace.steps) % 3 == 0
                check_contents(trace)
        except TraceError as error:
            assert f"alone-{number}.diag-journal" in str(error)

        store_diagnosis(path, {"round": number})
        assert [p.name for p in folder.iterdir()] == ["a.diag"]
        with read_trace(path) as trace:
            assert trace.diagnosis() == {"round": number} and len(trace.steps) >= acknowledged
        shutil.rmtree(folder)
        alone.unlink()
    assert hot, "no kill fell into a transaction: the test did not test what it should"


LIMITED = """
import os, resource, signal, sys
from pathlib import Path
from diagnose.tracefile.writer import TraceWriter
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
TraceWriter(Path(sys.argv[1]))
os._exit(0)
"""
"""Killed by the system when a file grows beyond so many bytes: in the middle of SQLite's own writes."""

CALLS = """
import os, sqlite3, sys
from pathlib import Path
from diagnose.tracefile.writer import TraceWriter
left = int(sys.argv[2])
def count(frame, event, function):
    global left
    if event in ("c_call", "c_return"):
        left -= isinstance(getattr(function, "__self__", None), sqlite3.Connection)
        if left <= 0:
            os._exit(9)
sys.setprofile(count)
TraceWriter(Path(sys.argv[1]))
os._exit(0)
"""
"""Ends at the n-th call of SQLite, or after it."""


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits")
@pytest.mark.parametrize("how", ["bytes", "calls"])
def test_a_trace_killed_while_it_is_created_says_that_nothing_was_recorded(how: str, tmp_path: Path) -> None:
    script, points = (CALLS, range(1, 70, 4)) if how == "calls" else (LIMITED, (0, 300, 512, 1000, 65536, 500_000))
    ended = set()
    for point in points:
        path = tmp_path / str(point) / "a.diag"
        done = subprocess.run([sys.executable, "-c", script, str(path), str(point)], cwd=ROOT, capture_output=True)
        ended.add(done.returncode)
        before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
        with pytest.raises(TraceError, match="nothing was recorded yet") as caught:
            read_trace(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    assert ended == ({9, 0} if how == "calls" else {-signal.SIGXFSZ})


def test_a_trace_of_an_earlier_release_killed_between_head_and_tables(tmp_path: Path) -> None:
    """Their head was a transaction of its own."""
    for version in (0, 1):
        path = tmp_path / f"{version}.diag"
        db = sqlite3.connect(path)
        for pragma in ("page_size = 65536", f"application_id = {fmt.APPLICATION_ID}", f"user_version = {version}"):
            db.execute(f"PRAGMA {pragma}")
        db.close()
        with pytest.raises(TraceError, match="nothing was recorded yet"):
            read_trace(path)


def test_a_live_trace_can_be_read_up_to_its_last_commit_and_does_not_stop_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.diag"
    writer = TraceWriter(path)
    sample.fill(writer)
    writer.commit()
    writer.info("not", "committed")
    with read_trace(path) as trace:
        assert (trace.sealed, trace.status, len(trace.steps)) == (False, "interrupted", 4)
        assert "not" not in trace.info
        writer.commit()
        writer.seal("complete")
        assert not trace.sealed
        sample.everything(trace)
    with read_trace(path) as trace:
        assert trace.sealed and trace.info["not"] == "committed"


def test_a_writer_in_the_middle_of_a_commit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diagnose.tracefile.recover._BUSY_SECONDS", 0.05)
    writer = TraceWriter(tmp_path / "a.diag")
    db = writer._store._db
    assert db is not None
    db.execute("PRAGMA cache_size = 1")  # forces pages into the file before the commit, which takes the exclusive lock
    sample.fill(writer)
    writer.array(np.zeros(200_000))
    with pytest.raises(TraceError, match="being written right now"):
        read_trace(tmp_path / "a.diag")
    writer.close()
    with read_trace(tmp_path / "a.diag") as trace:
        assert len(trace.steps) == 4
