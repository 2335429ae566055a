from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from tests.rules.advice import blocks

RULE = "schedule-restarts"


class Halved(keras.callbacks.Callback):
    """A schedule of the user's own, by the epoch's number."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.4 * 0.5**epoch


def two_fits(again: dict[str, Any], first: list[Any], second: list[Any]) -> tuple[Any, list[float], Any]:
    """The finding of the second fit, the rates of its epochs, and its model."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3)).astype("float32")
    y = x @ np.array([[1.0], [-2.0], [0.5]], "float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.4), "mse")
    rates: list[float] = []
    seen = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
    )
    with diagnose.trace() as session:
        model.fit(x, y, batch_size=32, epochs=3, verbose=0, callbacks=first)
        model.fit(x, y, batch_size=32, verbose=0, callbacks=[*second, seen], **again)
        found = session.diagnose()[-1]
    return next(f for f in found.findings if f.rule == RULE), rates, model


@pytest.mark.parametrize("schedule", [lambda: keras.callbacks.LearningRateScheduler(lambda e: 0.4 * 0.5**e), Halved])
def test_fails_where_a_schedule_begins_again_in_a_fit_that_goes_on(schedule: Any) -> None:
    finding, rates, _ = two_fits({"epochs": 2}, [schedule()], [schedule()])
    assert rates == pytest.approx([0.4, 0.2])
    assert (finding.status, finding.severity) == ("failed", "notable")
    assert finding.evidence["rate_before"] == pytest.approx(0.1) and finding.evidence["rate_after"] == pytest.approx(
        0.4
    )
    assert "from 0.1 to 0.4" in finding.title and "epoch 3" in finding.title
    (code,) = blocks(finding.advice)
    given = code.partition("y, ")[2].partition(", callbacks")[0]
    _, cured, _ = two_fits(eval(f"dict({given})"), [schedule()], [schedule()])
    assert cured == pytest.approx([0.05, 0.025]), "the advice: the rates of the fourth and fifth epoch"


def test_control_told_where_training_goes_on() -> None:
    schedule = keras.callbacks.LearningRateScheduler(lambda e: 0.4 * 0.5**e)
    finding, rates, _ = two_fits({"initial_epoch": 3, "epochs": 5}, [schedule], [schedule])
    assert rates == pytest.approx([0.05, 0.025]) and finding.status == "passed"


def test_does_not_apply_without_a_schedule() -> None:
    finding, rates, _ = two_fits({"epochs": 2}, [], [])
    assert rates == pytest.approx([0.4, 0.4]) and finding.status == "not-applicable"
