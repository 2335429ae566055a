"""Wrong or notable: by what rests on the value, not by the rule alone."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.rules import RULES
from diagnose.rules.severity import _JUDGES
from tests.rules.runs import Seen, fit


def severities(seen: Seen) -> dict[str, str]:
    return {f.rule: f.severity for f in seen.diagnosis.findings if f.severity is not None}


def evaluated(seen: Seen) -> list[float]:
    """Keras's own evaluate at the end of each epoch."""
    return [seen.evaluate(w)["loss"] for w in seen.witness.weights]


def test_there_are_rules_of_all_these_names() -> None:
    assert set(_JUDGES) <= set(RULES)


def test_none_unless_the_rule_failed() -> None:
    for finding in fit(epochs=2).diagnosis.findings:
        assert (finding.severity is None) == (finding.status != "failed"), finding.rule


@pytest.fixture(scope="module")
def unlucky() -> Seen:
    """A restore on the training loss at a rate that is too high: the epoch it keeps is not the best."""
    stopping = keras.callbacks.EarlyStopping("loss", patience=20, restore_best_weights=True)
    return fit(stopping, rate=30.0, batch=64, epochs=8)


def test_a_restore_that_missed_the_best_epoch_is_wrong(unlucky: Seen) -> None:
    values = evaluated(unlucky)
    held = unlucky.evaluate()["loss"]
    assert held > min(values) * 1.01
    assert severities(unlucky)["one-step-epoch"] == "wrong" and unlucky.diagnosis.mismatch


def test_a_restore_that_kept_the_best_epoch_all_the_same_is_notable() -> None:
    stopping = keras.callbacks.EarlyStopping("loss", patience=20, restore_best_weights=True)
    seen = fit(stopping, rate=0.5, epochs=4)
    assert seen.evaluate()["loss"] == pytest.approx(min(evaluated(seen)), rel=1e-6)
    found = severities(seen)
    assert found["moving-average-of-weights"] == "notable" and "wrong" not in found.values()
    assert seen.diagnosis.restoration.verdict == "no-owner" and not seen.diagnosis.mismatch


def test_a_healthy_run_with_dropout_has_nothing_wrong() -> None:
    seen = fit(layers=(keras.layers.Dropout(0.5),), rate=0.01, epochs=2)
    found = severities(seen)
    assert found and set(found.values()) == {"notable"} and not seen.diagnosis.mismatch


@pytest.mark.parametrize(("momentum", "severity"), [(0.99, "wrong"), (0.5, "notable")])
def test_young_statistics_are_wrong_and_settled_ones_notable(momentum: float, severity: str) -> None:
    seen = fit(layers=(keras.layers.BatchNormalization(momentum=momentum),), rate=0.5, batch=8, epochs=2)
    finding = seen.finding("batch-norm-gap")
    # 16 updates: 0.99 ** 16 of the initial values is left, or next to nothing
    if finding.status == "failed":
        assert finding.severity == severity
    else:
        assert severity == "notable"


def test_the_last_weights_are_wrong_where_another_epoch_was_better() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=50)
    seen = fit(stopping, rate=30.0, batch=64, epochs=8, validation=True)
    values: Any = [log["val_loss"] for log in seen.witness.logs]
    assert int(np.argmin(values)) != len(values) - 1
    assert severities(seen)["no-restore"] == "wrong"
