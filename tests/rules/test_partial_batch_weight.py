from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.rules import partial_batch_weight
from diagnose.rules.batch_means import BatchMeans
from diagnose.rules.facts import Facts
from diagnose.tracefile.reader import read_trace
from tests.rules.advice import blocks
from tests.rules.traced import Traced, numpy, traced

RULE = "partial-batch-weight"
rng = np.random.default_rng(8)
X = rng.normal(size=(18, 3)).astype("float32")
P = rng.normal(size=18).astype("float32")
Q = np.where(np.arange(18) < 16, 0.1, 5.0).astype("float32")
OPEN = keras.backend.backend() == "tensorflow"


def model(losses: Any = None, rate: float = 0.0) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    made = keras.Model(inputs, {name: keras.layers.Dense(1, name=name)(inputs) for name in ("p", "q")})
    made.compile(keras.optimizers.SGD(rate), losses or {"p": "mse", "q": "mae"})
    return made


def run(of: Any, rows: int = 18, **arguments: Any) -> Traced:
    arguments = {"batch_size": 8, **arguments}
    return traced(of, X[:rows], {"p": P[:rows], "q": Q[:rows]}, **arguments)


def batches(of: Any, name: str) -> list[float]:
    error = numpy(of(X)[name])[:, 0] - (P if name == "p" else Q)
    each = error**2 if name == "p" else np.abs(error)
    return [float(each[i : i + 8].mean()) for i in (0, 8, 16)]


def test_the_loss_of_an_output_counts_a_short_batch_in_full_where_the_batch_size_is_open() -> None:
    made = model()
    values = batches(made, "q")
    plain, by_rows = np.mean(values), np.average(values, weights=[8, 8, 2])
    seen = run(made)
    finding = seen.finding(RULE)
    assert seen.history["q_loss"][0] == pytest.approx(plain if OPEN else by_rows, rel=1e-5)
    assert finding.status == ("failed" if OPEN else "passed")
    if OPEN:
        assert finding.metric == "q_loss"
        assert finding.effect == pytest.approx(abs(plain - by_rows), rel=1e-4)
        assert finding.evidence["weighted_by_rows"] == pytest.approx(by_rows, rel=1e-5)
        assert [(b["rows"], b["count"]) for b in finding.evidence["batches"]] == [(8, 1.0), (2, 1.0)]
        assert finding.evidence["losses_counted_so"] == ["p_loss", "q_loss"]


@pytest.mark.skipif(not OPEN, reason="the batch size of a step is known on this backend")
def test_advice_gives_the_value_by_rows() -> None:
    made = model()
    due = np.average(batches(made, "q"), weights=[8, 8, 2])
    metrics, sizes = blocks(run(made).finding(RULE).advice)
    exec(metrics, {"model": made})
    assert made.evaluate(X, {"p": P, "q": Q}, batch_size=8, verbose=0, return_dict=True)["q_mae"] == pytest.approx(due)
    assert "batch_size=9" in sizes
    made = model()
    history = made.fit(X, {"p": P, "q": Q}, batch_size=9, verbose=0).history
    assert history["q_loss"][0] == pytest.approx(due, rel=1e-5)


def test_control_batches_of_one_size() -> None:
    assert run(model(), rows=16).finding(RULE).status == "not-applicable"


def test_control_a_single_output_counts_by_rows() -> None:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.1), "mse")
    finding = traced(made, X, Q, batch_size=8, epochs=2).finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["losses"] == ["loss"]


def test_a_metric_function_of_one_number_per_batch_is_no_loss() -> None:
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.0), "mse", metrics=[lambda y, p: keras.ops.max(p)])
    assert traced(made, X, Q, batch_size=8).finding(RULE).status == "passed"


def test_the_example_of_keras_3_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """x = [1, 20, 3], y = [0.1, 0.2, 0.7], batches of 2: 4.7776 logged, 6.0539 due. The weights are those that give
    the first of these numbers; the counts are as Keras 3.0 keeps them."""
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.0), "mse")
    seen = traced(made, X[:3], Q[:3], batch_size=2)
    first, last = (3 * 6.0539 - 2 * 4.7776), 2 * 4.7776 - (3 * 6.0539 - 2 * 4.7776)
    tracker = keras.metrics.Mean()
    for value in (first, last):
        tracker.update_state(value)
    logged = float(tracker.result())
    kept = BatchMeans("loss", True, None, None, 1, (2, 1), (first, last), (1.0, 1.0))
    monkeypatch.setattr(partial_batch_weight, "batch_means", lambda facts, epoch: [kept])
    with read_trace(seen.tracer.path) as trace:
        finding = partial_batch_weight.check(Facts(trace, (), None))
    assert finding.status == "failed"
    assert finding.evidence["logged"] == pytest.approx(logged, rel=1e-6)
    assert finding.evidence["weighted_by_rows"] == pytest.approx((2 * first + last) / 3, rel=1e-9)
    assert finding.evidence["weighted_by_rows"] == pytest.approx(6.0539, rel=1e-4)
    assert blocks(finding.advice)
