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


@pytest.mark.recorded
def test_fails_where_the_log_is_all_there_is() -> None:
    assert fit(batch=64).finding(RULE).status == "failed"


@pytest.mark.recorded
def test_control_restore_on_validation() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=10, restore_best_weights=True)
    finding = fit(stopping, batch=64, validation=True).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["decided_by"] == ["val_loss"]


@pytest.mark.recorded
def test_control_learning_rate_zero_in_several_batches() -> None:
    finding = fit(rate=0.0, batch=16).finding(RULE)
    assert (finding.status, finding.effect) == ("passed", 0.0)


@pytest.mark.recorded
def test_control_learning_rate_zero() -> None:
    finding = fit(rate=0.0, batch=64).finding(RULE)
    assert finding.status == "passed"
    assert finding.effect == 0.0


@pytest.mark.recorded
def test_does_not_apply_to_epochs_of_several_steps() -> None:
    finding = fit(batch=16).finding(RULE)
    assert finding.status == "not-applicable"
    assert finding.evidence["steps_per_epoch"] == [4]


def accumulating(steps: int) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.5, momentum=0.9, gradient_accumulation_steps=steps)


def test_batches_that_share_an_update_count_as_one() -> None:
    """Gradients of all four batches are added up: the epoch has one update, after its last batch."""
    stopping = keras.callbacks.EarlyStopping("loss", patience=10, restore_best_weights=True)
    seen = fit(stopping, optimizer=accumulating(4))
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    assert finding.title.startswith("All 4 batches of the epoch were scored with the same weights: the loss logged")
    epoch = finding.evidence["epoch"]
    before = seen.evaluate(seen.witness.weights[epoch - 2])["loss"]
    assert seen.witness.logs[epoch - 1]["loss"] == pytest.approx(before, rel=1e-5)
    assert "batch_size" not in finding.advice and "ne batch" not in finding.title
    other = seen.finding("moving-average-of-weights")
    assert other.status == "passed" and other.evidence["different_weights"] == 1


@pytest.mark.recorded
def test_two_updates_in_an_epoch_are_no_single_one() -> None:
    seen = fit(keras.callbacks.EarlyStopping("loss", patience=10), optimizer=accumulating(2))
    assert seen.finding(RULE).status == "not-applicable"
    other = seen.finding("moving-average-of-weights")
    assert other.status == "failed" and other.evidence["different_weights"] == 2
    assert "averages 4 batches, scored with 2 different sets of weights;" in other.title
