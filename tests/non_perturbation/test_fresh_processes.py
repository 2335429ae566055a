"""The same comparison with the untraced fits in a process of their own, which never imports `diagnose`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("dropout_and_batch_norm", "early_stopping_restore", "generator", "interrupted")


def start(mode: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.non_perturbation.one_process", mode, str(folder), *NAMES]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_fits_in_fresh_processes_are_the_same(tmp_path: Path) -> None:
    processes = {mode: start(mode, tmp_path / mode) for mode in ("untraced", "traced")}
    output = {mode: process.communicate(timeout=300) for mode, process in processes.items()}
    assert [p.returncode for p in processes.values()] == [0, 0], output
    untraced, traced = (json.loads((tmp_path / mode / "outcome.json").read_text()) for mode in processes)
    assert list(untraced) == sorted(NAMES)
    assert untraced == traced
    assert output["untraced"][0] == output["traced"][0]
    assert said(output["untraced"][1]) == said(output["traced"][1])
    assert len(list((tmp_path / "traced").glob("*.diag"))) == len(NAMES)


def said(stderr: str) -> list[str]:
    """What went to stderr, without the start-up lines of the libraries (they carry times and process ids)."""
    return [
        line
        for line in stderr.splitlines()
        if not re.match(r"^[IWE]\d{4} |WARNING: All log messages|\d{4}-\d\d-\d\d ", line)
    ]
