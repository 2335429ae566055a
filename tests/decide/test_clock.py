"""Values of `diagnose.callbacks` in a trace: with which weights they were computed, against copies kept by the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.callbacks import OwnedEarlyStopping, ReevaluatedMetrics
from diagnose.decide.clock import clock, clocks, computed_with, held_value, metric_of, source
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


class Plain(keras.Model):  # type: ignore[misc]
    """Returns tensors of its own, and one value of a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.mean = keras.metrics.Mean(name="mean")

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.square(y - self(x, training=True)[:, 0]))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        self.mean.update_state(loss)
        return {"loss": loss, "own": 2 * loss, "mean": self.mean.result()}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the step is TensorFlow's")
def test_what_a_step_returns_without_a_metric_is_the_last_batchs(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 3)).astype("float32"), rng.normal(size=32).astype("float32")
    model = Plain()
    model.compile(keras.optimizers.SGD(0.1))
    model(x[:1])
    before: list[float] = []

    def score(batch: int, logs: Any) -> None:
        rows = slice(8 * batch, 8 * batch + 8)
        before.append(float(np.mean((y[rows] - np.asarray(model(x[rows]))[:, 0]) ** 2)))

    note = keras.callbacks.LambdaCallback(on_train_batch_begin=score)
    tracer = Tracer(tmp_path / "fit.diag")
    logs = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[note, tracer]).history
    assert logs["own"] == pytest.approx([2 * before[3], 2 * before[7]], rel=1e-5)
    assert logs["loss"] == pytest.approx([before[3], before[7]], rel=1e-5)
    assert logs["mean"] == pytest.approx([np.mean(before[:4]), np.mean(before[4:])], rel=1e-5)
    with read_trace(tmp_path / "fit.diag") as trace:
        for number, epoch in enumerate(trace.epochs, 1):
            for name in ("own", "loss"):
                assert clock(trace, epoch, name).owners == (4 * number - 1,)
                assert clocks(trace)[number][name].batches == 1
            average = clock(trace, epoch, "mean")
            assert (average.owners, average.batches, average.different) == ((), 4, 4)


def test_versions_are_the_same_where_their_contents_are(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)).astype("float32"), rng.normal(size=24).astype("float32")
    for steps, different, owners in ((3, 1, (3, 4, 5)), (2, 2, ()), (None, 3, ())):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps), "mse")
        tracer = Tracer(tmp_path / f"{steps}.diag")
        model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[tracer])
        with read_trace(tmp_path / f"{steps}.diag") as trace:
            found = clock(trace, trace.epochs[1], "loss")
            assert (found.batches, found.different, found.owners) == (3, different, owners)
