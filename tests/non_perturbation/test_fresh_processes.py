"""The same comparison with the untraced fits in a process of their own, which never imports `diagnose`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import BACKEND
from tests.cli.command import start as start_python

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


LIBRARIES = """
import sys
import keras
import numpy as np
from diagnose import Tracer

asked = []

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "tensorflow":
            asked.append(name)

model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.zeros((4, 2), "float32")
model.fit(x, x[:, :1], verbose=0)
before = "tensorflow" in sys.modules
sys.meta_path.insert(0, Finder)
tracer = Tracer("fit.diag")
model.fit(x, x[:, :1], verbose=0, callbacks=[tracer])
tracer.diagnose()
assert before or not asked, "it imported TensorFlow, which takes seconds and prints"
from keras.src.utils.module_utils import tensorflow
assert before or tensorflow._available is None
"""


@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow is there")
def test_no_other_framework_is_imported(tmp_path: Path) -> None:
    done = start_python("-c", LIBRARIES, cwd=tmp_path, KERAS_BACKEND=BACKEND).done()
    assert done.code == 0, done.stderr


def said(stderr: str) -> list[str]:
    """What went to stderr, without the start-up lines of the libraries (they carry times and process ids)."""
    return [
        line
        for line in stderr.splitlines()
        if not re.match(r"^[IWE]\d{4} |WARNING: All log messages|\d{4}-\d\d-\d\d ", line)
    ]
