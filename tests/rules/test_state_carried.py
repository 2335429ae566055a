from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.result.diagnosis import Finding
from diagnose.result.measurements import Measurements
from diagnose.rules import state_carried
from diagnose.rules.facts import Facts
from diagnose.tracefile.reader import read_trace
from tests.rules.advice import blocks

RULE = "state-carried"
not_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="on JAX, Keras 3.15 carries no state out of a compiled step"
)


class Reset(keras.callbacks.Callback):
    def on_train_end(self, logs: Any = None) -> None:
        self.model.layers[0].reset_state()


def run(*callbacks: Any, stateful: bool = True) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    keras.utils.set_random_seed(4)
    x = np.random.default_rng(0).normal(loc=1.0, size=(8, 3, 1)).astype("float32")
    y = x.sum(axis=1)
    cell = {"activation": "linear", "kernel_initializer": "ones", "recurrent_initializer": "identity"}
    rnn = keras.layers.SimpleRNN(1, stateful=stateful, name="rnn", **cell)
    model = keras.Sequential([keras.Input(batch_shape=(4, 3, 1)), rnn, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.001), "mse")
    tracer = Tracer()
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[*callbacks, tracer])
    return tracer, model, x, y


def found(tracer: Any) -> Any:
    return next(f for f in tracer.diagnose().findings if f.rule == RULE)


@not_on_jax
def test_fails_by_the_difference_that_keras_itself_returns() -> None:
    tracer, model, x, y = run()
    carried = float(model.evaluate(x, y, batch_size=4, verbose=0))
    model.layers[0].reset_state()
    fresh = float(model.evaluate(x, y, batch_size=4, verbose=0))
    assert abs(carried - fresh) > 0.05 * carried
    finding = found(tracer)
    assert finding.status == "failed" and finding.metric == "loss"
    assert finding.evidence["evaluated"] == pytest.approx(carried, rel=1e-5)
    assert finding.evidence["from_zero_state"] == pytest.approx(fresh, rel=1e-5)
    assert finding.effect == pytest.approx(abs(carried - fresh), rel=1e-4)
    assert finding.evidence["layers"] == ["rnn"]
    assert len(blocks(finding.advice)) == 2


@not_on_jax
def test_control_the_state_is_reset_after_training() -> None:
    finding = found(run(Reset())[0])
    assert finding.status == "passed" and finding.effect == pytest.approx(0.0, abs=1e-6)


def test_does_not_apply_without_state() -> None:
    assert found(run(stateful=False)[0]).status == "not-applicable"


def hand_made(tmp_path: Any) -> Facts:
    tracer = Tracer(tmp_path / "run.diag")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.ones((4, 1)), np.ones(4), verbose=0, callbacks=[tracer])
    return Facts(trace=read_trace(tmp_path / "run.diag"), decisions=(), restoration=None)


def test_metric_is_the_one_that_differs_most(tmp_path: Any) -> None:
    facts = hand_made(tmp_path)
    with facts.trace:

        def judged(evaluated: dict[str, float], zero: dict[str, float]) -> Finding:
            return state_carried.check(replace(facts, measured=Measurements(evaluated=evaluated, from_zero_state=zero)))

        finding = judged({"loss": 1.0, "mae": 2.0}, {"loss": 0.999, "mae": 1.0, "other": 9.0})
        assert (finding.status, finding.metric, finding.effect) == ("failed", "mae", 1.0)
        same = judged({"loss": 1.0, "mae": 2.0}, {"loss": 1.0, "mae": 1.995})
        assert same.status == "passed"
        nothing = judged({"loss": float("nan")}, {"loss": 1.0})
        assert nothing.status == "passed"
