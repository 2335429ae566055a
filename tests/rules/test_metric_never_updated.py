from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.rules import metric_never_updated
from tests.rules.advice import cures, paste
from tests.rules.traced import Traced, traced

RULE = metric_never_updated.NAME
BACKEND = keras.backend.backend()
RATE = 0.1

rng = np.random.default_rng(0)
X = rng.normal(size=(32, 3)).astype("float32")
Y = X[:, :1] + 1.0


class Base(keras.Model):  # type: ignore[misc]
    """A train step for each backend, of which others say what it returns."""

    def returns(self, loss: Any, state: Any = None) -> Any:
        return {"loss": loss}

    if BACKEND == "jax":

        def train_step(self, state: Any, data: Any) -> Any:
            import jax

            trainable, non_trainable, optimizer, metrics = state
            x, y = data

            def loss_of(values: Any) -> Any:
                y_pred, rest = self.stateless_call(values, non_trainable, x, training=True)
                return keras.ops.mean((y_pred - y) ** 2), rest

            (loss, non_trainable), grads = jax.value_and_grad(loss_of, has_aux=True)(trainable)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, grads, trainable)
            return self.returns(loss), (trainable, non_trainable, optimizer, metrics)

    elif BACKEND == "torch":

        def train_step(self, data: Any) -> Any:
            x, y = data
            self.zero_grad()
            loss = keras.ops.mean((self(x, training=True) - y) ** 2)
            loss.backward()
            self.optimizer.apply([v.value.grad for v in self.trainable_weights], self.trainable_weights)
            return self.returns(loss)

    else:

        def train_step(self, data: Any) -> Any:
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
            self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
            return self.returns(loss)


class Returns(Base):
    """As Keras's second guide has it, but for the name: a metric of the model has it, too."""


class Results(Base):
    """The results of metrics that nothing updated."""

    def returns(self, loss: Any, state: Any = None) -> Any:
        return {m.name: keras.ops.convert_to_tensor(0.0 * loss) for m in self.metrics}


class OtherName(Base):
    def returns(self, loss: Any, state: Any = None) -> Any:
        return {"own": loss}


class Untold(keras.Model):  # type: ignore[misc]
    """A test step of its own whose loss no metric is told."""

    def its_loss(self, data: Any) -> Any:
        x, y = data
        return keras.ops.mean((self(x, training=False) - y) ** 2)

    if BACKEND == "jax":

        def test_step(self, state: Any, data: Any) -> Any:
            x, y = data
            y_pred, _ = self.stateless_call(*state[:2], x, training=False)
            return {"loss": keras.ops.mean((y_pred - y) ** 2)}, state

    else:

        def test_step(self, data: Any) -> Any:
            return {"loss": self.its_loss(data)}


class AsKerasTests(keras.Model):  # type: ignore[misc]
    def test_step(self, *args: Any) -> Any:
        return super().test_step(*args)


def made(kind: Any) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    model = kind(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(RATE), "mse")
    return model


def fit(kind: Any) -> Traced:
    return traced(made(kind), X, Y, epochs=2, batch_size=8)


@pytest.fixture(scope="module")
def returns() -> Traced:
    return fit(Returns)


def by_hand() -> list[float]:
    """Each batch's loss, by NumPy, over two epochs."""
    weights, bias = (np.asarray(keras.ops.convert_to_numpy(v)).astype("float64") for v in made(keras.Model).weights)
    losses = []
    for at in [slice(i, i + 8) for _ in range(2) for i in range(0, 32, 8)]:
        away = X[at] @ weights + bias - Y[at]
        losses.append(float((away**2).mean()))
        weights -= RATE * 2 * X[at].T @ away / len(away)
        bias -= RATE * 2 * away.mean(0)
    return losses


def test_fails_with_what_the_step_computes_beside_what_is_logged(returns: Traced) -> None:
    finding = returns.finding(RULE)
    assert (finding.status, finding.severity) == ("failed", "notable")
    assert returns.history["loss"] == [0.0, 0.0] and finding.evidence["metrics"] == ["loss"]
    assert finding.evidence["steps"] == 8 and finding.evidence["returned"] == pytest.approx(by_hand()[-1], rel=1e-5)
    assert returns.diagnosis.headline == finding.title


@cures(RULE)
def test_advice_logs_the_mean_over_the_epoch(returns: Traced) -> None:
    scope = paste(returns.finding(RULE).advice, Returns=Returns)
    assert made(scope["Updated"]).fit(X, Y, epochs=2, batch_size=8, shuffle=False, verbose=0).history["loss"] == (
        pytest.approx([np.mean(by_hand()[:4]), np.mean(by_hand()[4:])], rel=1e-5)
    )


def test_advice_for_a_step_that_returns_the_metrics_updates_them() -> None:
    finding = fit(Results).finding(RULE)
    assert finding.status == "failed" and finding.evidence["returned"] is None
    model = made(Results)
    values = [v.value for v in model.metrics_variables]
    scope = paste(finding.advice, self=model, y=Y, y_pred=Y, loss=0.25, metrics_variables=values)
    held = scope.get("updated") or [v.value for v in model.metrics_variables]
    assert [float(v) for v in held] == pytest.approx([0.25 * len(Y), len(Y)])


@pytest.mark.parametrize("kind", [OtherName, keras.Model], ids=["another name", "Keras's step"])
def test_does_not_apply_where_what_is_logged_is_computed(kind: Any) -> None:
    assert fit(kind).finding(RULE).status == "not-applicable"


def test_a_test_step_that_updates_nothing_is_told_by_what_it_leaves() -> None:
    model = made(Untold)
    run = traced(model, X[:24], Y[:24], epochs=2, batch_size=8, validation_data=(X[24:], Y[24:]))
    finding = run.finding(RULE)
    assert (finding.status, finding.metric) == ("failed", "val_loss") and run.history["val_loss"] == [0.0, 0.0]
    assert run.history["loss"][1] > 0.0 and "test step" in finding.title
    first = float(np.mean((model.predict(X[:8], verbose=0) - Y[:8]) ** 2))
    assert finding.evidence["returned"] == pytest.approx(first, rel=1e-5)
    scope = paste(finding.advice, Untold=Untold)
    cured = made(scope["Updated"])
    whole = float(np.mean((cured.predict(X, verbose=0) - Y) ** 2))
    assert cured.evaluate(X, Y, batch_size=12, verbose=0) == pytest.approx(whole, rel=1e-5)


def test_a_test_step_that_updates_its_metrics_is_none_of_these() -> None:
    run = traced(made(AsKerasTests), X, Y, batch_size=8, validation_data=(X, Y))
    assert run.history["val_loss"][0] > 0.0 and run.finding(RULE).status == "not-applicable"
