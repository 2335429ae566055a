"""The heaviest files of up to 10 MB that we can think of, each given to each verb in a process of its own: read or
refused within ten seconds and 500 MB."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

from tools.attacks import bases, heavy
from tools.attacks.forged import VERBS
from tools.attacks.runner import Attack, Failed, Measured

SECONDS = 10.0
MEGABYTES = 500.0
LARGEST = 10 * 2**20
COMPUTES = 25
"""Seconds of the processor after which a command is stopped."""


def _prepare(folder: Path) -> None:
    bases.real_fit(folder)


def _load(folder: Path) -> tuple[Path, list[tuple[str, str]]]:
    """The folder, and all pairs of (file, verb)."""
    pairs = [(name, verb) for name in heavy.traces(folder / "fit.diag") for verb in VERBS]
    pairs += [(name, "identify") for name in heavy.WEIGHTS]
    # The same order every time, but such that a short run meets a bit of everything.
    random.Random(5).shuffle(pairs)
    return folder, pairs


def _case(loaded: tuple[Path, list[tuple[str, str]]], number: int, chance: random.Random, folder: Path) -> str:
    base, pairs = loaded
    name, verb = pairs[number % len(pairs)]
    of_weights = name in heavy.WEIGHTS
    path = heavy.WEIGHTS[name](folder) if of_weights else folder / f"{name}.diag"
    if not of_weights:
        path.write_bytes(heavy.trace(base / "fit.diag", name))
    if path.stat().st_size > LARGEST:
        raise RuntimeError(f"{name} has {path.stat().st_size:,} bytes, more than is promised for")
    trace, weights = (base / "fit.diag", path) if of_weights else (path, base / "end.weights.h5")
    words = {"identify": [str(weights)], "report": ["--out", str(folder / "out")]}.get(verb, [])
    if verb == "redact":
        words = ["--out", str(folder / "redacted.diag")]
    code, err, seconds, megabytes = _measure([verb, str(trace), *words], folder)
    if "Traceback (most recent" in err:
        raise Failed(f"{verb} of {name}: a traceback: {err.strip().splitlines()[-1][:200]}")
    if code not in (0, 1, 2):
        raise Failed(f"{verb} of {name}: ends with {code} after {seconds:.1f} s and {megabytes:.0f} MB")
    if seconds > SECONDS or megabytes > MEGABYTES:
        raise Failed(f"{verb} of {name}: {seconds:.1f} s and {megabytes:.0f} MB, exit code {code}")
    return Measured(f"{verb} {'answered' if code == 0 else 'refused'}", f"{verb}|{name}", seconds, megabytes)


def _measure(words: list[str], folder: Path) -> tuple[int, str, float, float]:
    """Exit code, standard error, seconds of the processor and peak megabytes of one command."""
    with (folder / "err.txt").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "diagnose", *words], cwd=folder, env=bases.environment(),
            stdout=subprocess.DEVNULL, stderr=err,
        )  # fmt: skip
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (COMPUTES, COMPUTES + 5))
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = (folder / "err.txt").read_text("utf-8", "replace")
    return process.returncode, text, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


BOUNDS = Attack(
    "bounds", "heavy files of up to 10 MB, each given to each verb in a process of its own", _prepare, _load, _case, 12,
    seconds=None, megabytes=None, hang=600,
)  # fmt: skip
