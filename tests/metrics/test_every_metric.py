"""Every metric class that Keras exports: replayed, explained, and equal to Keras's own `evaluate` and a plain loop."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.metrics import table
from tests.metrics.proof import Proof, assert_explained, assert_replayed, prove
from tests.metrics.table import Case, Kind

BATCH = 4


def exported() -> set[str]:
    found = inspect.getmembers(keras.metrics, inspect.isclass)
    return {name for name, value in found if issubclass(value, keras.metrics.Metric)}


def test_every_exported_class_is_in_the_table_and_nothing_else() -> None:
    named = {case.name for case in table.TABLE} | set(table.ABSTRACT)
    assert exported() == named


def test_the_abstract_ones_give_no_result() -> None:
    for name in table.ABSTRACT:
        with pytest.raises(NotImplementedError):
            getattr(keras.metrics, name)(name="m").result()


@pytest.fixture(scope="session")
def proof_of(scratch: Callable[[str], Path]) -> Callable[[Kind], Proof]:
    """One fit for all metrics of a kind: building its graph is what costs."""

    @functools.cache
    def proof(kind: Kind) -> Proof:
        made = functools.partial(table.make, kind)
        return prove(scratch("metrics"), made, table.features(), table.labels(kind), batch_size=BATCH)

    return proof


@pytest.fixture
def proof(request: pytest.FixtureRequest, proof_of: Callable[[Kind], Proof]) -> Proof:
    return proof_of(request.param)


def batches(*arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    return [tuple(a[i : i + BATCH] for a in arrays) for i in range(0, table.ROWS, BATCH)]


def by_a_plain_loop(case: Case, model: Any) -> Any:
    """The metric of a model, in inference mode, over the rows in order."""
    metric = case.make()
    for x, y in batches(table.features(), table.labels(case.kind)):
        predicted = model(x, training=False)
        if case.kind == "own":
            metric.update_state(keras.ops.abs(predicted))
        else:
            metric.update_state(keras.ops.convert_to_tensor(y), predicted)
    return keras.ops.convert_to_numpy(metric.result())


@pytest.mark.parametrize("kind", table.OUTPUTS)
def test_every_step_of_every_kind_is_reproduced(kind: Kind, proof_of: Callable[[Kind], Proof]) -> None:
    proof = proof_of(kind)
    assert_replayed(proof)
    # Training moved the weights, so a ledger has something to explain.
    (before, after) = proof.history["loss"]
    assert before != after
    assert_explained(proof, "loss")


@pytest.mark.parametrize(
    ("proof", "case"), [pytest.param(c.kind, c, id=c.logged) for c in table.TABLE], indirect=["proof"]
)
def test_the_metric_is_explained(proof: Proof, case: Case) -> None:
    assert case.logged in proof.history
    expected = by_a_plain_loop(case, proof.copy)
    if case.result == "vector":
        # Several numbers have no ledger, as they have no gap; everything else of the fit has.
        assert np.shape(proof.history[case.logged][-1]) == expected.shape != ()
        assert case.logged not in {ledger.metric for ledger in proof.diagnosis.ledgers}
        return
    ledger = assert_explained(proof, case.logged, exact=case.result == "count")
    assert ledger.evaluated == pytest.approx(float(expected), rel=2e-6, abs=1e-7)
    assert np.isfinite([ledger.logged, ledger.evaluated]).all()


@pytest.mark.parametrize("kind", table.OUTPUTS)
def test_some_metric_of_each_kind_differs_between_the_two_ends(kind: Kind, proof_of: Callable[[Kind], Proof]) -> None:
    """Else the ledgers above would explain nothing."""
    proof = proof_of(kind)
    gaps = {c.logged: proof.ledger(c.logged).gap for c in table.cases(kind) if c.result != "vector"}
    assert any(gaps.values()), gaps
