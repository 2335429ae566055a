from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.rules.runs import fit

RULE = "moving-average-of-weights"


def test_fails_where_early_stopping_goes_by_an_average() -> None:
    seen = fit(keras.callbacks.EarlyStopping("loss", patience=10, restore_best_weights=True))
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    epoch = finding.evidence["epoch"]
    assert finding.evidence["logged"] == seen.witness.logs[epoch - 1]["loss"]
    oracle = seen.evaluate(seen.witness.weights[epoch - 1])["loss"]
    assert finding.evidence["end_of_epoch"] == pytest.approx(oracle, rel=1e-5)
    assert finding.evidence["computed_at_versions"] == [4 * (epoch - 1), 4 * epoch - 1]


def test_fails_where_the_log_is_all_there_is() -> None:
    assert fit().finding(RULE).status == "failed"


def test_control_restore_on_validation() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=10, restore_best_weights=True)
    assert fit(stopping, validation=True).finding(RULE).status == "passed"


def test_control_learning_rate_zero() -> None:
    assert fit(rate=0.0).finding(RULE).status == "passed"


def test_dropout_alone_is_no_moving_average() -> None:
    finding = fit(rate=0.0, layers=(keras.layers.Dropout(0.5),)).finding(RULE)
    assert finding.status == "passed"
    assert finding.effect == 0.0


def test_does_not_apply_to_one_step_epochs() -> None:
    assert fit(batch=64).finding(RULE).status == "not-applicable"


def test_frozen_layers_do_not_move() -> None:
    """All is frozen; batch normalisation's statistics still move, and play no part in training."""
    seen = fit(layers=(keras.layers.BatchNormalization(),), freeze=True)
    finding = seen.finding(RULE)
    assert finding.status == "passed" and finding.evidence["different_weights"] == 1
    first, last = seen.witness.weights[0], seen.witness.weights[-1]
    assert not all(map(np.array_equal, first, last))
