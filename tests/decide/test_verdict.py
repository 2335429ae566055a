"""The five verdicts, on real fits, held against what the test's own callback saw."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.runs import Seen, fit

OVERSHOOT: dict[str, Any] = {"rate": 30.0, "epochs": 8}


def stopping(monitor: str, **arguments: Any) -> Any:
    return keras.callbacks.EarlyStopping(monitor, patience=50, restore_best_weights=True, **arguments)


def held_epoch(seen: Seen) -> list[int]:
    """1-based epochs at whose end the model had exactly the weights it holds now."""
    held = seen.model.get_weights()
    return [
        i + 1
        for i, weights in enumerate(seen.witness.weights)
        if all(np.array_equal(a, b) for a, b in zip(weights, held, strict=True))
    ]


def test_aligned() -> None:
    seen = fit(stopping("val_loss"), batch=64, validation=True, **OVERSHOOT)
    r = seen.diagnosis.restoration
    values = [log["val_loss"] for log in seen.witness.logs]
    best = int(np.argmin(values)) + 1
    assert best < len(values)
    assert (r.verdict, r.best_epoch, r.restored_epoch, r.restored_version) == ("aligned", best, best, best)
    assert (r.computed_at.first, r.computed_at.last, r.owner_versions, r.shift_updates) == (best, best, (best,), 0)
    assert r.best_logged == values[best - 1]
    assert r.restored_value == pytest.approx(values[best - 1], rel=1e-6)
    assert r.confirmed is True
    assert held_epoch(seen) == [best]


def test_shifted_by_one_update() -> None:
    seen = fit(stopping("loss"), batch=64, **OVERSHOOT)
    r = seen.diagnosis.restoration
    values = [log["loss"] for log in seen.witness.logs]
    best = int(np.argmin(values)) + 1
    assert 1 < best < len(values)
    assert (r.verdict, r.shift_updates, r.confirmed) == ("shifted", 1, True)
    assert (r.best_epoch, r.restored_epoch, r.restored_version) == (best, best, best)
    assert (r.owner_versions, r.computed_at.first, r.computed_at.last) == ((best - 1,), best - 1, best - 1)
    assert held_epoch(seen) == [best]
    assert r.restored_value == pytest.approx(seen.evaluate()["loss"], rel=1e-6)
    # The owner is the end of the epoch before, by the test's own evaluate.
    assert seen.evaluate(seen.witness.weights[best - 2])["loss"] == pytest.approx(r.best_logged, rel=1e-5)


def test_shifted_with_dropout_says_that_even_the_owner_does_not_give_the_number() -> None:
    seen = fit(stopping("loss"), batch=64, layers=(keras.layers.Dropout(0.3),), **OVERSHOOT)
    r = seen.diagnosis.restoration
    assert (r.verdict, r.shift_updates, r.confirmed) == ("shifted", 1, True)
    assert any("dropout" in note for note in r.notes)


def test_no_owner() -> None:
    seen = fit(stopping("loss"), batch=16, **OVERSHOOT)
    r = seen.diagnosis.restoration
    best = int(np.argmin([log["loss"] for log in seen.witness.logs])) + 1
    assert (r.verdict, r.owner_versions, r.shift_updates) == ("no-owner", (), None)
    assert (r.computed_at.first, r.computed_at.last) == (4 * (best - 1), 4 * best - 1)
    assert held_epoch(seen) == [r.restored_epoch] == [best]


def test_unchanged_weights_own_a_value_of_many_steps() -> None:
    r = fit(stopping("loss"), batch=16, rate=0.0).diagnosis.restoration
    assert r.verdict == "aligned"
    assert r.owner_versions == (0, 1, 2, 3)


def test_not_restored() -> None:
    seen = fit(keras.callbacks.EarlyStopping("val_loss", patience=50), batch=64, validation=True, **OVERSHOOT)
    r = seen.diagnosis.restoration
    assert r.verdict == "not-restored"
    assert (r.restored_epoch, r.restored_version) == (8, 8)


def test_replaced_by_another_callback_after_the_restore() -> None:
    class Zero(keras.callbacks.Callback):
        def on_train_end(self, logs: Any = None) -> None:
            self.model.set_weights([np.zeros_like(w) for w in self.model.get_weights()])

    seen = fit(stopping("val_loss"), Zero(), batch=64, validation=True, **OVERSHOOT)
    r = seen.diagnosis.restoration
    assert (r.verdict, r.written_by, r.restored_version) == ("replaced", "Zero", None)
    assert r.restored_value == pytest.approx(np.log(2), rel=1e-6)  # all weights zero: probability 1/2


def test_replaced_by_an_average_of_weights() -> None:
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)
    seen = fit(
        keras.callbacks.EarlyStopping("val_loss", patience=50), batch=64, validation=True, optimizer=optimizer, epochs=6
    )
    r = seen.diagnosis.restoration
    assert r.verdict == "replaced"
    assert held_epoch(seen) == []


def test_validation_on_swapped_weights_is_replaced_on_the_monitored_side() -> None:
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)
    seen = fit(
        keras.callbacks.SwapEMAWeights(),
        stopping("val_loss"),
        batch=64,
        validation=True,
        optimizer=optimizer,
        epochs=6,
    )
    r = seen.diagnosis.restoration
    assert r.verdict == "replaced"
    assert r.written_by == "SwapEMAWeights"


def test_a_missing_monitor_has_no_best() -> None:
    r = fit(stopping("val_loss")).diagnosis.restoration
    assert (r.verdict, r.best_epoch, r.best_logged) == ("not-restored", None, None)


def test_nothing_restores() -> None:
    assert fit().diagnosis.restoration is None


def test_direction_of_a_metric_that_grows() -> None:
    r = fit(stopping("val_accuracy", mode="max"), batch=64, validation=True, **OVERSHOOT).diagnosis.restoration
    values = [e.logged["val_accuracy"] for e in fit(batch=64, validation=True, **OVERSHOOT).diagnosis.epoch_rows]
    assert r.mode == "max"
    assert r.best_epoch == int(np.argmax(values)) + 1
    assert r.best_by_reevaluation.value == max(values)


def test_settings_that_choose_another_epoch_are_no_shift_in_time() -> None:
    seen = fit(stopping("val_loss", min_delta=0.1), rate=0.02, batch=64, epochs=8, validation=True)
    r = seen.diagnosis.restoration
    values = [log["val_loss"] for log in seen.witness.logs]
    best = int(np.argmin(values)) + 1
    assert (r.best_epoch, r.best_logged) == (best, values[best - 1])
    assert [r.chosen_epoch] == [r.restored_epoch] == held_epoch(seen) != [best]
    assert "by its own settings" in r.sentence
    assert "update" not in r.sentence


def test_a_restored_last_epoch_is_not_taken_for_no_restore() -> None:
    seen = fit(stopping("val_loss", start_from_epoch=7), batch=64, validation=True, **OVERSHOOT)
    r = seen.diagnosis.restoration
    assert held_epoch(seen) == [8] == [r.chosen_epoch]
    assert r.best_epoch != 8
    assert r.verdict == "shifted"
