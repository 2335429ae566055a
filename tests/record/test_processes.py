"""Processes that end badly or multiply: a killed fit leaves a readable trace, a forked child its parent's alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import pytest

from diagnose import Tracer, read_trace
from diagnose.analysis.analyze import analyse_file
from diagnose.errors import TraceError
from tests.record.fits import fit, linear, rows

ROOT = Path(__file__).resolve().parents[2]
BATCHES = 400  # 5 ms and more each, so most of them are older than what a kill may cost
LOST = 250


def test_a_killed_fit_leaves_a_trace_with_all_but_the_last_moments(tmp_path: Path) -> None:
    path = tmp_path / "killed.diag"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.record.killed_fit", str(path)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == BATCHES:
            process.send_signal(signal.SIGKILL)
            break
    process.wait(timeout=60)
    assert process.returncode == -signal.SIGKILL
    with read_trace(path) as trace:
        assert [e.detail for e in trace.events] == []
        assert not trace.sealed and trace.status == "interrupted"
        assert len(trace.steps) >= BATCHES - LOST
        assert [s.step for s in trace.steps] == list(range(len(trace.steps)))
        assert len(trace.epochs) >= (BATCHES - LOST) // 12 - 1
        x, _ = rows(12)
        for step in trace.steps:
            assert trace.batch(step.batch).x.tobytes() in {row.tobytes() for row in x}
        steps = len(trace.steps)
    diagnosis = analyse_file(path)
    assert diagnosis.notice is not None and "interrupted" in diagnosis.notice and f"{steps} steps" in diagnosis.notice
    assert diagnosis.trace["status"] == "interrupted"


def test_a_fit_that_raised_leaves_a_trace_that_says_so(tmp_path: Path) -> None:
    class Raises(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise RuntimeError("enough")

    model = linear()
    tracer = Tracer(tmp_path / "fit.diag")
    x, y = rows()
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(x, y, batch_size=4, epochs=5, verbose=0, callbacks=[tracer, Raises()])
    diagnosis = tracer.diagnose()
    assert diagnosis.notice is not None and "did not reach its end" in diagnosis.notice
    assert (diagnosis.steps_total, [e.epoch for e in diagnosis.epoch_rows]) == (6, [1])
    assert diagnosis.replay is not None and diagnosis.replay.steps == diagnosis.replay.reproduced > 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_write_its_parents_trace(tmp_path: Path) -> None:
    codes: list[int] = []

    class Forks(keras.callbacks.Callback):
        tracer: Tracer

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch != 1:
                return
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries that do not like to be forked
                child = os.fork()
            if child == 0:
                recorder = self.tracer.recorder
                assert recorder is not None
                active = recorder.active()
                recorder.finish("failed")
                os._exit(1 if active else 0)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    forks = Forks()
    forks.tracer = Tracer(tmp_path / "fit.diag")
    x, y = rows()
    linear().fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[forks, forks.tracer])
    assert codes == [0, 0]
    with read_trace(forks.tracer.path) as trace:
        assert trace.status == "complete" and len(trace.steps) == 6


def test_an_older_trace_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    trace, _ = fit(tmp_path, epochs=1)
    trace.close()
    trace, _ = fit(tmp_path, epochs=2)
    assert len(trace.epochs) == 2
    trace.close()
    other = tmp_path / "notes.txt"
    other.write_text("keep me")
    x, y = rows()
    try:
        tracer = Tracer(other)
    except TraceError:
        tracer = None  # refusing at once is as good
    except Exception as error:
        assert "not a trace" in str(error)
        tracer = None
    if tracer is not None:
        with pytest.warns(UserWarning, match="not a trace"):
            linear().fit(x, y, epochs=1, verbose=0, callbacks=[tracer])
    assert other.read_text() == "keep me"
