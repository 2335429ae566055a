"""All tests, each on one backend: python tools/tests.py [PYTEST ARGUMENT ...]

Most run on TensorFlow, the default. Those that fit models and are not about the backend (the mark `any_backend`, see
`tests/conftest.py`) run on torch, where a tiny fit takes a fifth of the processor time: nothing is traced into graphs
there. Without torch, all run on TensorFlow. Both parts run whatever the first gives; ends with 1 if one failed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = (("tensorflow", "not any_backend"), ("torch", "any_backend"))
NOTHING_RAN = 5
"""pytest's exit status where what was asked for is all of the other part."""


def run(backend: str, chosen: str, arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pytest", *(["-m", chosen] if chosen else []), *arguments]
    print(f"== on {backend}: {' '.join(command[1:])}", flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": backend}, check=False).returncode


def main(given: list[str]) -> int:
    arguments = given or ["-q", "-n", "auto"]
    parts = PARTS if importlib.util.find_spec("torch") else (("tensorflow", ""),)
    codes = [run(backend, chosen, arguments) for backend, chosen in parts]
    return int(any(code not in (0, NOTHING_RAN) for code in codes) or set(codes) == {NOTHING_RAN})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
