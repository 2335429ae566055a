"""Recordings killed at any moment: what was acknowledged is there and right, or nothing was recorded yet."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from diagnose.errors import TraceError
from diagnose.tracefile import format as fmt
from diagnose.tracefile.reader import Trace, read_trace
from tests.tracefile import killed_writer
from tools.attacks.bases import ROOT, environment
from tools.attacks.runner import Attack, Failed

BATCHES_BEHIND = 250
"""Steps of the last moments that a killed fit may lose: what its queue held."""
NOTHING = "nothing was recorded yet"


def kill_a_writer(path: Path, seconds: float, page_bytes: int = fmt.PAGE_BYTES) -> int:
    """Has a process of its own begin and write a trace, kills it after so long, and returns the number of steps that
    it had acknowledged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.dup2(write, 1)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            os.write(1, b"0\n")
            killed_writer.main(path, page_bytes)
        finally:
            os._exit(1)
    os.close(write)
    os.read(read, 2)
    said = b""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([read], [], [], left)[0]:
            part = os.read(read, 65536)
            if not part:
                break
            said += part
    os.kill(child, signal.SIGKILL)
    while part := os.read(read, 65536):
        said += part
    os.close(read)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise Failed("the writer ended by itself")
    # The last line may have been cut by the kill.
    lines = [line for line in said.split(b"\n")[:-1] if line]
    return int(lines[-1]) if lines else 0


def check_prefix(trace: Trace) -> None:
    """Holds all steps and states of a killed writer's trace against what it wrote. Raises Failed."""
    if trace.sealed or trace.status != "interrupted":
        raise Failed(f"the trace says {trace.status}, sealed: {trace.sealed}")
    if len(trace.steps) != len(trace.states) or len(trace.steps) % 3:
        raise Failed(f"{len(trace.steps)} steps, {len(trace.states)} states: not as of a commit")
    for number, (step, state) in enumerate(zip(trace.steps, trace.states, strict=True)):
        if (step.step, state.version) != (number, number + 1):
            raise Failed(f"step {step.step} and version {state.version} at place {number}")
        if trace.batch(step.batch).x.tobytes() != killed_writer.row_of(number).tobytes():
            raise Failed(f"the row of step {number} is another")
        if trace.arrays(state)[0].tobytes() != killed_writer.weights_of(number).tobytes():
            raise Failed(f"the weights of step {number} are others")


def _writer(loaded: None, number: int, chance: random.Random, folder: Path) -> str:
    path = folder / "a.diag"
    # Every other one while the file is being made.
    acknowledged = kill_a_writer(path, chance.uniform(0.0, 0.012 if number % 2 else 0.2), chance.choice(fmt.PAGE_SIZES))
    before = _files(folder)
    if not path.exists():
        return "before the file was made"
    how = _held(path, acknowledged)
    if _files(folder) != before:
        raise Failed(f"reading changed the files: {sorted(before)} / {sorted(_files(folder))}")
    return how


def _held(path: Path, acknowledged: int) -> str:
    try:
        with read_trace(path) as trace:
            check_prefix(trace)
            if len(trace.steps) < acknowledged:
                raise Failed(f"{acknowledged} steps were acknowledged, {len(trace.steps)} are there")
            return "all acknowledged there" if acknowledged else "read, nothing acknowledged"
    except TraceError as error:
        if acknowledged or NOTHING not in str(error).lower():
            said = str(error).replace(str(path), "PATH")
            raise Failed(f"{'steps' if acknowledged else 'nothing'} acknowledged, and it says: {said}") from error
        return NOTHING


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


WRITERS = Attack(
    "kills", "writers killed at random moments, half of them while the file is made", lambda folder: None,
    lambda folder: None, _writer, 60, megabytes=None, hang=300,
)  # fmt: skip


def _fit(loaded: None, number: int, chance: random.Random, folder: Path) -> str:
    path = folder / "fit.diag"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.record.killed_fit", str(path)],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    wanted = chance.choice((0, 1, 2, 5, 30, 200, 400))
    trained = 0
    while trained < wanted:
        line = process.stdout.readline()
        if not line:
            raise Failed("the fit ended by itself")
        trained = int(line)
    if not wanted:
        while not path.exists() and process.poll() is None:
            time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    try:
        with read_trace(path) as trace:
            _check_fit(trace, trained)
            return f"a prefix, {'from' if wanted > 1 else 'before'} step 2"
    except TraceError as error:
        if trained > BATCHES_BEHIND or NOTHING not in str(error).lower():
            raise Failed(f"{wanted} batches trained, and it says: {error}".replace(str(path), "PATH")) from error
        return NOTHING


def _check_fit(trace: Trace, trained: int) -> None:
    from tests.record.fits import rows

    x, _ = rows(12)
    known = {row.tobytes() for row in x}
    if trace.sealed or [step.step for step in trace.steps] != list(range(len(trace.steps))):
        raise Failed("the steps of a killed fit are not a prefix")
    if len(trace.steps) < trained - BATCHES_BEHIND:
        raise Failed(f"{len(trace.steps)} steps of {trained}")
    if any(trace.batch(step.batch).x.tobytes() not in known for step in trace.steps):
        raise Failed("a row that was never trained on")


FITS = Attack(
    "killed-fits", "fits killed at random moments", lambda folder: None, lambda folder: None, _fit, 3, megabytes=None,
    hang=300,
)  # fmt: skip
