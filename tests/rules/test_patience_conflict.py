from __future__ import annotations

from itertools import pairwise
from typing import Any

import keras
import pytest

from tests.rules.advice import blocks
from tests.rules.runs import Seen, fit

RULE = "patience-conflict"


class Rates(keras.callbacks.Callback):
    """The learning rate each epoch was trained at, and the one left at the end."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.rates = [*getattr(self, "rates", []), logs["learning_rate"]]


def run(plateau: int, stopping: int, *, rate: float = 30.0, **arguments: Any) -> tuple[Seen, list[float], float]:
    rates = Rates()
    callbacks = [
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=plateau, **arguments),
        keras.callbacks.EarlyStopping("val_loss", patience=stopping),
    ]
    seen = fit(*callbacks, rates, rate=rate, epochs=20, validation=True)
    return seen, rates.rates, float(keras.ops.convert_to_numpy(seen.model.optimizer.learning_rate))


def test_fails_where_the_rate_is_lowered_in_the_last_epoch() -> None:
    seen, rates, left = run(3, 3)
    assert len(rates) < 20 and set(rates) == {30.0} and left == pytest.approx(3.0)
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["lowered_in_epochs"] == [len(rates)]
    assert "no epoch was trained at the lower rate" in finding.title
    blocks(finding.advice)


def test_fails_where_the_rate_is_never_lowered() -> None:
    seen, rates, left = run(6, 3)
    assert len(rates) < 20 and left == pytest.approx(30.0)
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["lowered_in_epochs"] == []
    assert "had counted 3 epochs without improvement" in finding.title
    assert "waits for 6" in finding.title


def test_control_the_rate_is_lowered_first() -> None:
    seen, rates, _ = run(1, 3)
    assert min(rates) < 30.0
    assert seen.finding(RULE).status == "passed"


def test_control_training_was_not_stopped() -> None:
    seen, rates, _ = run(3, 3, rate=0.01)
    assert len(rates) == 20
    assert seen.finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_what_the_plateau_watches_still_improved() -> None:
    callbacks = [
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=2),
        keras.callbacks.EarlyStopping("val_accuracy", mode="min", patience=2),
    ]
    seen = fit(*callbacks, rate=0.01, epochs=20, validation=True)
    losses = [log["val_loss"] for log in seen.witness.logs]
    assert len(losses) < 20 and all(b < a for a, b in pairwise(losses))
    assert seen.finding(RULE).status == "passed"


def test_control_there_was_no_lower_rate() -> None:
    seen, rates, _ = run(3, 3, min_lr=30.0)
    assert len(rates) < 20
    assert seen.finding(RULE).status == "not-applicable"


class ForgetsToReset(keras.callbacks.EarlyStopping):
    def on_train_begin(self, logs: Any = None) -> None:
        """Without `super()`."""


@pytest.mark.recorded
def test_control_what_an_earlier_fit_left_is_no_conflict_of_this_one() -> None:
    callbacks = [keras.callbacks.ReduceLROnPlateau("val_loss", patience=5), ForgetsToReset("val_loss", patience=2)]
    fit(*callbacks, rate=3.0, epochs=8, validation=True)
    seen = fit(*callbacks, rate=30.0, epochs=8, validation=True)
    assert len(seen.witness.logs) < 8
    assert seen.finding(RULE).status == "not-applicable"


@pytest.mark.recorded
@pytest.mark.parametrize("callback", [keras.callbacks.EarlyStopping("loss"), keras.callbacks.ReduceLROnPlateau("loss")])
def test_one_of_them_alone_has_no_conflict(callback: Any) -> None:
    assert fit(callback).finding(RULE).status == "not-applicable"
