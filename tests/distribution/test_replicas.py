"""tf.distribute.MirroredStrategy and keras.distribution.DataParallel: traced fits are the untraced ones, bit for bit,
and replay gives every step again, each replica on its own rows with its own statistics."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnose.tracefile.replicas import even_shares

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SETUPS = {
    ("mirrored", 2): ("everything", "two inputs", "tf.data", "own split", "synchronized"),
    ("mirrored", 3): ("everything",),
    ("data_parallel", 4): ("everything", "two inputs", "dense", "eager", "steps per execution"),
}
CASES = [(setup, devices, kind) for (setup, devices), kinds in SETUPS.items() for kind in kinds]
MIRRORED = [case for case in CASES if case[0] == "mirrored"]


@cache
def results(setup: str, devices: int, folder: Path) -> dict[str, Any]:
    library = {"mirrored": "tensorflow", "data_parallel": "jax"}[setup]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    command = [sys.executable, HERE / "fits.py", setup, str(devices), folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distribution")


@pytest.fixture
def found(folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    setup, devices, kind = request.param
    result: dict[str, Any] = results(setup, devices, folder)[kind]
    return result


@pytest.mark.slow
@pytest.mark.parametrize("found", CASES, indirect=True, ids=str)
def test_tracing_and_analysis_change_nothing(found: dict[str, Any]) -> None:
    assert found["errors"] == [] and found["missing"] == ["None"]
    assert found["same_history"], "History, of the traced fit and of the next one"
    assert found["same_contents"], "weights, optimizer, seeds and metrics, on every replica"
    assert found["untouched"], "analysis left something on a replica, or moved an array to other devices"


@pytest.mark.slow
@pytest.mark.parametrize("found", [c for c in CASES if c[2] != "synchronized"], indirect=True, ids=str)
def test_every_step_is_replayed_and_ledgers_close(found: dict[str, Any]) -> None:
    assert found["notice"] is None
    assert 0 < found["steps"] == found["reproduced"]
    assert found["max_abs_error"] < 1e-6
    assert found["residuals"] and max(map(abs, found["residuals"])) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("found", [c for c in CASES if c[2] != "synchronized"], indirect=True, ids=str)
def test_ledgers_end_at_what_the_untraced_model_evaluates_to(found: dict[str, Any]) -> None:
    assert len(found["evaluated"]) > 1
    for by_diagnosis, by_keras in found["evaluated"].values():
        assert by_diagnosis == pytest.approx(by_keras, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("found", [("mirrored", 2, "synchronized")], indirect=True, ids=str)
def test_synchronized_statistics_are_not_replayed_and_the_report_says_so(found: dict[str, Any]) -> None:
    assert found["steps"] is None and found["residuals"] == []
    assert "synchronized=True" in found["notice"] and "batch_normalization" in found["notice"]


@pytest.mark.slow
@pytest.mark.parametrize("found", MIRRORED, indirect=True, ids=str)
def test_batches_are_recorded_whole_and_in_order(found: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    replicas = found["replicas"]["count"]
    rows, size = (22, 8) if replicas == 2 else (25, 9)
    x = rng.normal(size=(rows, 3)).astype("float32")
    want = [x[i : i + size] for i in range(0, rows, size)]
    for i, leaves in enumerate(found["batches"]):
        np.testing.assert_array_equal(np.concatenate(leaves, axis=1), want[i % len(want)])
    assert found["replicas"] == {"strategy": "MirroredStrategy", "count": replicas, "local": replicas}


@pytest.mark.slow
@pytest.mark.parametrize("found", [("mirrored", 2, "everything"), ("mirrored", 2, "own split")], indirect=True, ids=str)
def test_replicas_do_have_statistics_of_their_own(found: dict[str, Any]) -> None:
    """Else the tests above would prove little."""
    assert found["replicas_differ"]


@pytest.mark.slow
@pytest.mark.parametrize("found", [("mirrored", 2, "tf.data")], indirect=True, ids=str)
def test_recorded_statistics_are_those_of_each_replicas_own_rows(found: dict[str, Any]) -> None:
    places = {(v["path"].split("/")[-1], v.get("replica", 0)): i for i, v in enumerate(found["variables"])}
    kernel, bias = (np.array(found["states"][0][i]) for i in (0, 1))
    batch = np.array(found["batches"][0][0])
    for replica in (0, 1):
        h = batch[4 * replica : 4 * replica + 4] @ kernel + bias
        recorded = found["states"][1][places["moving_mean", replica]]
        np.testing.assert_allclose(
            recorded, 0.01 * h.mean(axis=0), rtol=1e-5, atol=1e-8
        )  # from 0, with Keras's momentum of 0.99
        recorded = found["states"][1][places["moving_variance", replica]]
        np.testing.assert_allclose(recorded, 0.99 + 0.01 * h.var(axis=0), rtol=1e-5, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("found", [("mirrored", 2, "own split")], indirect=True, ids=str)
def test_an_uneven_split_is_noted(found: dict[str, Any]) -> None:
    assert found["shares"] == [[4, 2]]


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "replicas"), [(22, 2), (7, 3), (1, 2), (0, 2), (9, 4), (10, 4)])
def test_even_shares_are_those_of_tensorflow(rows: int, replicas: int) -> None:
    tf = pytest.importorskip("tensorflow")
    from tensorflow.python.data.experimental.ops.distribute import _LegacyRebatchDataset

    if rows == 0:
        assert even_shares(0, replicas) == (0,) * replicas
        return
    split = _LegacyRebatchDataset(tf.data.Dataset.range(rows).batch(rows), replicas)
    sizes = [len(part) for part in split.as_numpy_iterator()]
    assert even_shares(rows, replicas) == tuple(sizes + [0] * (replicas - len(sizes)))
