"""Counts what a traced step does more than an untraced one: calls of functions, on the training thread and on those
that the tracer starts. A test holds them against `bounds.json`, so that the cost of a step cannot creep back unseen.

    python benchmarks/counter.py                                  # counts, and shows where the calls go
    python benchmarks/counter.py --write [--python jax=PATH ...]  # makes bounds.json anew, for all backends there are

A fit of N and one of 2 N steps are counted, traced and untraced; what a fit does once falls out of the difference:

    own = (traced(2 N) - traced(N) - untraced(2 N) + untraced(N)) / N

Why calls: they are the same on a busy machine, few percent apart, where times are not; and most of what tracing adds to
a step of a small model is Python. Machine instructions were tried: `perf` has no counter on many virtual machines, and
`callgrind` takes more than half a minute to start a backend before it counts anything. What calls do not show is how
much one of them does: bytes copied, a wait for a device. Threads that a backend makes without Python are not counted,
either (what TensorFlow calls in its pipelines). Level "auto" is left out: what it chooses depends on time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import gc
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.machine import versions
from benchmarks.models import MODELS, Training

BOUNDS = Path(__file__).with_name("bounds.json")
LEVELS = (0, 1, 2, 3)
STEPS = 64
"""N: steps may be written in blocks of as many."""

HEADROOM = 1.3
ATTEMPTS = 3

FREE = 10
"""Calls a step that are always free, so that a bound of nearly nothing can be kept, too."""

WAITING = (threading.__file__, os.path.dirname(concurrent.futures.__file__), queue.__file__)
LOCKS = ("lock.", "RLock.", "monotonic")
"""How often a thread looks whether another has done its part depends on how busy the machine is: not counted."""

Calls = Counter[tuple[str, str]]
"""By file and function; "C" for functions that are no Python."""


def counted(do: Callable[[], Any]) -> Calls:
    """Calls on this thread and on the threads that Python starts meanwhile."""
    found: Calls = Counter()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event not in ("call", "c_call") or (file := frame.f_code.co_filename).startswith(WAITING):
            return
        if event == "call":
            found[file, frame.f_code.co_name] += 1
        elif not (name := getattr(argument, "__qualname__", str(argument))).startswith(LOCKS):
            found["C", name] += 1

    before = sys.getprofile(), threading.getprofile()
    gc.collect()
    gc.disable()  # what is collected, and when, is no part of a step
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
        gc.enable()
    return found


class Counting:
    """Counts fits of one small model. What the first of each kind compiles is not counted."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "fit.diag"
        self._training = MODELS["tiny MLP"](2 * STEPS)
        self._fit(1, None)
        self._untraced = self._difference(None)

    def own(self, level: int) -> Calls:
        """Calls of a traced step beyond those of an untraced one, times `STEPS`; `total()` of it, too."""
        self._fit(1, level)
        found = self._difference(level)
        found.subtract(self._untraced)
        return found

    def _difference(self, level: int | None) -> Calls:
        short, long = (self._counted(steps, level) for steps in (STEPS, 2 * STEPS))
        long.subtract(short)
        return long

    def _counted(self, steps: int, level: int | None) -> Calls:
        from diagnose.record import worker

        for _ in range(ATTEMPTS):
            # Without commits in between: these come by the clock, for a fit that is slow more often.
            with warnings.catch_warnings(), mock.patch.object(worker, "COMMIT_SECONDS", 3600.0):
                warnings.simplefilter("ignore")  # that recording has stopped: it is asked for below
                calls = counted(lambda: self._fit(steps, level))
            if level is None or self._recorded() == steps:
                return calls
        raise RuntimeError(f"in {ATTEMPTS} attempts, no recording came to its end: the disk does not answer")

    def _recorded(self) -> int:
        """Steps in the trace: where the disk stands still, recording stops and would seem to cost nothing."""
        from diagnose.tracefile.reader import read_trace

        with read_trace(self._path) as trace:
            return len(trace.steps)

    def _fit(self, steps: int, level: int | None) -> None:
        from diagnose import Tracer

        self._path.unlink(missing_ok=True)
        first: Training = self._training.first(steps)
        first.fit(1, [] if level is None else [Tracer(self._path, level=level)])


def per_step(calls: Calls) -> float:
    """Own calls of one step."""
    return calls.total() / STEPS


def bound(backend: str, level: int) -> float | None:
    """What a step may do at most; None for a backend of which nothing is stored."""
    stored = json.loads(BOUNDS.read_text("utf-8"))["calls"].get(backend)
    return None if stored is None else HEADROOM * stored["levels"][str(level)] + FREE


def most(calls: Calls, number: int = 15) -> str:
    """Where most of them go, a line each."""
    return "\n".join(f"{n / STEPS:9.2f}  {_place(*where)}" for where, n in calls.most_common(number))


def _place(file: str, function: str) -> str:
    return function if file == "C" else f"{function} ({'/'.join(Path(file).parts[-2:])})"


def count() -> tuple[str, dict[str, float]]:
    """The backend of this process, and own calls per step by level."""
    import keras

    backend = keras.config.backend()
    found = {}
    with tempfile.TemporaryDirectory(prefix="diagnose-count-") as folder:
        counting = Counting(Path(folder))
        for level in LEVELS:
            calls = counting.own(level)
            found[str(level)] = round(per_step(calls), 1)
            known = bound(backend, level)
            print(f"{backend}, level {level}: {per_step(calls):.1f} calls a step, bound {known or 0:.0f}")
            print(most(calls), flush=True)
    return backend, found


def write(pythons: dict[str, str]) -> int:
    """Counts each backend in a process of its own, and stores what was found; those that are not there stay as they
    were."""
    document: dict[str, Any] = {"how": "python benchmarks/counter.py --write", "steps": STEPS, "calls": {}}
    if BOUNDS.exists():
        document["calls"] = json.loads(BOUNDS.read_text("utf-8"))["calls"]
    for backend in ("tensorflow", "jax", "torch"):
        words = [pythons.get(backend, sys.executable), __file__, "--as-json"]
        done = subprocess.run(words, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
        if done.returncode:
            print(f"{backend}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            continue
        document["calls"][backend] = json.loads(done.stdout.splitlines()[-1])
        print(f"{backend}: {document['calls'][backend]['levels']}")
    BOUNDS.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    from benchmarks.run import backend_python

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="stores what is counted in bounds.json")
    parser.add_argument("--python", type=backend_python, action="append", default=[], metavar="BACKEND=PATH")
    parser.add_argument("--as-json", action="store_true", help="prints what was counted as the last line")
    options = parser.parse_args(argv)
    if options.write:
        return write(dict(options.python))
    _, found = count()
    if options.as_json:
        print(json.dumps({"date": datetime.now(UTC).date().isoformat(), "levels": found, "versions": versions()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
