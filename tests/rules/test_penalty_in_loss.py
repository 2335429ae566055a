from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.advice import blocks
from tests.rules.traced import Traced, numpy, traced

RULE = "penalty-in-loss"
rng = np.random.default_rng(4)
X = rng.normal(size=(48, 3)).astype("float32")
Y = rng.normal(size=48).astype("float32")


def model(l2: float = 0.1, loss: Any = "mse", metrics: Any = ("mse",), rate: float = 0.0, **compiled: Any) -> Any:
    keras.utils.set_random_seed(1)
    regularizer = keras.regularizers.L2(l2) if l2 else None
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_regularizer=regularizer)])
    made.compile(keras.optimizers.SGD(rate), loss, metrics=list(metrics), **compiled)
    return made


def run(of: Any, **arguments: Any) -> Traced:
    return traced(of, X, Y, batch_size=16, **arguments)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError(), keras.losses.mean_squared_error])
@pytest.mark.parametrize("metric", ["mse", "mean_squared_error", keras.losses.mean_squared_error])
def test_effect_is_the_sum_of_the_penalties(loss: Any, metric: Any) -> None:
    made = model(loss=loss, metrics=[metric])
    penalty = 0.1 * float((made.layers[0].get_weights()[0].astype(np.float64) ** 2).sum())
    data = float(((numpy(made(X))[:, 0] - Y) ** 2).mean())
    seen = run(made)
    finding = seen.finding(RULE)
    assert finding.status == "failed" and finding.metric == "loss"
    assert finding.effect == pytest.approx(penalty, rel=1e-5)
    assert finding.evidence["data_loss"]["logged"] == pytest.approx(data, rel=1e-5)
    assert finding.evidence["loss"]["logged"] == pytest.approx(data + penalty, rel=1e-5)
    assert list(finding.evidence["same_function"].values()) == [pytest.approx(data, rel=1e-5)]


def test_advice_gives_the_loss_without_penalties() -> None:
    made = model()
    code = blocks(run(made).finding(RULE).advice)
    scope: dict[str, Any] = {"keras": keras, "model": made, "x": X, "y": Y}
    exec(code[0], scope)
    assert scope["data_loss"] == pytest.approx(float(((numpy(made(X))[:, 0] - Y) ** 2).mean()), rel=1e-4)
    exec(code[1], scope)
    assert scope["callbacks"][0].monitor == "val_mse"


def test_add_loss_is_a_penalty_too() -> None:
    class Activity(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            self.add_loss(0.5 * keras.ops.mean(keras.ops.square(x)))
            return x

    made = keras.Sequential([keras.Input((3,)), Activity(), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mse"])
    finding = run(made, epochs=2).finding(RULE)
    assert finding.status == "failed"
    assert finding.effect == pytest.approx(0.5 * float((X.astype(np.float64) ** 2).mean()), rel=1e-5)


def test_control_weak_penalty() -> None:
    finding = run(model(1e-6)).finding(RULE)
    assert finding.status == "passed"
    assert 0.0 < finding.effect < 1e-4


@pytest.mark.parametrize(
    "made",
    [
        lambda: model(metrics=["mae"]),
        lambda: model(metrics=[]),
        lambda: model(
            loss=keras.losses.Huber(), metrics=[keras.metrics.MeanMetricWrapper(keras.losses.huber, delta=2.0)]
        ),
        lambda: model(loss_weights=2.0),
    ],
    ids=["another function", "no metric", "other settings", "a loss weight"],
)
def test_control_no_metric_that_is_the_same_function(made: Any) -> None:
    finding = run(made()).finding(RULE)
    assert finding.status == "passed"
    assert finding.effect > 0.01


def test_does_not_apply_without_penalties() -> None:
    assert run(model(0.0, rate=0.1), epochs=2).finding(RULE).status == "not-applicable"


@pytest.mark.parametrize("l2", [0.1, 0.0])
def test_predictions_scored_beside_a_loss_with_penalties(l2: float) -> None:
    """No metric stands beside the loss, but the script scores its predictions."""
    import diagnose

    made = model(l2, metrics=())
    with diagnose.trace() as session:
        made.fit(X, Y, batch_size=16, epochs=1, verbose=0)
        loss = made.evaluate(X[:20], Y[:20], verbose=0)
        predicted = made.predict(X[:20], verbose=0)
        (found,) = session.diagnose()
    finding = next(f for f in found.findings if f.rule == RULE)
    assert finding.status == ("failed" if l2 else "not-applicable")
    if l2:
        mse = float(np.square(predicted[:, 0] - Y[:20]).mean())
        assert finding.evidence["loss"] == pytest.approx(loss, rel=1e-6)
        assert finding.evidence["mse"] == pytest.approx(mse, rel=1e-5)
        assert finding.effect == pytest.approx(loss - mse, rel=1e-4)
        assert 'metrics=["mse"]' in finding.advice
