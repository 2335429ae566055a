"""Models with a `train_step` or `test_step` of their own: replayed through that step, its update thrown away."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.replay.own_models import BACKEND, ROWS, Late, Own, traced


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
