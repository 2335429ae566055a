"""Models with a `train_step` or `test_step` of their own: replayed through that step, its update thrown away."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer

BACKEND = keras.backend.backend()
ROWS = 50


class Own(keras.Sequential):
    """Follows the examples of Keras's guides on custom training loops for each backend."""

    late = False

    if BACKEND == "tensorflow":

        def train_step(self, data: Any) -> Any:
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return self._score(x, y, self(x, training=True) if self.late else y_pred, loss)

    elif BACKEND == "torch":

        def train_step(self, data: Any) -> Any:
            import torch

            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred)
            loss.backward()
            weights = list(self.trainable_weights)
            with torch.no_grad():
                self.optimizer.apply([w.value.grad for w in weights], weights)
            return self._score(x, y, self(x, training=True) if self.late else y_pred, loss)

    else:

        def train_step(self, state: Any, data: Any) -> Any:
            import jax

            trainable, non_trainable, optimizer, metrics = state
            x, y = data

            def loss_and_rest(trainable: Any) -> Any:
                y_pred, rest = self.stateless_call(trainable, non_trainable, x, training=True)
                return self.compute_loss(x=x, y=y, y_pred=y_pred), (y_pred, rest)

            (loss, (y_pred, rest)), gradients = jax.value_and_grad(loss_and_rest, has_aux=True)(trainable)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
            if self.late:
                y_pred, rest = self.stateless_call(trainable, rest, x, training=True)
            variables = [*zip(self.metrics_variables, metrics, strict=True)]
            with keras.StatelessScope(variables) as scope:
                logs = self._score(x, y, y_pred, loss)
                metrics = [scope.get_current_value(v) for v in self.metrics_variables]
            return logs, (trainable, rest, optimizer, metrics)

    def _score(self, x: Any, y: Any, y_pred: Any, loss: Any) -> Any:
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=keras.ops.shape(x)[0])
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


class Late(Own):
    late = True


class Witness(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])


def traced(cls: type[Any], *layers: Any, **arguments: Any) -> tuple[Any, Any, Any, Witness]:
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    y = (x @ [1.0, -2.0, 0.5, 0.1] + rng.normal(size=ROWS) > 0).astype("float32").reshape(-1, 1)
    model = cls([keras.Input((4,)), *layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.3), "binary_crossentropy", metrics=["accuracy", "mae"], **arguments)
    tracer, witness = Tracer(), Witness()
    history = model.fit(x, y, batch_size=16, epochs=3, verbose=0, shuffle=False, callbacks=[witness, tracer]).history
    held = [np.array(w) for w in model.get_weights()]
    diagnosis = tracer.diagnose()
    assert all(np.array_equal(a, b) for a, b in zip(held, model.get_weights(), strict=True))
    plain = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    return diagnosis, history, plain, witness


@pytest.mark.parametrize("cls", [Own, Late])
@pytest.mark.parametrize("layers", [(), (keras.layers.Dropout(0.4),), (keras.layers.BatchNormalization(),)], ids=str)
def test_every_step_and_both_ends_of_the_walk(cls: type[Any], layers: tuple[Any, ...]) -> None:
    copies = [type(layer).from_config(layer.get_config()) for layer in layers]
    diagnosis, history, plain, _ = traced(cls, *copies)
    assert (diagnosis.replay.steps, diagnosis.replay.reproduced) == (12, 12)
    for metric in ("loss", "accuracy"):
        assert diagnosis.replay.max_abs_error[metric] <= 1e-6
        ledger = diagnosis.ledger(metric)
        assert ledger.attrs["logged"] == history[metric][-1]
        assert ledger.attrs["evaluated"] == pytest.approx(plain[metric], rel=1e-6)
        residual = ledger.set_index("factor").amount["residual"]
        assert abs(residual) <= (1e-5 * abs(history["loss"][-1]) if metric == "loss" else 1e-7)


def test_dropout_is_not_put_down_to_the_step() -> None:
    diagnosis, _, _, _ = traced(Own, keras.layers.Dropout(0.4))
    assert "dropout" in set(diagnosis.ledger("loss").factor)
    assert "other-training-mode" not in set(diagnosis.ledger("loss").factor)


def test_which_weights_a_late_metric_was_scored_with() -> None:
    """Oracle: a plain loop over the weights a witness saw."""
    diagnosis, history, _, witness = traced(Late)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    y = x @ [1.0, -2.0, 0.5, 0.1] + rng.normal(size=ROWS) > 0

    def error(shift: int) -> float:
        total = 0.0
        for batch in range(4):
            kernel, bias = witness.weights[8 + batch + shift]
            rows = slice(16 * batch, 16 * batch + 16)
            total += float(np.abs(1 / (1 + np.exp(-(x[rows] @ kernel + bias)[:, 0])) - y[rows]).sum())
        return total / ROWS

    assert history["mae"][-1] == pytest.approx(error(1), rel=1e-5)
    finding = next(f for f in diagnosis.findings if f.rule == "metric-after-update")
    assert finding.status == "failed"
    assert "mae" in finding.evidence["scored_after"]
    if finding.metric == "mae":
        assert finding.evidence["after_the_updates"] == pytest.approx(error(1), rel=1e-5)
        assert finding.evidence["before_the_updates"] == pytest.approx(error(0), rel=1e-5)
    assert finding.evidence["scored_before"] == ["loss"]


def test_control_metrics_scored_before() -> None:
    finding = next(f for f in traced(Own)[0].findings if f.rule == "metric-after-update")
    assert finding.status == "passed"
    assert {"loss", "mae"} <= set(finding.evidence["before"])


def test_eager_steps() -> None:
    diagnosis, _, _, _ = traced(Own, run_eagerly=True)
    assert (diagnosis.replay.steps, diagnosis.replay.reproduced) == (12, 12)


class OwnTest(keras.Sequential):
    """Reports twice the loss in evaluate, so that only its own test_step gives what evaluate returns."""

    if BACKEND == "jax":

        def test_step(self, state: Any, data: Any) -> Any:
            logs, state = super().test_step(state, data)
            return {"loss": 2 * logs["loss"], "twice": logs["loss"]}, state

    else:

        def test_step(self, data: Any) -> Any:
            logs = super().test_step(data)
            return {"loss": 2 * logs["loss"], "twice": logs["loss"]}


def test_a_test_step_that_returns_other_names() -> None:
    diagnosis, history, plain, _ = traced(OwnTest)
    ledger = diagnosis.ledger("loss")
    assert ledger.attrs["evaluated"] == pytest.approx(plain["loss"], rel=1e-6)
    assert ledger.attrs["evaluated"] > 1.2 * history["loss"][-1]
    amounts = ledger.set_index("factor").amount
    assert amounts["other-training-mode"] > 0.4 * plain["loss"]
    assert abs(amounts["residual"]) <= 1e-5 * plain["loss"]
