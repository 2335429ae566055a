from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from tests.rules.runs import data, fit

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


def scored(rate: float = 0.5, rows: Any = slice(None)) -> tuple[Any, Any, Any]:
    """A fit that nothing is decided in, and an `evaluate` of the script's own behind it, over some of its rows."""
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy", metrics=["accuracy"])
    with diagnose.trace() as session:
        history = model.fit(x, y, batch_size=16, epochs=3, verbose=0).history
        if rows is not None:
            model.evaluate(x[rows] if isinstance(rows, slice) else rows, y[rows] if isinstance(rows, slice) else y,
                           verbose=0)  # fmt: skip
        (diagnosis,) = session.diagnose()
    return diagnosis, next(f for f in diagnosis.findings if f.rule == RULE), history


def test_fails_where_the_script_evaluates_what_it_trained_on() -> None:
    """By the metric that moved most for its size, which is compared here by hand; nothing was decided, so it is only
    notable, and nothing is said about what else the script may look at."""
    diagnosis, finding, history = scored()
    assert (finding.status, finding.severity) == ("failed", "notable") and not diagnosis.mismatch
    assert "Nothing else" not in finding.title and not finding.title.rstrip().endswith("decides here")
    moved = {
        x.metric: abs(sum(e.amount for e in x.entries if "weights-" in e.factor)) / max(abs(x.logged), abs(x.evaluated))
        for x in diagnosis.ledgers
        if x.epoch == 3 and x.gap * sum(e.amount for e in x.entries if "weights-" in e.factor) > 0
    }
    assert (finding.metric, finding.evidence["epoch"]) == (max(moved, key=lambda key: moved[key]), 3)
    assert finding.evidence["logged"] == history[finding.metric][-1]


@pytest.mark.parametrize("rows", [None, -data()[0]], ids=["no call", "other rows"])
def test_passes_where_nobody_compares_the_value(rows: Any) -> None:
    """The same fit: the amount is said, and that nothing rests on it."""
    diagnosis, finding, _ = scored(rows=rows)
    assert finding.status == "passed" and "compares it with no evaluate of its own" in finding.title
    ledger = next(x for x in diagnosis.ledgers if (x.metric, x.epoch) == (finding.metric, finding.evidence["epoch"]))
    assert finding.effect == pytest.approx(abs(ledger.gap), rel=1e-4)  # nothing else differs in this fit


def test_the_metric_that_moved_is_told_not_the_loss_that_did_not() -> None:
    """A model whose loss is nearly all a constant, while its accuracy goes from half to nearly all."""
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(
        keras.optimizers.SGD(2.0), lambda t, p: 100.0 + keras.losses.binary_crossentropy(t, p), metrics=["accuracy"]
    )
    model.layers[0].set_weights([np.array([[-1.0], [0.5], [0.0]]), np.zeros(1)])
    with diagnose.trace() as session:
        history = model.fit(x, y, batch_size=4, verbose=0).history
        evaluated = model.evaluate(x, y, verbose=0, return_dict=True)
        (diagnosis,) = session.diagnose()
    assert evaluated["accuracy"] - history["accuracy"][0] > 0.1
    assert abs(evaluated["loss"] - history["loss"][0]) < 1.0
    finding = next(f for f in diagnosis.findings if f.rule == RULE)
    assert finding.status == "failed" and finding.metric == "accuracy"
    assert finding.evidence["logged"] == history["accuracy"][0]


def test_an_accuracy_that_moved_by_less_than_two_rows_is_no_finding() -> None:
    seen = fit(keras.callbacks.EarlyStopping("accuracy", patience=10), rate=0.02, epochs=1)
    moved = [
        abs(seen.evaluate(w)["accuracy"] - log["accuracy"])
        for w, log in zip(seen.witness.weights, seen.witness.logs, strict=True)
    ]
    assert 0 < max(moved) < 2 / 64
    assert seen.finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_restore_on_validation() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=10, restore_best_weights=True)
    assert fit(stopping, validation=True).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_learning_rate_zero() -> None:
    assert fit(rate=0.0).finding(RULE).status == "passed"


@pytest.mark.recorded
def test_dropout_alone_is_no_moving_average() -> None:
    finding = fit(rate=0.0, layers=(keras.layers.Dropout(0.5),)).finding(RULE)
    assert finding.status == "passed"
    assert finding.effect == 0.0


@pytest.mark.recorded
def test_does_not_apply_to_one_step_epochs() -> None:
    assert fit(batch=64).finding(RULE).status == "not-applicable"


def test_frozen_layers_do_not_move() -> None:
    """All is frozen; batch normalisation's statistics still move, and play no part in training."""
    seen = fit(layers=(keras.layers.BatchNormalization(),), freeze=True)
    finding = seen.finding(RULE)
    assert finding.status == "passed" and finding.evidence["different_weights"] == 1
    first, last = seen.witness.weights[0], seen.witness.weights[-1]
    assert not all(map(np.array_equal, first, last))
