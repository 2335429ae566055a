"""Callbacks of the user's own that put weights back: told by what they did to the weights, and by what they read."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.runs import fit


class PutBack(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest value of `key`, in a way of its own."""

    key = "val_loss"

    def on_train_begin(self, logs: Any = None) -> None:
        self.best = np.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        current = logs[self.key]
        if current < self.best:
            self.best, self.epoch, self.kept = current, epoch + 1, self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        self.model.set_weights(self.kept)


class PutBackLoss(PutBack):
    key = "loss"


class ForgetsToPutBack(PutBack):
    def on_train_end(self, logs: Any = None) -> None:
        pass


class PutsAnAverage(PutBack):
    def on_train_end(self, logs: Any = None) -> None:
        self.model.set_weights([(a + b) / 2 for a, b in zip(self.kept, self.model.get_weights(), strict=True)])


def test_validation_owns_the_weights() -> None:
    callback = PutBack()
    seen = fit(callback, rate=30.0, epochs=8, validation=True)
    assert callback.epoch < 8, "the fit must have its best epoch before the last"
    r = seen.diagnosis.restoration
    assert (r.callback, r.monitor, r.verdict, r.restored_epoch) == ("PutBack", "val_loss", "aligned", callback.epoch)
    assert r.best_logged == seen.witness.logs[callback.epoch - 1]["val_loss"]
    for held, then in zip(seen.model.get_weights(), seen.witness.weights[callback.epoch - 1], strict=True):
        assert np.array_equal(held, then)
    assert r.restored_value == pytest.approx(seen.evaluate()["loss"], rel=1e-5)


@pytest.mark.parametrize(("batch", "verdict", "shift"), [(64, "shifted", 1), (16, "no-owner", None)])
def test_training_values_do_not(batch: int, verdict: str, shift: int | None) -> None:
    callback = PutBackLoss()
    seen = fit(callback, rate=30.0, epochs=8, batch=batch)
    r = seen.diagnosis.restoration
    assert callback.epoch < 8
    assert (r.verdict, r.shift_updates, r.restored_epoch) == (verdict, shift, callback.epoch)
    rule = "one-step-epoch" if batch == 64 else "moving-average-of-weights"
    finding = seen.finding(rule)
    assert finding.status == "failed" and "PutBackLoss" in finding.title


def test_nothing_is_claimed_where_no_epoch_came_back() -> None:
    assert fit(PutsAnAverage(), rate=30.0, epochs=8, validation=True).diagnosis.restoration is None


def test_what_is_only_kept_was_not_restored() -> None:
    seen = fit(ForgetsToPutBack(), rate=30.0, epochs=8, validation=True)
    r = seen.diagnosis.restoration
    values = [log["val_loss"] for log in seen.witness.logs]
    assert (r.verdict, r.monitor, r.best_epoch) == ("not-restored", "val_loss", values.index(min(values)) + 1)


def test_early_stopping_is_judged_first() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=20, restore_best_weights=True)
    seen = fit(PutBackLoss(), stopping, rate=30.0, epochs=8, validation=True)
    assert seen.diagnosis.restoration.callback == "EarlyStopping"
