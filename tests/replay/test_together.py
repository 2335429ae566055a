"""That a small diagnosis compiles no function which another one can stand in for, and says the same."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.replay.keras import engine, kept, together
from diagnose.replay.keras.backends import current_backend
from tests.replay.fits import BACKEND, classifier, labels

compiles = pytest.mark.skipif(BACKEND == "torch", reason="torch compiles nothing")


def fitted(path: Path, *layers: Any) -> Tracer:
    tracer = Tracer(path, level=3)
    classifier(*layers).fit(*labels(), epochs=3, batch_size=11, verbose=0, callbacks=[tracer])
    return tracer


def numbers(diagnosis: Any) -> list[float]:
    entries = [e.amount for ledger in diagnosis.ledgers for e in ledger.entries]
    ends = [ledger.residual + ledger.evaluated for ledger in diagnosis.ledgers]
    return [*entries, *ends, *(v for row in diagnosis.epoch_rows for v in (row.reevaluated or {}).values())]


@compiles
@pytest.mark.parametrize(("rates", "apart"), [((), 1), ((0.4,), 3)])
def test_one_function_makes_all_passes_of_a_small_fit(
    rates: tuple[float, ...], apart: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    make = engine.make_step
    monkeypatch.setattr(engine, "make_step", lambda *a, **k: made.append(len(a[4])) or make(*a, **k))
    monkeypatch.setattr(together, "SMALL", {BACKEND: 1e9})
    tracer = fitted(tmp_path / "fit.diag", *map(keras.layers.Dropout, rates))
    small = tracer.diagnose()
    assert made == [1 + len(rates)]
    assert small.replay is not None and (small.replay.steps, small.replay.reproduced) == (6, 6)

    made.clear()
    kept._entries.clear()
    monkeypatch.setattr(together, "SMALL", {})
    large = tracer.diagnose()
    assert len(made) == apart
    np.testing.assert_allclose(numbers(small), numbers(large), rtol=0, atol=1e-6)


class OnlyTrains(keras.layers.Dropout):
    """One that cannot be run in inference mode, once it is trained."""

    trained = False

    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.trained and not training:
            raise ValueError("no inference here")
        return super().call(inputs, training=training)


@compiles
def test_where_one_of_the_passes_fails_those_asked_for_are_made_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "SMALL", {BACKEND: 1e9})
    # As a kind of Keras's own would be.
    monkeypatch.setattr(
        "diagnose.record.describe.layer_kind", lambda layer: "dropout" if "only" in layer.name else None
    )
    tracer = fitted(tmp_path / "fit.diag", OnlyTrains(0.4, name="only"))
    monkeypatch.setattr(OnlyTrains, "trained", True)
    found = tracer.diagnose()
    assert found.replay is not None and (found.replay.steps, found.replay.reproduced) == (6, 6)
    assert not any(row.reevaluated for row in found.epoch_rows)


@pytest.mark.parametrize(("rows", "size", "weighted"), list(itertools.product((12, 14), (6,), (False, True))))
def test_evaluate_gets_the_batches_it_makes_of_arrays(rows: int, size: int, weighted: bool) -> None:
    inputs = [keras.Input((4,), name="a"), keras.Input((2,), name="b")]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(rows, n)).astype("float32") for n in (4, 2)]
    y, weight = rng.integers(0, 3, rows), rng.random(rows).astype("float32") if weighted else None
    by_keras = model.evaluate(x, y, sample_weight=weight, batch_size=size, verbose=0, return_dict=True)
    traced = getattr(model.test_function, "experimental_get_tracing_count", lambda: 0)
    before = traced()
    form = current_backend().evaluated(x, y, weight, size)
    assert model.evaluate(**form, verbose=0, return_dict=True) == by_keras
    assert traced() == before  # of the same types: nothing is compiled for them
    if BACKEND == "tensorflow":
        assert set(form) == {"x"}
