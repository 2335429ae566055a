"""Replayed values of a linear regression against the same training written out in NumPy."""

from __future__ import annotations

from pathlib import Path

import pytest

from diagnose import read_trace
from diagnose.replay.evaluation import rows_fit_used
from diagnose.replay.keras.factory import KerasFactory
from diagnose.replay.replayer import Replayer, Setting
from tests.replay.fits import Sgd, fit, linear, rows

RATE, BATCH, EPOCHS = 0.2, 4, 3  # 10 rows: the last batch is short
CLOSE = 2e-6
ORACLE = Sgd(*rows(), rate=RATE, batch=BATCH, epochs=EPOCHS)


def close(value: float) -> object:
    return pytest.approx(value, rel=CLOSE, abs=CLOSE)


def test_the_oracle_trains_as_keras_does(tmp_path: Path) -> None:
    x, y = rows()
    history = linear(RATE).fit(x, y, epochs=EPOCHS, batch_size=BATCH, shuffle=False, verbose=0).history
    assert history["loss"] == [close(ORACLE.mean(losses)) for losses in ORACLE.before]
    assert history["mae"] == [close(ORACLE.mean(errors)) for errors in ORACLE.mae_before]


def test_every_schedule_gives_the_losses_of_plain_sgd(tmp_path: Path) -> None:
    x, y = rows()
    model = linear(RATE)
    tracer, _ = fit(tmp_path, model, x=x, y=y, shuffle=False, epochs=EPOCHS)
    with read_trace(tracer.path) as trace, KerasFactory(model).open(trace) as engine:
        replayer = Replayer(trace, engine, rows_fit_used(trace).batches)
        for epoch in range(1, EPOCHS + 1):
            expected = {
                "before": ORACLE.before[epoch - 1],
                "after": ORACLE.after[epoch - 1],
                "epoch-end": ORACLE.at_end[epoch - 1],
                "final": None,
            }
            for schedule, losses in expected.items():
                found = replayer.value(Setting(schedule, frozenset(), True, "fit"), epoch)["loss"]  # type: ignore[arg-type]
                if losses is None:
                    losses = ORACLE.at_end[-1]
                assert found == close(ORACLE.mean(losses)), (schedule, epoch)
            assert replayer.value(Setting("before", frozenset(), True, "fit"), epoch)["mae"] == close(
                ORACLE.mean(ORACLE.mae_before[epoch - 1])
            )


def test_lag_drift_and_what_comes_after_are_those_of_plain_sgd(tmp_path: Path) -> None:
    x, y = rows()
    tracer, history = fit(tmp_path, linear(RATE), x=x, y=y, shuffle=False, epochs=EPOCHS)
    diagnosis = tracer.diagnose()
    (ledger,) = [entry for entry in diagnosis.ledgers if entry.metric == "loss" and entry.epoch == EPOCHS]
    before, after, end = (ORACLE.mean(v[-1]) for v in (ORACLE.before, ORACLE.after, ORACLE.at_end))
    amounts = {e.factor: e for e in ledger.entries}
    assert set(amounts) == {"weights-lag", "weights-drift"}
    for factor, amount in (("weights-lag", after - before), ("weights-drift", end - after)):
        entry = amounts[factor]
        assert entry.amount == close(amount)
        assert entry.low == entry.amount == entry.high  # there is only one order to walk in
    assert ledger.logged == history["loss"][-1]
    assert ledger.evaluated == close(end)
    assert ledger.gap == ledger.evaluated - ledger.logged


def test_each_steps_own_value_is_the_loss_of_its_batch(tmp_path: Path) -> None:
    x, y = rows()
    tracer, _ = fit(tmp_path, linear(RATE), x=x, y=y, shuffle=False, epochs=EPOCHS)
    diagnosis = tracer.diagnose()
    losses = [loss for epoch in ORACLE.before for loss in epoch]
    errors = [error for epoch in ORACLE.mae_before for error in epoch]
    assert [row.values["loss"] for row in diagnosis.step_rows] == [pytest.approx(v, rel=1e-5) for v in losses]
    assert [row.values["mae"] for row in diagnosis.step_rows] == [pytest.approx(v, rel=1e-5) for v in errors]
    assert [row.replayed["loss"] for row in diagnosis.step_rows if row.replayed] == [
        pytest.approx(v, rel=1e-5) for v in losses
    ]
    assert [row.reproduced for row in diagnosis.step_rows] == [True] * len(losses)


def test_re_evaluated_values_are_those_of_the_weights_at_each_epochs_end(tmp_path: Path) -> None:
    x, y = rows()
    tracer, _ = fit(tmp_path, linear(RATE), x=x, y=y, shuffle=False, epochs=EPOCHS)
    found = [row.reevaluated["loss"] for row in tracer.diagnose().epoch_rows]
    assert found == [close(ORACLE.mean(losses)) for losses in ORACLE.at_end]
