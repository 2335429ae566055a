from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks
from tests.rules.runs import data, fit

RULE = "stale-best"


class ForgetsToReset(keras.callbacks.EarlyStopping):
    def on_train_begin(self, logs: Any = None) -> None:
        """Without `super()`."""


class AsIn312(keras.callbacks.EarlyStopping):
    def on_train_begin(self, logs: Any = None) -> None:
        # Keras 3.12.1, keras/src/callbacks/early_stopping.py: all but `best`.
        self.wait = 0
        self.stopped_epoch = 0
        self.best_weights = None
        self.best_epoch = 0


def two_fits(stopping: Any, rates: tuple[float, float] = (3.0, 0.001)) -> Any:
    first = fit(stopping, rate=rates[0], epochs=8, validation=True)
    return first, fit(stopping, rate=rates[1], epochs=8, validation=True)


def test_fails_where_the_second_fit_is_measured_by_the_first() -> None:
    stopping = ForgetsToReset("val_loss", patience=2, restore_best_weights=True)
    first, second = two_fits(stopping)
    best = min(log["val_loss"] for log in first.witness.logs)
    values = [log["val_loss"] for log in second.witness.logs]
    assert min(values) > best and len(values) < 8, "the second fit must be worse and end early"
    finding = second.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["best_at_start"] == best
    assert finding.evidence["own_best_logged"] == min(values)
    assert finding.evidence["own_best_epoch"] == int(np.argmin(values)) + 1
    # The model has the first fit's weights.
    kept = first.witness.weights[int(np.argmin([log["val_loss"] for log in first.witness.logs]))]
    assert all(np.array_equal(a, b) for a, b in zip(second.model.get_weights(), kept, strict=True))
    assert "weights that no epoch of this fit made" in finding.title
    assert finding.effect == pytest.approx(abs(second.evaluate(kept)["loss"] - min(values)), rel=1e-5)
    blocks(finding.advice)


def test_fails_where_the_first_epoch_is_restored_as_in_keras_3_12() -> None:
    stopping = AsIn312("val_loss", patience=3, restore_best_weights=True)
    _, second = two_fits(stopping)
    values = [log["val_loss"] for log in second.witness.logs]
    assert np.argmin(values) != 0
    assert all(
        np.array_equal(*pair) for pair in zip(second.model.get_weights(), second.witness.weights[0], strict=True)
    )
    finding = second.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["restored_epoch"] == 1
    assert f"restored epoch 1 (val_loss {values[0]:.6g})" in finding.title
    assert finding.effect == pytest.approx(values[0] - min(values), rel=1e-4)


@pytest.mark.recorded
def test_control_keras_resets() -> None:
    _, second = two_fits(keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True))
    finding = second.finding(RULE)
    assert finding.status == "passed"
    assert "without a best" in finding.title


@pytest.mark.recorded
def test_control_an_epoch_improved_on_the_old_best() -> None:
    stopping = ForgetsToReset("val_loss", patience=50, restore_best_weights=True)
    first, second = two_fits(stopping, (0.001, 1.0))
    assert min(log["val_loss"] for log in second.witness.logs) < min(log["val_loss"] for log in first.witness.logs)
    assert second.finding(RULE).status == "passed"


def test_control_training_goes_on_from_the_weights_of_that_best() -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    stopping = ForgetsToReset("val_loss", patience=3, restore_best_weights=True)
    tracer = Tracer()
    for rate in (3.0, 30.0):
        model.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
        callbacks = [stopping, tracer]
        model.fit(x, y, batch_size=16, epochs=6, verbose=0, validation_data=(x, y), callbacks=callbacks)
    best = stopping.best
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.evidence["best_at_start"] == best, "the second fit must not have improved"
    assert finding.status == "passed"


@pytest.mark.recorded
def test_a_first_fit_is_none_of_this() -> None:
    finding = fit(keras.callbacks.EarlyStopping("val_loss", baseline=0.3, patience=2), validation=True).finding(RULE)
    assert finding.status == "not-applicable"
    assert "not used in an earlier fit" in finding.title


@pytest.mark.recorded
def test_without_early_stopping_there_is_nothing_to_judge() -> None:
    assert fit().finding(RULE).status == "not-applicable"
