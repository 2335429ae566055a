from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace


def model() -> Any:
    keras.utils.set_random_seed(1)
    found = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    found.compile(keras.optimizers.SGD(0.05), "mse")
    return found


X = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
Y = X.sum(axis=1)


def traced(*callbacks: Any, tracer: Tracer | None = None, **arguments: Any) -> tuple[Any, list[Any]]:
    """`info` and the `file-saved` events."""
    tracer = tracer or Tracer()
    model().fit(X, Y, batch_size=8, epochs=4, verbose=0, callbacks=[*callbacks, tracer], **arguments)
    with read_trace(tracer.runs[-1].path) as trace:
        assert [e for e in trace.events if e.kind == "tracer-error"] == []
        return dict(trace.info), [e for e in trace.events if e.kind == "file-saved"]


class Rewritten(keras.callbacks.Callback):
    """Which epochs (1-based) left another file in a folder, by the contents."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.epochs, self._last = folder, [], {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        now = {p.name: p.read_bytes() for p in self.folder.iterdir()}
        if now != self._last:
            self.epochs.append(epoch + 1)
        self._last = now


@pytest.mark.parametrize("best", [True, False])
@pytest.mark.parametrize("name", ["kept.weights.h5", "epoch-{epoch:02d}-{loss:.3f}.weights.h5", "model.keras"])
def test_each_save_is_seen(tmp_path: Path, name: str, best: bool) -> None:
    path = str(tmp_path / name)
    arguments = {"save_best_only": best, "save_weights_only": name.endswith(".weights.h5")}
    checkpoint = keras.callbacks.ModelCheckpoint(path, "loss", **arguments)
    rewritten = Rewritten(tmp_path)
    _, events = traced(keras.callbacks.TerminateOnNaN(), checkpoint, rewritten)
    assert [e.epoch for e in events] == rewritten.epochs != []
    assert [e.detail.version for e in events] == [2 * e.epoch for e in events]
    assert {e.detail.place for e in events} == {1}
    assert {e.detail.hook for e in events} == {"on_epoch_end"}
    assert os.path.getsize(events[-1].detail.path) == events[-1].detail.bytes


def test_what_is_not_written_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "kept.weights.h5"
    model().save_weights(path)
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(path), "loss", save_best_only=True, save_weights_only=True, initial_value_threshold=-1.0
    )
    _, events = traced(checkpoint)
    assert events == []


def test_saves_within_epochs_are_seen_where_keras_runs_batch_hooks_in_order(tmp_path: Path) -> None:
    path = str(tmp_path / "{epoch}-{batch}.weights.h5")
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=1)
    _, events = traced(checkpoint)
    batches = [e for e in events if e.detail.hook == "on_train_batch_end"]
    assert len(batches) in (0, 8)
    if batches:
        assert [Path(e.detail.path).name for e in batches][:3] == [
            "1-1.weights.h5",
            "1-2.weights.h5",
            "2-1.weights.h5",
        ]
        assert [e.detail.version for e in batches] == list(range(1, 9))


def test_callbacks_are_described_as_they_begin() -> None:
    class Keeps(keras.callbacks.EarlyStopping):
        def on_train_begin(self, logs: Any = None) -> None:
            """Without `super()` where it was used before."""
            if not hasattr(self, "best"):  # Keras 3.8 makes it here
                super().on_train_begin(logs)

    fresh, kept = (
        keras.callbacks.EarlyStopping("loss", patience=9),
        Keeps("loss", patience=9, restore_best_weights=True),
    )
    first, _ = traced(fresh, kept)
    best = kept.best
    second, _ = traced(fresh, kept)
    for info in (first, second):
        assert [c["class"] for c in info["callbacks_at_start"]] == [c["class"] for c in info["callbacks"]]
    states = {c["class"]: c for c in first["callbacks_at_start"]}
    assert (states["Keeps"]["best_weights"], states["Keeps"]["used_before"]) == (False, False)
    states = {c["class"]: c for c in second["callbacks_at_start"]}
    assert (states["Keeps"]["best_weights"], states["Keeps"]["used_before"]) == (True, True)
    assert states["Keeps"]["settings"]["best"] == best
    assert states["EarlyStopping"]["settings"].get("best") != best
    assert states["EarlyStopping"]["used_before"]
    assert states["History"]["best_weights"] is None


def test_a_callback_that_cannot_be_hashed_is_no_trouble() -> None:
    class Equal(keras.callbacks.Callback):
        def __eq__(self, other: object) -> bool:
            return True

    info, _ = traced(Equal())
    assert next(c for c in info["callbacks_at_start"] if c["class"] == "Equal")["used_before"] is False
