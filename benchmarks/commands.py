"""Runs a command and reads what it took: seconds of the processor, of the wall, and its peak of memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_BETWEEN = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = code = os.waitstatus_to_exitcode(status)
unit = 1 if sys.platform == "darwin" else 1024
wall = time.perf_counter() - began
print(json.dumps([code, {"cpu": used.ru_utime + used.ru_stime, "wall": wall, "memory": used.ru_maxrss * unit}]))
"""
"""A small process that starts the command: on Linux, a process's peak of memory is at least what the one that started
it had, and the one that measures has loaded a backend. So what takes less than 12 MB is not told apart."""


def run(words: Sequence[str], folder: Path) -> dict[str, float]:
    """Of `python WORDS`, with this interpreter and this `diagnose`: seconds, and bytes at its peak.

    Raises:
        RuntimeError: it did not end with 0.
    """
    import diagnose

    package = str(Path(diagnose.__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": package if not known else f"{package}{os.pathsep}{known}"}
    command = [sys.executable, "-c", _BETWEEN, sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    code, found = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"python {' '.join(words)} ended with {code}: {done.stderr[-500:]}")
    return dict(found)
