"""Each training row is stored once, however many epochs see it in whatever order. Rows are counted with plain SQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.record.fits import BACKEND, fit, linear, rows


def stored(path: Path) -> tuple[int, int]:
    """How many rows the file holds, and how many bytes of rows."""
    db = sqlite3.connect(path)
    try:
        (count,) = db.execute("SELECT SUM(count) FROM row_blocks WHERE kept = 1").fetchone()
        (nbytes,) = db.execute(
            "SELECT SUM(LENGTH(data)) FROM blobs WHERE blob IN (SELECT blob FROM row_blocks)"
        ).fetchone()
        return count, nbytes
    finally:
        db.close()


ROW_BYTES = 3 * 4 + 4  # three float32 of x, one of y


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [4, 5, 12])
def test_rows_are_stored_once_over_epochs(shuffle: bool, batch_size: int, tmp_path: Path) -> None:
    trace, _ = fit(tmp_path, shuffle=shuffle, batch_size=batch_size, epochs=4)
    assert stored(trace.path) == (12, 12 * ROW_BYTES)
    x, y = rows()
    given = {a.tobytes() + b.tobytes() for a, b in zip(x, y, strict=True)}
    for epoch in range(1, 5):
        batches = [trace.batch(s.batch) for s in trace.steps if s.epoch == epoch]
        seen = [a.tobytes() + b.tobytes() for batch in batches for a, b in zip(batch.x, batch.y, strict=True)]
        assert len(seen) == 12 and set(seen) == given


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch knows only steps_per_execution=1")
def test_rows_of_several_steps_in_one_execution_are_told_apart(tmp_path: Path) -> None:
    trace, _ = fit(tmp_path, model=linear(steps_per_execution=3), batch_size=5, shuffle=False)
    assert stored(trace.path) == (12, 12 * ROW_BYTES)
    assert [(s.epoch, s.batch_index, len(s.batch.row_ids)) for s in trace.steps] == [
        (e, b, n) for e in (1, 2) for b, n in enumerate((5, 5, 2))
    ]


def test_equal_rows_are_stored_once(tmp_path: Path) -> None:
    x, y = rows(4)
    trace, _ = fit(tmp_path, x=np.tile(x, (3, 1)), y=np.tile(y, (3, 1)), shuffle=False)
    assert stored(trace.path) == (4, 4 * ROW_BYTES)
    assert [s.batch.row_ids.tolist() for s in trace.steps] == [[0, 1, 2, 3]] * 6


def test_equal_inputs_with_other_targets_are_other_rows(tmp_path: Path) -> None:
    x, y = rows(4)
    trace, _ = fit(tmp_path, x=np.tile(x, (2, 1)), y=np.concatenate([y, y + 1]))
    assert stored(trace.path) == (8, 8 * ROW_BYTES)


def test_validation_rows_that_are_training_rows_are_stored_once(tmp_path: Path) -> None:
    x, y = rows()
    trace, _ = fit(tmp_path, validation_data=(x[:6], y[:6]))
    assert stored(trace.path) == (12, 12 * ROW_BYTES)


def test_beyond_the_budget_rows_are_known_by_digest_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diagnose import Tracer, read_trace
    from diagnose.record import budget

    monkeypatch.setitem(budget.SHARES, budget.Tier.ROWS, 0.0)
    tracer = Tracer(tmp_path / "small.diag")
    x, y = rows()
    linear().fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[tracer])
    db = sqlite3.connect(tracer.path)
    kept = db.execute("SELECT SUM(count) FROM row_blocks WHERE kept = 1").fetchone()[0] or 0
    known = db.execute("SELECT SUM(count) FROM row_blocks").fetchone()[0]
    db.close()
    assert kept < known == 12
    with read_trace(tracer.path) as trace:
        assert {e.detail.what for e in trace.events if e.kind == "limit"} >= {"rows seen for the first time"}
        assert trace.status == "complete"


class Reuses(keras.utils.PyDataset):
    """Fills the same arrays again for each batch, and keeps its own copy of what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = np.empty((4, 3), "float32"), np.empty((4, 1), "float32")

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = rows()
        self.x[:], self.y[:] = x[4 * index : 4 * index + 4], y[4 * index : 4 * index + 4]
        return self.x, self.y


@pytest.mark.skipif(BACKEND != "torch", reason="only torch's batches share memory with the user's arrays")
def test_a_buffer_that_the_user_fills_again_is_copied_in_time(tmp_path: Path) -> None:
    trace, _ = fit(tmp_path, x=Reuses(), y=None, batch_size=None, shuffle=False, epochs=1)
    x, _ = rows()
    assert np.concatenate([trace.batch(s.batch).x for s in trace.steps]).tobytes() == x.tobytes()


def test_sample_weights_are_kept_for_each_batch(tmp_path: Path) -> None:
    weights = np.linspace(0.5, 2, 12, dtype="float32")
    trace, _ = fit(tmp_path, sample_weight=weights, shuffle=False)
    found = [trace.batch(s.batch).sample_weight for s in trace.steps]
    assert np.concatenate([w for w in found[:3] if w is not None]).reshape(-1).tobytes() == weights.tobytes()


def test_class_weights_are_kept_as_the_sample_weights_keras_made(tmp_path: Path) -> None:
    x, _ = rows()
    y = np.arange(12, dtype="int32").reshape(-1, 1) % 3
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    trace, _ = fit(tmp_path, model=model, x=x, y=y, class_weight={0: 1.0, 1: 2.0, 2: 4.0}, epochs=1)
    for step in trace.steps:
        batch: Any = trace.batch(step.batch)
        assert batch.sample_weight.reshape(-1).tolist() == [2.0 ** int(k) for k in batch.y.reshape(-1)]
