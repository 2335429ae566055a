"""Ledgers of real fits: they add up, and each factor is there exactly where it can differ."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose.result.diagnosis import Ledger
from tests.replay.fits import classifier, fit, labels, linear, rows

BUSY = {"class_weight": {0: 1.0, 1: 3.0}}


def busy() -> Any:
    return classifier(keras.layers.GaussianNoise(0.2), keras.layers.BatchNormalization(), keras.layers.Dropout(0.4))


def ledgers(
    folder: Path, model: Any, *callbacks: Any, data: Any = None, evaluate: Any = None, **arguments: Any
) -> list[Ledger]:
    x, y = data or labels()
    tracer, _ = fit(folder, model, *callbacks, x=x, y=y, **arguments)
    found = tracer.diagnose(evaluate=evaluate).ledgers
    assert found
    return list(found)


def factors(ledger: Ledger) -> set[str]:
    return {e.factor for e in ledger.entries}


@pytest.mark.parametrize("evaluate", [None, labels(40, seed=6)], ids=["same rows", "other rows"])
def test_amounts_and_residual_add_up_to_the_gap(evaluate: Any, tmp_path: Path) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    for ledger in ledgers(tmp_path, busy(), stopping, evaluate=evaluate, **BUSY):
        assert ledger.gap == ledger.evaluated - ledger.logged
        total = math.fsum([*(e.amount for e in ledger.entries), ledger.residual])
        assert total == pytest.approx(ledger.gap, rel=0, abs=8 * np.finfo(float).eps * max(1.0, abs(ledger.logged)))
        assert all(e.low - 1e-12 <= e.amount <= e.high + 1e-12 for e in ledger.entries)
        # The residual is only what replay gets wrong.
        assert abs(ledger.residual) <= 1e-5 * max(1.0, abs(ledger.logged), abs(ledger.evaluated))


def test_the_two_ends_are_the_history_and_keras_evaluate(tmp_path: Path) -> None:
    x, y = labels()
    model = busy()
    tracer, history = fit(tmp_path, model, x=x, y=y, **BUSY)
    found = tracer.diagnose(evaluate=(x, y)).ledgers
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    last = {ledger.metric: ledger for ledger in found if ledger.epoch == 3}
    assert set(last) == set(history)
    for metric, ledger in last.items():
        assert ledger.logged == history[metric][-1]
        assert ledger.evaluated == pytest.approx(expected[metric], rel=1e-6)


def test_without_updates_there_is_no_lag_and_no_drift(tmp_path: Path) -> None:
    for ledger in ledgers(tmp_path, linear(0.0), data=rows(), shuffle=False):
        assert not {e.factor for e in ledger.entries if e.amount} & {"weights-lag", "weights-drift"}
        assert ledger.gap == pytest.approx(0.0, abs=1e-6)


def test_one_full_batch_makes_the_lag_the_whole_gap(tmp_path: Path) -> None:
    x, y = rows()
    model = linear(0.1)
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    found = ledgers(tmp_path, model, data=(x, y), batch_size=10, epochs=1)
    after = model.evaluate(x, y, verbose=0, return_dict=True)
    for ledger in found:
        (entry,) = ledger.entries
        assert entry.factor == "weights-lag"
        assert entry.amount == pytest.approx(after[ledger.metric] - before[ledger.metric], abs=1e-6)
        assert ledger.gap == pytest.approx(entry.amount, abs=1e-6)


def test_without_layers_that_know_training_there_is_no_mode_factor(tmp_path: Path) -> None:
    for ledger in ledgers(tmp_path, classifier()):
        assert not factors(ledger) & {"dropout", "batch-norm", "augmentation", "other-training-mode", "class-weights"}


@pytest.mark.parametrize(
    ("layer", "factor"),
    [
        (lambda: keras.layers.Dropout(0.4), "dropout"),
        (lambda: keras.layers.GaussianNoise(0.4), "dropout"),
        (lambda: keras.layers.BatchNormalization(), "batch-norm"),
    ],
)
def test_each_kind_of_layer_has_its_own_factor(layer: Any, factor: str, tmp_path: Path) -> None:
    modes = {"dropout", "batch-norm", "augmentation", "other-training-mode"}
    for ledger in ledgers(tmp_path, classifier(layer())):
        assert factors(ledger) & modes == {factor}
    (loss,) = [x for x in ledgers(tmp_path, classifier(layer())) if x.metric == "loss" and x.epoch == 3]
    assert next(e for e in loss.entries if e.factor == factor).amount != 0.0


def test_with_a_rate_of_zero_the_whole_gap_is_dropouts(tmp_path: Path) -> None:
    x, y = labels(20)
    model = classifier(keras.layers.Dropout(0.5), compiled={"optimizer": keras.optimizers.SGD(0.0)})
    for ledger in ledgers(tmp_path, model, data=(x, y), shuffle=False):
        amounts = {e.factor: e.amount for e in ledger.entries if e.amount}
        assert set(amounts) <= {"dropout"}
        assert amounts.get("dropout", 0.0) == pytest.approx(ledger.gap, abs=1e-6)


def test_class_weights_change_the_loss_by_what_numpy_says(tmp_path: Path) -> None:
    x, y = labels(20)
    model = classifier(compiled={"optimizer": keras.optimizers.SGD(0.0)})
    p = np.clip(keras.ops.convert_to_numpy(model(x)).astype(float), 1e-7, 1 - 1e-7)
    each = -(y * np.log(p) + (1 - y) * np.log(1 - p)).ravel()
    weights = np.where(y.ravel() == 1, 3.0, 1.0)
    found = ledgers(tmp_path, model, data=(x, y), shuffle=False, **BUSY)
    (loss,) = [ledger for ledger in found if ledger.metric == "loss" and ledger.epoch == 3]
    (entry,) = [e for e in loss.entries if e.amount]
    assert entry.factor == "class-weights"
    assert loss.logged == pytest.approx(float(np.mean(each * weights)), rel=1e-5)
    assert entry.amount == pytest.approx(float(np.mean(each) - np.mean(each * weights)), rel=1e-4)
    accuracy = [ledger for ledger in found if ledger.metric == "accuracy" and ledger.epoch == 3]
    assert all("class-weights" not in factors(ledger) for ledger in accuracy)


def test_restored_weights_are_a_factor_only_where_weights_were_restored(tmp_path: Path) -> None:
    stopping = keras.callbacks.EarlyStopping(monitor="loss", mode="max", patience=1, restore_best_weights=True)
    with_restore = ledgers(tmp_path, linear(0.1), stopping, data=rows())
    assert all("restored-weights" in factors(ledger) for ledger in with_restore if ledger.epoch == 2)
    assert all("restored-weights" not in factors(ledger) for ledger in with_restore if ledger.epoch == 1)
    without = ledgers(tmp_path, linear(0.1), data=rows())
    assert all("restored-weights" not in factors(ledger) for ledger in without)


def test_other_rows_are_data_coverage_and_as_large_as_numpy_says(tmp_path: Path) -> None:
    x, y = rows()
    other_x, other_y = rows(16, seed=4)
    model = linear(0.0)
    w, b = (v.astype(float) for v in model.get_weights())

    def mse(x: Any, y: Any) -> float:
        return float(np.mean((x.astype(float) @ w + b - y.astype(float)) ** 2))

    (loss,) = [
        ledger
        for ledger in ledgers(tmp_path, model, data=(x, y), evaluate=(other_x, other_y))
        if ledger.metric == "loss" and ledger.epoch == 3
    ]
    amounts = {e.factor: e.amount for e in loss.entries if e.amount}
    assert set(amounts) == {"data-coverage"}
    assert amounts["data-coverage"] == pytest.approx(mse(other_x, other_y) - mse(x, y), rel=1e-5)
