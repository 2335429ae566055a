"""All tests, each on one backend: python tools/run_tests.py [PYTEST ARGUMENT ...]

Most run on torch, where a tiny fit takes a fifth of the processor time: nothing is traced into graphs there. On
TensorFlow, the default, runs what is about how a fit is recorded and about the command (see `tests/conftest.py`, which
gives the others the mark `any_backend`), and what skipped itself on torch. Without torch, all run on TensorFlow. Both
parts run whatever the first gives; ends with 1 if one failed. `{backend}` in an argument becomes the part's.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTHING_RAN = 5
"""pytest's exit status where what was asked for is all of the other part."""


def run(backend: str, chosen: str, arguments: list[str], **names: str) -> int:
    words = [word.replace("{backend}", backend) for word in arguments]
    command = [sys.executable, "-m", "pytest", *(["-m", chosen] if chosen else []), *words]
    print(f"== on {backend}: {' '.join(command[1:])}", flush=True)
    environment = {**os.environ, "KERAS_BACKEND": backend, **names}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(given: list[str]) -> int:
    arguments = given or ["-q", "-n", "auto"]
    if importlib.util.find_spec("torch") is None:
        return run("tensorflow", "", arguments)
    with tempfile.TemporaryDirectory(prefix="run-tests-") as folder:
        skipped = Path(folder, "skipped.txt")
        skipped.touch()
        codes = [
            # Its threads take a third more time where a process a core runs.
            run("torch", "any_backend", arguments, SKIPPED_TO=str(skipped), OMP_NUM_THREADS="1"),
            run("tensorflow", "not any_backend", arguments, SKIPPED_ELSEWHERE=str(skipped)),
        ]
    return int(any(code not in (0, NOTHING_RAN) for code in codes) or set(codes) == {NOTHING_RAN})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
