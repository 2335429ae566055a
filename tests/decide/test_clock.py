"""Values of `diagnose.callbacks` in a trace: with which weights they were computed, against copies kept by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.callbacks import OwnedEarlyStopping, ReevaluatedMetrics
from diagnose.decide.clock import clock, computed_with, held_value, metric_of, source
from diagnose.decide.watched import decisions


class Copies(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.ends: list[list[Any]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ends.append([w.copy() for w in self.model.get_weights()])


class Shift(keras.callbacks.Callback):  # type: ignore[misc]
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.set_weights([w + 1 for w in self.model.get_weights()])


def fit(path: Path, *callbacks: keras.callbacks.Callback) -> tuple[Any, Any, Any, Tracer]:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 3)).astype("float32"), rng.normal(size=32).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    tracer = Tracer(path)
    made = [ReevaluatedMetrics(x, y) if c is None else c for c in callbacks]
    model.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=[*made, tracer])
    return model, x, y, tracer


@pytest.mark.parametrize("later", [True, False])
def test_the_state_is_that_at_the_callbacks_own_place(later: bool, tmp_path: Path) -> None:
    copies = Copies()
    order = (None, copies, Shift()) if later else (Shift(), None, copies)
    fit(tmp_path / "fit.diag", *order)
    with read_trace(tmp_path / "fit.diag") as trace:
        for epoch, held in zip(trace.epochs, copies.ends, strict=True):
            state = computed_with(trace, epoch, "eval_loss")
            if state.kept:
                assert all(np.array_equal(a, b) for a, b in zip(trace.arrays(state), held, strict=False))
            # What Shift wrote is no version of training.
            assert clock(trace, epoch, "eval_loss").owners == ((epoch.last_version,) if later else ())
        assert any(computed_with(trace, epoch, "eval_loss").kept for epoch in trace.epochs)


def test_it_counts_as_no_training_value_and_is_found_for_the_weights_held(tmp_path: Path) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor="eval_loss", patience=1, restore_best_weights=True)
    model, x, y, tracer = fit(tmp_path / "fit.diag", None, stopping)
    with read_trace(tmp_path / "fit.diag") as trace:
        (decision,) = decisions(trace)
        assert decision.source == "end-of-epoch" and not decision.on_training_value
        assert source(trace, "loss") == "train-steps"
        assert metric_of(trace, "eval_loss") == "loss"
        assert held_value(trace, "eval_loss") == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-6)
    restoration = tracer.diagnose().restoration
    assert restoration is not None
    assert (restoration.verdict, restoration.confirmed) == ("aligned", True)


def test_one_step_epochs_with_the_cure_pass(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 3)).astype("float32"), rng.normal(size=32).astype("float32")
    for cure in (
        keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True),
        OwnedEarlyStopping("loss"),
    ):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile(keras.optimizers.SGD(0.9), "mse")
        tracer = Tracer(tmp_path / f"{type(cure).__name__}.diag")
        model.fit(x, y, batch_size=32, epochs=6, verbose=0, callbacks=[cure, tracer])
        diagnosis = tracer.diagnose()
        status = {f.rule: f.status for f in diagnosis.findings}["one-step-epoch"]
        assert diagnosis.restoration is not None
        expected = ("aligned", "passed") if isinstance(cure, OwnedEarlyStopping) else ("shifted", "failed")
        assert (diagnosis.restoration.verdict, status) == expected
