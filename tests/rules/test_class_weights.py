from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.advice import blocks
from tests.rules.traced import Traced, numpy, traced

RULE = "class-weights"
rng = np.random.default_rng(2)
X = rng.normal(size=(60, 3)).astype("float32")
Y = (rng.random(60) < 0.2).astype("int32")


def model(rate: float = 0.0, **compiled: Any) -> Any:
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    made.compile(keras.optimizers.SGD(rate), "binary_crossentropy", **compiled)
    return made


def losses(of: Any) -> np.ndarray:
    p = numpy(of(X))[:, 0].astype(np.float64)
    return -(Y * np.log(p) + (1 - Y) * np.log(1 - p))


def run(of: Any = None, **arguments: Any) -> Traced:
    return traced(of or model(), X, Y, batch_size=20, **arguments)


def test_effect_is_the_weighted_mean_less_the_plain_one_where_nothing_else_differs() -> None:
    made = model()
    each, weights = losses(made), np.where(Y == 1, 4.0, 0.5)
    finding = run(made, class_weight={0: 0.5, 1: 4.0}).finding(RULE)
    assert finding.status == "failed" and finding.metric == "loss"
    assert finding.effect == pytest.approx(abs((each * weights).mean() - each.mean()), rel=1e-5)
    assert finding.evidence["logged"] == pytest.approx((each * weights).mean(), rel=1e-5)
    assert finding.evidence["evaluated"] == pytest.approx(each.mean(), rel=1e-5)
    assert finding.evidence["weight_by_label"] == {"0": 0.5, "1": 4.0}
    assert finding.evidence["weights"]["mean"] == pytest.approx(weights.mean())


def test_advice_gives_evaluate_the_value_fit_logged() -> None:
    made = model()
    seen = run(made, class_weight={0: 0.5, 1: 4.0})
    (code,) = blocks(seen.finding(RULE).advice)
    scope: dict[str, Any] = {"np": np, "x": X, "y": Y, "model": made}
    exec(code, scope)
    value = made.evaluate(X, Y, sample_weight=scope["sample_weight"], verbose=0)
    assert value == pytest.approx(seen.history["loss"][0], rel=1e-5)


def test_one_hot_labels_are_told_apart_too() -> None:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="softmax")])
    made.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy")
    seen = traced(made, X, np.eye(2, dtype="float32")[Y], class_weight={0: 0.25, 1: 8.0})
    assert seen.finding(RULE).evidence["weight_by_label"] == {"0": 0.25, "1": 8.0}


def test_sample_weights_that_are_not_one_per_label() -> None:
    weights = np.linspace(0.0, 6.0, 60).astype("float32")
    made = model(weighted_metrics=["accuracy"])
    right = np.round(numpy(made(X))[:, 0]) == Y
    seen = run(made, sample_weight=weights)
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["given"] == "sample weights"
    assert finding.evidence["weight_by_label"] == {}
    assert (finding.evidence["weights"]["lowest"], finding.evidence["weights"]["highest"]) == (0.0, 6.0)
    assert seen.history["accuracy"][0] == pytest.approx(np.average(right, weights=weights), rel=1e-5)
    assert blocks(finding.advice)


def test_with_training_the_weights_get_their_share_of_the_gap_only() -> None:
    seen = run(model(0.5), class_weight={0: 1.0, 1: 5.0}, epochs=4)
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    ledger = next(x for x in seen.diagnosis.ledgers if x.metric == "loss" and x.epoch == finding.evidence["epoch"])
    assert finding.effect != pytest.approx(abs(ledger.gap))
    assert {e.factor for e in ledger.entries} >= {"class-weights", "weights-lag"}


def test_control_weights_of_one() -> None:
    assert run(class_weight={0: 1.0, 1: 1.0}).finding(RULE).status == "passed"


def test_control_evaluate_gets_the_same_weights() -> None:
    weights = np.where(Y == 1, 4.0, 0.5).astype("float32")
    assert run(sample_weight=weights, evaluate=(X, Y, weights)).finding(RULE).status == "passed"


def test_does_not_apply_without_weights() -> None:
    assert run(model(0.5), epochs=3).finding(RULE).status == "not-applicable"
