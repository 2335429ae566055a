"""The undamaged files that attacks begin with, and all that can be read out of a trace, for comparing."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diagnose.errors import ReplayError
from diagnose.tracefile.reader import Trace, store_diagnosis
from diagnose.tracefile.writer import TraceWriter
from tests.tracefile import sample

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """What a process started by an attack needs to run this checkout's code."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "Agg"}


def real_fit(folder: Path) -> None:
    """A traced and diagnosed fit in `folder`: fit.diag, best.weights.h5, end.weights.h5, end.keras."""
    shutil.copytree(_real_fit(), folder, dirs_exist_ok=True)


@functools.cache
def _real_fit() -> Path:
    # One for all attacks of a run.
    folder = Path(tempfile.mkdtemp(prefix="attack-fit-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "tools.attacks.small_fit", str(folder)],
        cwd=ROOT, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"The fit that the attacks begin with failed:\n{done.stderr[-3000:]}")
    return folder


class _Writer(TraceWriter):
    """Says of the end of the fit what a recorder says."""

    def event(self, kind: str, detail: Any, **at: Any) -> None:
        super().event(kind, {"state": 3} if kind == "train-end" else detail, **at)


def write_sample(path: Path, *, seal: bool = True) -> None:
    """A small trace with records of every kind, written without Keras."""
    with _Writer(path) as writer:
        sample.fill(writer)
        if seal:
            writer.seal("complete")


def samples(folder: Path) -> None:
    """A sealed trace with a diagnosis, and one that was never sealed."""
    write_sample(folder / "sealed.diag")
    store_diagnosis(folder / "sealed.diag", {"verdict": "shifted", "numbers": [33.2164, 38.8818]})
    write_sample(folder / "unsealed.diag", seal=False)


def contents(trace: Trace, plain: Callable[[Any], Any] = sample.plain) -> dict[str, Any]:
    """All that a reader can get out of a trace, bit for bit comparable, with the name of the error where it refuses.
    Errors other than the package's own pass through, as does a TraceError: it refuses the file.

    Args:
        plain: makes values comparable; what only reads may pass `touched`.
    """

    def or_why(get: Callable[[], Any]) -> Any:
        try:
            return plain(get())
        except ReplayError:
            return ("ReplayError",)  # its message names the file

    found: dict[str, Any] = {
        "info": plain(trace.info),
        "status": (trace.sealed, trace.status),
        "states": plain(trace.states),
        "steps": plain(trace.steps),
        "epochs": plain(trace.epochs),
        "evaluations": plain(trace.evaluations),
        "events": plain(trace.events),
        "signatures": plain(trace.signatures),
        "final": or_why(lambda: trace.final),
        "diagnosis": or_why(trace.diagnosis),
    }
    for state in trace.states:
        found[f"arrays of state {state.state}"] = or_why(lambda state=state: trace.arrays(state))
        for i, digest in enumerate(state.optimizer_arrays or ()):
            found[f"slot {i} of state {state.state}"] = or_why(lambda digest=digest: trace.array(digest))
    for number, step in enumerate(trace.steps):
        found[f"batch {number}"] = or_why(lambda step=step: trace.batch(step.batch))
        if step.generator is not None:
            found[f"generator {number}"] = or_why(lambda step=step: trace.array(step.generator))
    for number, evaluation in enumerate(trace.evaluations):
        if evaluation.batches is not None:
            found[f"list {number}"] = refs = or_why(lambda e=evaluation: trace.batches(e.batches))
            if refs != ("ReplayError",):
                for i, ref in enumerate(trace.batches(evaluation.batches)):
                    found[f"batch {i} of list {number}"] = or_why(lambda ref=ref: trace.batch(ref))
    return found


def touched(value: Any) -> tuple[()]:
    """Stands for any value."""
    return ()
