from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose.result.diagnosis import Ledger, LedgerEntry
from diagnose.result.measurements import Measurements
from diagnose.rules import batch_averaged_metric
from diagnose.rules.facts import Facts
from diagnose.tracefile.reader import read_trace
from tests.rules.advice import blocks
from tests.rules.traced import Traced, numpy, traced

RULE = "batch-averaged-metric"
rng = np.random.default_rng(6)
Y = (rng.random(64) < 0.15).astype("float32")
X = (rng.normal(size=(64, 2)) + Y[:, None]).astype("float32")


def recall(y_true: Any, y_pred: Any) -> Any:
    y_true, y_pred = keras.ops.reshape(y_true, (-1,)), keras.ops.round(keras.ops.reshape(y_pred, (-1,)))
    return keras.ops.sum(y_true * y_pred) / (keras.ops.sum(y_true) + 1e-7)


def total(y_true: Any, y_pred: Any) -> Any:
    return keras.ops.sum(y_pred)


def model(*metrics: Any, rate: float = 0.0) -> Any:
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
    made.compile(keras.optimizers.SGD(rate), "binary_crossentropy", metrics=list(metrics))
    made.layers[0].set_weights([np.array([[1.5], [1.5]], "float32"), np.array([-1.5], "float32")])
    return made


def run(of: Any, batch_size: int = 8, **arguments: Any) -> Traced:
    return traced(of, X, Y, batch_size=batch_size, **arguments)


def test_says_what_the_batches_average_to_and_what_all_rows_give() -> None:
    made = model(recall)
    hit, batches = np.round(numpy(made(X))[:, 0]) * Y, range(0, 64, 8)
    each = [hit[i : i + 8].sum() / (Y[i : i + 8].sum() + 1e-7) for i in batches]
    whole = hit.sum() / Y.sum()
    assert abs(np.mean(each) - whole) > 0.1
    finding = run(made).finding(RULE)
    assert finding.status == "failed" and finding.metric == "recall"
    assert finding.evidence["evaluated"] == pytest.approx(np.mean(each), rel=1e-5)
    assert finding.evidence["in_one_batch"] == pytest.approx(whole, rel=1e-5)
    assert finding.effect == pytest.approx(abs(np.mean(each) - whole), rel=1e-4)
    assert finding.evidence["counts"] == len(each)
    assert finding.evidence["lowest_of_a_batch"] == pytest.approx(min(each), abs=1e-6)
    assert finding.evidence["highest_of_a_batch"] == pytest.approx(max(each), abs=1e-6)


def test_a_call_in_other_batches_than_fits_is_named_with_both_values() -> None:
    """The rate is 0: nothing but the batches can differ. Then in fit's batches, the control."""
    with diagnose.trace() as session:
        made = model(total)
        made.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        made.evaluate(X, Y, batch_size=16, verbose=0)
        made.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
        made.evaluate(X, Y, batch_size=8, verbose=0)
        found, control = session.diagnose()
    predicted = numpy(made(X))[:, 0]
    in_16, in_8 = (np.mean([predicted[i : i + n].sum() for i in range(0, 64, n)]) for n in (16, 8))
    finding = next(f for f in found.findings if f.rule == RULE)
    assert (finding.status, finding.severity, finding.metric) == ("failed", "notable", "total")
    assert finding.evidence["amount"] == pytest.approx(in_16 - in_8, rel=1e-5) and finding.evidence["batch_size"] == 16
    (call,) = found.calls
    assert [(e.factor, e.amount) for e in call.entries] == [("batching", finding.evidence["amount"])]
    assert found.headline == finding.title and "in batches of 16" in finding.title and blocks(finding.advice)
    assert control.calls[0].entries == () and "batch_size" not in control.findings[0].evidence


def test_a_sum_is_named_before_what_differs_less() -> None:
    made = model("accuracy", total)
    finding = run(made).finding(RULE)
    assert finding.metric == "total"
    assert finding.evidence["in_one_batch"] == pytest.approx(float(numpy(made(X)).sum()), rel=1e-5)


def test_advice_gives_the_value_over_all_rows() -> None:
    made = model(recall)
    code = blocks(run(made).finding(RULE).advice)
    scope: dict[str, Any] = {"keras": keras, "model": made, "x": X, "y": Y, "recall": recall}
    for part in code:
        exec(part, scope)
    pooled = scope["Pooled"]()
    for i in range(0, 64, 8):
        pooled.update_state(Y[i : i + 8], made(X[i : i + 8]))
    whole = float((np.round(numpy(made(X))[:, 0]) * Y).sum() / Y.sum())
    assert float(scope["value"]) == pytest.approx(whole, rel=1e-5)
    assert float(pooled.result()) == pytest.approx(whole, rel=1e-5)


def test_control_metrics_that_add_up() -> None:
    pooled = [keras.metrics.Recall(), keras.metrics.MeanAbsoluteError(), "accuracy"]
    finding = run(model(*pooled, rate=0.5), batch_size=24, epochs=2).finding(RULE)
    assert finding.status == "not-applicable"


def test_control_a_function_of_one_number_per_row() -> None:
    def error(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.abs(keras.ops.reshape(y_true, (-1,)) - keras.ops.reshape(y_pred, (-1,)))

    assert run(model(error)).finding(RULE).status == "not-applicable"


def test_control_a_mean_per_batch_over_batches_of_one_size() -> None:
    def error(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.mean(keras.ops.abs(keras.ops.reshape(y_true, (-1,)) - keras.ops.reshape(y_pred, (-1,))))

    finding = run(model(error)).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["counts"] == 8


def test_by_the_ledger_where_all_rows_at_once_were_too_many() -> None:
    seen = run(model(recall))
    with read_trace(seen.tracer.path) as trace:
        facts = Facts(trace, (), None, measured=Measurements(evaluated={"recall": 0.25}))
        assert batch_averaged_metric.check(facts).status == "not-applicable"

        def ledger(amount: float) -> Ledger:
            entry = LedgerEntry("aggregation", amount, amount, amount)
            return Ledger(1, "recall", 0.5, 0.5 + amount, amount, (entry,), 0.0)

        failed = batch_averaged_metric.check(replace(facts, ledgers=(ledger(-0.25),)))
        assert (failed.status, failed.effect, failed.evidence["ledger_epoch"]) == ("failed", 0.25, 1)
        passed = batch_averaged_metric.check(replace(facts, ledgers=(ledger(-0.002),)))
        assert passed.status == "passed"
