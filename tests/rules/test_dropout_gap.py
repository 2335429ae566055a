from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from diagnose import Tracer, read_trace
from diagnose.result.diagnosis import Ledger, LedgerEntry
from diagnose.rules.dropout_gap import check
from diagnose.rules.facts import Facts
from tests.rules.advice import blocks
from tests.rules.runs import data, fit

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


@pytest.mark.recorded
def test_noise_counts_as_well() -> None:
    finding = fit(rate=0.0, layers=(keras.layers.GaussianNoise(1.0),), validation=True).finding(RULE)
    assert finding.status == "failed"


@pytest.mark.recorded
def test_control_a_layer_that_drops_nothing() -> None:
    finding = fit(layers=(keras.layers.Dropout(0.0),)).finding(RULE)
    assert finding.status == "passed" and finding.effect == 0.0


def test_control_the_same_gap_from_moving_weights() -> None:
    seen = fit(validation=True)
    assert not np.isclose(seen.witness.logs[0]["loss"], seen.witness.logs[0]["val_loss"], rtol=0.01)
    assert seen.finding(RULE).status == "not-applicable"


@pytest.mark.parametrize(("rows", "status"), [(1, "passed"), (2, "failed"), (3, "failed")])
def test_a_share_of_rows_has_to_differ_by_two_rows(tmp_path: Path, rows: int, status: str) -> None:
    """All of the gap is dropout's, and said to be, whatever its size; 64 rows were trained on."""
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5), keras.layers.Dense(1, "sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=16, epochs=1, verbose=0, callbacks=[Tracer(tmp_path / "a.diag")])
    amount = rows / 64
    entries = (LedgerEntry("dropout", amount, amount, amount),)
    ledger = Ledger(1, "accuracy", 0.5, 0.5 + amount, amount, entries, 0.0)
    with read_trace(tmp_path / "a.diag") as trace:
        finding = check(Facts(trace, (), None, (ledger,)))
        assert finding.status == status and finding.effect == amount
        assert f"{amount:.6g}" in finding.title
