"""MultiWorkerMirroredStrategy, two local processes: the chief records, the other stays silent, nobody waits."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT = 120
"""Seconds; workers that wait for each other wait for ever."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs tensorflow"),
]


@dataclass(frozen=True)
class Worker:
    said: dict[str, Any]
    errors: str
    folder: Path

    @property
    def files(self) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())


def pair(folder: Path, *, traced: bool) -> list[Worker]:
    """Both workers of one run; with `traced`, under `diagnose run` and with a tracer of their own on top."""
    with socket.socket() as a, socket.socket() as b:
        for s in (a, b):
            s.bind(("127.0.0.1", 0))
        ports = [str(s.getsockname()[1]) for s in (a, b)]
    started = []
    for index in (1, 0):
        own = folder / f"worker{index}"
        own.mkdir(parents=True)
        command = [sys.executable]
        words = [*ports, str(index)]
        if traced:
            command += ["-m", "diagnose", "run", "--out", str(own / "out"), str(HERE / "worker.py"), "--"]
            words.append(str(own / "fit.diag"))
        else:
            command.append(str(HERE / "worker.py"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("KERAS_BACKEND", None)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append((own, subprocess.Popen([*command, *words], cwd=own, env=environment, **pipes)))  # type: ignore[call-overload]
    found = []
    try:
        for own, process in started:
            out, errors = process.communicate(timeout=LIMIT)
            assert process.returncode == 0, errors[-3000:]
            said = next(json.loads(line) for line in out.splitlines() if line.startswith("{"))
            found.append(Worker(said, errors, own))
    finally:
        for _, process in started:
            process.kill()
            process.wait()
    return found[::-1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Worker], list[Worker]]:
    folder = tmp_path_factory.mktemp("workers")
    return pair(folder / "plain", traced=False), pair(folder / "traced", traced=True)


def test_training_is_the_untraced_one_on_both_workers(runs: tuple[list[Worker], list[Worker]]) -> None:
    for plain, traced in zip(*runs, strict=True):
        assert traced.said["history"] == plain.said["history"]
        assert traced.said["state"] == plain.said["state"]
    states = {worker.said["state"] for worker in runs[0]}
    assert len(states) == 2, "batch-norm statistics differ between workers; the test is to see that"


def test_only_the_chief_records(runs: tuple[list[Worker], list[Worker]]) -> None:
    _, (chief, other) = runs
    assert "fit.diag" in chief.files and "out/report.html" in chief.files
    assert other.files == []
    assert "diagnose" not in other.errors
    assert other.said["refused"].startswith("DiagnoseError: ") and "chief" in other.said["refused"]


def test_every_step_of_the_chief_is_replayed_and_the_report_says_what_is_not(
    runs: tuple[list[Worker], list[Worker]],
) -> None:
    chief = runs[1][0]
    (fit,) = json.loads((chief.folder / "out" / "diagnosis.json").read_text())["fits"]
    assert fit["steps"] == fit["replay"]["steps"] == fit["replay"]["reproduced"] == 9
    assert fit["replay"]["max_abs_error"] == {} and fit["ledgers"] == [], "logged values are over both workers"
    said = (chief.folder / "out" / "report.html").read_text()
    assert "MultiWorkerMirroredStrategy trained on 2 replicas and this trace holds the share of 1" in said
