from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.rules.advice import blocks
from tests.rules.runs import fit

RULE = "dropout-gap"


def test_amount_is_what_a_plain_loop_finds_at_rate_zero() -> None:
    """At learning rate 0, evaluate differs from the log by dropout alone."""
    seen = fit(rate=0.0, layers=(keras.layers.Dropout(0.5, name="half"),), validation=True)
    finding = seen.finding(RULE)
    plain = seen.evaluate()
    logged = seen.witness.logs[-1]
    assert finding.status == "failed" and finding.metric in ("loss", "accuracy")
    assert finding.evidence["layers"] == ["half"]
    assert finding.evidence["logged"] == logged[finding.metric]
    assert finding.evidence["amount"] == pytest.approx(plain[finding.metric] - logged[finding.metric], rel=1e-4)
    assert finding.effect == abs(finding.evidence["amount"])
    assert "'half'" in finding.title and blocks(finding.advice)


def test_noise_counts_as_well() -> None:
    finding = fit(rate=0.0, layers=(keras.layers.GaussianNoise(1.0),), validation=True).finding(RULE)
    assert finding.status == "failed"


def test_control_a_layer_that_drops_nothing() -> None:
    finding = fit(layers=(keras.layers.Dropout(0.0),)).finding(RULE)
    assert finding.status == "passed" and finding.effect == 0.0


def test_control_the_same_gap_from_moving_weights() -> None:
    seen = fit(validation=True)
    assert not np.isclose(seen.witness.logs[0]["loss"], seen.witness.logs[0]["val_loss"], rtol=0.01)
    assert seen.finding(RULE).status == "not-applicable"
