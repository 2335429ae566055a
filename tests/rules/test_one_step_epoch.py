from __future__ import annotations

import keras
import pytest

from tests.rules.runs import fit

RULE = "one-step-epoch"


def test_fails_where_early_stopping_goes_by_the_shifted_value() -> None:
    seen = fit(keras.callbacks.EarlyStopping("loss", patience=10, restore_best_weights=True), batch=64)
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    logged = [log["loss"] for log in seen.witness.logs]
    best = min(range(len(logged)), key=logged.__getitem__)
    assert finding.evidence["epoch"] == best + 1
    assert finding.evidence["logged"] == logged[best]
    after = seen.evaluate(seen.witness.weights[best])["loss"]
    assert finding.evidence["one_update_later"] == pytest.approx(after, rel=1e-5)
    assert finding.effect == pytest.approx(abs(after - logged[best]), rel=1e-3)


def test_every_logged_value_is_the_reevaluated_one_of_the_epoch_before() -> None:
    seen = fit(batch=64)
    pairs = seen.finding(RULE).evidence["matches"]
    assert [p["epoch"] for p in pairs] == [2, 3, 4, 5]
    for pair in pairs:
        oracle = seen.evaluate(seen.witness.weights[pair["epoch"] - 2])["loss"]
        assert pair["reevaluated_epoch_before"] == pytest.approx(oracle, rel=1e-5)
        assert pair["logged"] == pytest.approx(oracle, rel=1e-5)


def test_fails_where_the_log_is_all_there_is() -> None:
    assert fit(batch=64).finding(RULE).status == "failed"


def test_control_restore_on_validation() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=10, restore_best_weights=True)
    finding = fit(stopping, batch=64, validation=True).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["decided_by"] == ["val_loss"]


def test_control_learning_rate_zero() -> None:
    finding = fit(rate=0.0, batch=64).finding(RULE)
    assert finding.status == "passed"
    assert finding.effect == 0.0


def test_does_not_apply_to_epochs_of_several_steps() -> None:
    finding = fit(batch=16).finding(RULE)
    assert finding.status == "not-applicable"
    assert finding.evidence["steps_per_epoch"] == [4]
