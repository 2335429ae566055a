"""`rows="digests"`: the trace holds no training row; the analysis takes them from the arrays that `fit` was given."""

from __future__ import annotations

import gc
import sqlite3
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import DiagnoseError, Tracer, read_trace
from diagnose.record.live import LiveData
from tests.record.fits import linear

Array = np.ndarray[Any, Any]


def rows() -> tuple[Array, Array]:
    """Twelve rows none of whose bytes come about by chance."""
    chance = np.random.default_rng(11)
    return chance.normal(size=(12, 3)).astype("float32"), chance.integers(0, 2, (12, 1)).astype("float32")


def contents(path: Path) -> list[bytes]:
    db = sqlite3.connect(path)
    try:
        return [data for (data,) in db.execute("SELECT data FROM blobs")]
    finally:
        db.close()


def fit(path: Path, x: Any, y: Any, **options: Any) -> Tracer:
    keras.utils.set_random_seed(3)
    tracer = Tracer(path, rows="digests")
    linear().fit(x, y, **{"batch_size": 4, "epochs": 2, "verbose": 0, "callbacks": [tracer]} | options)
    return tracer


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "validation": {"validation_data": tuple(a[:6] + 1 for a in rows())},
    "validation split": {"validation_split": 0.25},
    "sample weights": {"sample_weight": np.linspace(0.5, 2, 12)},
    "class weights": {"class_weight": {0: 1.0, 1: 3.5}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_no_row_is_in_the_trace_and_all_is_replayed_from_the_live_arrays(name: str, tmp_path: Path) -> None:
    x, y = rows()
    tracer = fit(tmp_path / "a.diag", x, y, **OPTIONS[name])
    whole = (tmp_path / "a.diag").read_bytes()
    for array in (x, *(OPTIONS[name].get("validation_data") or ())[:1]):
        assert not any(row.tobytes() in whole for row in array)
    with read_trace(tmp_path / "a.diag") as trace:
        assert trace.info["policy"]["rows"] == "digests"
        assert not any(block.kept for block in trace._contents._blocks)
    # Of the size of a variable, the optimizer's or a generator's state; the weights of a batch would have 16 bytes.
    assert {len(content) for content in contents(tracer.path)} <= {4, 8, 24, 5056}
    keep = Tracer(tmp_path / "b.diag")
    keras.utils.set_random_seed(3)
    linear().fit(x, y, **{"batch_size": 4, "epochs": 2, "verbose": 0, "callbacks": [keep]} | OPTIONS[name])
    found, expected = tracer.diagnose(), keep.diagnose()
    assert found.replay is not None and found.replay.reproduced == found.replay.steps > 0
    assert found.notice is None and found.ledgers == expected.ledgers and found.ledgers
    assert [f.status for f in found.findings] == [f.status for f in expected.findings]


def test_arrays_that_are_gone_are_said_to_be_and_can_be_given_again(tmp_path: Path) -> None:
    x, y = rows()
    tracer = fit(tmp_path / "a.diag", x.copy(), y.copy())
    gc.collect()
    found = tracer.diagnose()
    assert found.ledgers == () and "the arrays that fit was given are gone" in str(found.notice)
    again = tracer.diagnose(data=(x, y))
    assert again.notice is None and again.replay is not None and again.replay.reproduced == 6


def test_what_is_no_array_is_said_to_be_none(tmp_path: Path) -> None:
    x, y = rows()

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> tuple[Array, Array]:
            return x[4 * index : 4 * index + 4], y[4 * index : 4 * index + 4]

    tracer = fit(tmp_path / "a.diag", Batches(), None, batch_size=None, shuffle=False)
    assert "fit was given no arrays" in str(tracer.diagnose().notice)
    assert tracer.diagnose(data=(x, y)).notice is None


def test_weighted_rows_are_given_again_with_their_weights(tmp_path: Path) -> None:
    x, y = rows()
    weights = np.linspace(0.5, 2, 12)
    tracer = fit(tmp_path / "a.diag", x.copy(), y.copy(), sample_weight=weights.copy())
    gc.collect()
    without = tracer.diagnose(data=(x, y))
    assert "digests" in str(without.notice)
    found = tracer.diagnose(data=(x, y, weights))
    assert found.notice is None and found.replay is not None and found.replay.reproduced == 6


def test_a_tracer_keeps_no_array_alive(tmp_path: Path) -> None:
    x, y = rows()
    live = LiveData({"x": {"a": x[:9], "b": [x]}, "y": y}, hold=False)
    ((again, targets, weight),) = live.parts()
    assert again["a"] is x and again["b"][0] is x and targets is y and weight is None and not live.lack
    del x, again
    gc.collect()
    assert list(live.parts()) == [] and "gone" in live.lack


def test_a_run_keeps_arrays_alive_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def lack() -> str:
        live = LiveData(dict(zip("xy", rows(), strict=True)), hold=True)
        gc.collect()
        return live.lack

    assert lack() == ""
    monkeypatch.setattr("diagnose.record.live.MOST_HELD", 12 * 16 - 1)
    assert "gone" in lack()


def test_sessions_and_loops(tmp_path: Path) -> None:
    x, y = rows()
    with diagnose.trace(tmp_path, rows="digests") as session:
        linear().fit(x, y, batch_size=4, verbose=0)
        with diagnose.watch(linear(), tmp_path / "loop.diag", rows="digests") as watch:
            for start in (0, 4, 8):
                watch.model.train_on_batch(x[start : start + 4], y[start : start + 4])
    assert session.diagnose()[0].notice is None
    found = watch.diagnose(data=(x, y))
    assert found.replay is not None and found.replay.reproduced == 3
    for path in (tmp_path / "fit-1.diag", tmp_path / "loop.diag"):
        assert not any(row.tobytes() in path.read_bytes() for row in x)


@pytest.mark.parametrize("make", [Tracer, diagnose.trace, lambda **options: diagnose.watch(linear(), **options)])
def test_another_word_is_refused(make: Any) -> None:
    with pytest.raises(DiagnoseError, match="rows must be 'keep' or 'digests', not 'none'"):
        make(rows="none")
