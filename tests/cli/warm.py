"""Commands in processes of their own that need not import anything: each is forked from one that has.

What a command does, prints and ends with is as with `tests.cli.command.diagnose`; four fifths of its time, the imports,
are spent once. For tests whose subject is not how the process starts or what is in its environment by then.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.abc
import json
import os
import pkgutil
import resource
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.command import BACKEND, ROOT, TIMEOUT, Done, own_lines

BACKENDS = ("keras", "tensorflow", "jax", "torch")


@dataclass(frozen=True)
class Used(Done):
    """A finished command, and what it took: processor seconds, its imports included, and the peak of its memory."""

    seconds: float
    megabytes: float


class Parent:
    """The process that has imported what commands need."""

    def __init__(self, blocked: bool) -> None:
        variables = {n: value for n, value in os.environ.items() if n not in ("KERAS_BACKEND", "PYTHONWARNINGS")}
        variables |= {"CUDA_VISIBLE_DEVICES": "-1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT),
                      "TF_CPP_MIN_LOG_LEVEL": "3", "WANTED_BACKEND": BACKEND, "MPLBACKEND": "Agg"}  # fmt: skip
        if not blocked:
            variables["KERAS_BACKEND"] = BACKEND
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from tests.cli import warm; warm.serve()", *(["blocked"] if blocked else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=variables,
        )  # fmt: skip

    def run(self, words: tuple[str, ...], cwd: Path, environment: dict[str, str], limit: int | None) -> Used:
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory(prefix="command-") as folder:
            asked = {"words": words, "cwd": str(cwd), "environment": environment, "folder": folder, "limit": limit}
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], TIMEOUT)[0]:
                raise TimeoutError(f"diagnose {' '.join(words)} does not end")
            code, seconds = json.loads(self.process.stdout.readline())
            out, errors = ((Path(folder) / name).read_bytes().decode("utf-8", "replace") for name in ("out", "errors"))
            peak = Path(folder) / "peak"
            megabytes = int(peak.read_text()) / 1e3 if peak.exists() else float("inf")
        return Used(code, out, own_lines(errors), seconds, megabytes)


@functools.cache
def parent(blocked: bool) -> Parent:
    found = Parent(blocked)
    atexit.register(found.process.communicate)  # closes its standard input, by which it ends
    return found


def diagnose(*arguments: str | Path, cwd: Path, limit: int | None = None, **environment: str) -> Used:
    """`python -m diagnose *arguments`. `limit`: processor seconds after which it is killed."""
    return parent(False).run(tuple(map(str, arguments)), cwd, environment, limit)


def without_keras(*arguments: str | Path, cwd: Path, limit: int | None = None, **environment: str) -> Used:
    """The same where importing Keras or any of its backends fails."""
    return parent(True).run(tuple(map(str, arguments)), cwd, environment, limit)


# ── in the process that forks ──


class Blocks(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] in BACKENDS:
            raise ImportError(f"{name} is blocked")


def serve() -> None:
    """Reads a command a line, forks, and answers with its exit code and seconds. Only a child returns."""
    if "blocked" in sys.argv:
        sys.meta_path.insert(0, Blocks())
        assert not set(BACKENDS) & set(sys.modules)
    import diagnose
    from diagnose.cli import main

    for module in pkgutil.walk_packages(diagnose.__path__, "diagnose."):
        if not module.name.rpartition(".")[2].startswith("_"):
            try:
                importlib.import_module(module.name)
            except ImportError:  # it needs Keras
                continue
    for name in ("matplotlib.pyplot", "matplotlib.backends.backend_agg", "jinja2", "h5py", "pandas"):
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        imports = _seconds(resource.getrusage(resource.RUSAGE_SELF))
        child = os.fork()
        if child == 0:
            _become(asked, imports)
            try:
                sys.exit(main(asked["words"]))
            finally:
                _note_peak(Path(asked["folder"]))
        _, status, used = os.wait4(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), _seconds(used) + imports]), flush=True)


def _seconds(used: Any) -> float:
    return float(used.ru_utime + used.ru_stime)


def _become(asked: dict[str, Any], imports: float) -> None:
    """Makes the child a process such as a shell would have started."""
    folder = Path(asked["folder"])
    for number, path, flags in (
        (0, Path(os.devnull), os.O_RDONLY),
        (1, folder / "out", os.O_WRONLY | os.O_CREAT),
        (2, folder / "errors", os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    os.chdir(asked["cwd"])
    os.environ.update(asked["environment"])
    sys.argv = ["diagnose", *asked["words"]]
    sys.path[0] = asked["cwd"]
    if asked["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (asked["limit"], asked["limit"] + 1))


def _note_peak(folder: Path) -> None:
    """From /proc: `ru_maxrss` counts the process that this one was forked from."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        (folder / "peak").write_text(peak.split()[1])
