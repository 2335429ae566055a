from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.advice import blocks
from tests.rules.runs import Seen, fit

RULE = "restored-is-not-best"


def stopping(monitor: str = "val_loss", **settings: Any) -> Any:
    settings = {"patience": 50, "restore_best_weights": True, **settings}
    return keras.callbacks.EarlyStopping(monitor, **settings)


def held_epoch(seen: Seen) -> int:
    """1-based, by the test's own record of the weights."""
    held = seen.model.get_weights()
    same = [all(np.array_equal(a, b) for a, b in zip(w, held, strict=True)) for w in seen.witness.weights]
    return same.index(True) + 1


def test_min_delta_keeps_an_epoch_that_others_beat() -> None:
    seen = fit(stopping(min_delta=0.1), rate=0.02, batch=64, epochs=8, validation=True)
    values = [log["val_loss"] for log in seen.witness.logs]
    best = int(np.argmin(values)) + 1
    finding = seen.finding(RULE)
    assert held_epoch(seen) != best
    assert finding.status == "failed"
    assert (finding.evidence["restored_epoch"], finding.evidence["best_epoch"]) == (held_epoch(seen), best)
    assert finding.evidence["because_of"] == ["min_delta"]
    assert finding.effect == values[held_epoch(seen) - 1] - values[best - 1]
    assert "min_delta=0.1" in finding.title
    blocks(finding.advice)


def test_start_from_epoch_passes_over_the_best() -> None:
    seen = fit(stopping(start_from_epoch=6), rate=30.0, batch=64, epochs=8, validation=True)
    values = [log["val_loss"] for log in seen.witness.logs]
    best = int(np.argmin(values)) + 1
    finding = seen.finding(RULE)
    assert best <= 6 < held_epoch(seen)
    assert (finding.status, finding.evidence["because_of"]) == ("failed", ["start_from_epoch"])
    assert (finding.evidence["restored_epoch"], finding.evidence["best_epoch"]) == (held_epoch(seen), best)


def test_a_restore_of_the_last_epoch_is_a_restore() -> None:
    seen = fit(stopping(start_from_epoch=7), rate=30.0, batch=64, epochs=8, validation=True)
    assert held_epoch(seen) == 8
    assert seen.finding(RULE).status == "failed"
    assert seen.finding("no-restore").status == "passed"


class NotANumberFirst(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        if epoch == 0:
            logs["val_loss"] = float("nan")


def test_nothing_is_better_than_a_first_nan() -> None:
    seen = fit(NotANumberFirst(), stopping(), batch=64, validation=True)
    finding = seen.finding(RULE)
    assert held_epoch(seen) == 1
    assert (finding.status, finding.evidence["because_of"]) == ("failed", ["the first value is NaN"])


@pytest.mark.parametrize("settings", [{}, {"min_delta": 1e-6}, {"start_from_epoch": 1}, {"baseline": 0.01}])
def test_control_the_best_is_restored(settings: dict[str, Any]) -> None:
    seen = fit(stopping(**settings), rate=0.02, batch=64, epochs=8, validation=True)
    assert held_epoch(seen) == int(np.argmin([log["val_loss"] for log in seen.witness.logs])) + 1
    assert seen.finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_without_a_restore() -> None:
    finding = fit(stopping(restore_best_weights=False), rate=30.0, batch=64, validation=True).finding(RULE)
    assert finding.status == "not-applicable"


class KeepsTheSecond(keras.callbacks.EarlyStopping):
    """Restores by a rule of its own."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        if epoch == 1:
            self.second = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        self.model.set_weights(self.second)


def test_what_the_settings_do_not_explain_is_not_blamed_on_them() -> None:
    seen = fit(
        KeepsTheSecond("val_loss", patience=50, min_delta=0.1, restore_best_weights=True),
        rate=0.02,
        batch=64,
        epochs=8,
        validation=True,
    )
    assert held_epoch(seen) == 2
    assert seen.finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_without_early_stopping() -> None:
    assert fit().finding(RULE).status == "not-applicable"
