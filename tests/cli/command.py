"""Runs commands as a user does: a process of its own, from a folder elsewhere, with the package on the path."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).with_name("scripts")
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
TIMEOUT = 240

_LIBRARY_LOG = re.compile(
    r"WARNING: All log messages before absl::|[IWEF]\d{4} [\d:.]+ +\d+ |\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\."
)
_SECONDS = re.compile(r"\b\d+(ms|s|us)(/step|/epoch)?\b")


@dataclass(frozen=True)
class Done:
    """A finished process. `stderr` without what TensorFlow's C++ code logs on its own."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line on stderr, without its `diagnose: `."""
        assert "Traceback" not in self.stderr
        (line,) = self.stderr.splitlines()
        assert line.startswith("diagnose: "), line
        return line.removeprefix("diagnose: ")


@dataclass
class Started:
    process: subprocess.Popen[str]

    def done(self) -> Done:
        out, errors = self.process.communicate(timeout=TIMEOUT)
        return Done(self.process.returncode, out, own_lines(errors))


def own_lines(errors: str) -> str:
    """Standard error without what TensorFlow's C++ code logs on its own."""
    return "".join(line for line in errors.splitlines(keepends=True) if not _LIBRARY_LOG.match(line))


def start(*arguments: str | Path, cwd: Path, python: tuple[str, ...] = (), **environment: str) -> Started:
    """Starts `python *arguments`. `python`: options of the interpreter."""
    variables = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "PYTHONWARNINGS")}
    variables |= {
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "WANTED_BACKEND": BACKEND,
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, *python, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=variables,
        cwd=cwd,
    )
    return Started(process)


def start_diagnose(*arguments: str | Path, cwd: Path, python: tuple[str, ...] = (), **environment: str) -> Started:
    return start("-m", "diagnose", *arguments, cwd=cwd, python=python, **environment)


def diagnose(*arguments: str | Path, cwd: Path, python: tuple[str, ...] = (), **environment: str) -> Done:
    return start_diagnose(*arguments, cwd=cwd, python=python, **environment).done()


def without_times(text: str) -> str:
    """Keras prints how long a step took."""
    return _SECONDS.sub("TIME", text)


def strict_json(text: str) -> Any:
    """Parses JSON; NaN and Infinity, which Python would take, are errors."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def fits(out: Path) -> list[dict[str, Any]]:
    document = strict_json((out / "diagnosis.json").read_text("utf-8"))
    assert document["schema"] == 1
    return list(document["fits"])
