"""What is noted of the script's own calls: compared with what the script itself got and has."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import Tracer, read_trace
from diagnose.record.call_items import Call
from diagnose.record.run import Run
from tests.attach.fits import BATCH, fit, model, rows


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def recorded_rows(run: Run) -> set[bytes]:
    with read_trace(run.path) as trace:
        return {trace.row_digest(int(row)) for step in trace.steps for row in step.batch.row_ids}


def versions(run: Run, call: Call) -> set[int | None]:
    with read_trace(run.path) as trace:
        return {state.version for state in trace.states if state.arrays == call.weights}


def test_a_call_after_the_fit_has_its_site_values_rows_and_weights() -> None:
    x, y = rows()
    with diagnose.trace() as session:
        trained, _ = fit(trained=model(metrics=("mae",)))
        values, line = trained.evaluate(x, y, batch_size=5, verbose=0), here()
        other = trained.evaluate(x + 1, y, sample_weight=np.ones(len(x)), steps=2, return_dict=True, verbose=0)
        trained.predict(x[:7], verbose=0)
        (run,) = session.runs
        first, second, third = run.calls.made
        known = recorded_rows(run)
        assert (first.kind, first.file, first.line) == ("evaluate", __file__, line)
        assert list(first.returned) == ["loss", "mae"] and list(first.returned.values()) == values
        assert (first.batch_size, first.steps, first.epoch) == (5, None, None)
        assert first.rows is not None and first.rows.both is not None and set(first.rows.both) == known
        assert first.same_model and first.same_compile and 6 in versions(run, first)
        assert second.returned == other and second.steps == 2
        assert second.rows is not None and second.rows.sample_weight is not None
        assert second.rows.both is not None and not known & set(second.rows.both)
        assert second.rows.y == first.rows.y
        assert third.kind == "predict" and third.returned == {} and third.predictions is not None
        assert third.rows is not None and third.rows.x == first.rows.x[:7] if first.rows.x else False


def test_calls_in_callbacks_are_tied_to_their_epoch_and_validation_is_none_of_them() -> None:
    x, y = rows()
    got: list[Any] = []

    def evaluates(epoch: int, logs: Any) -> None:
        got.append(trained.evaluate(x, y, verbose=0))

    trained = model()
    with diagnose.trace() as session:
        callback = keras.callbacks.LambdaCallback(on_epoch_end=evaluates)
        trained.fit(x, y, batch_size=BATCH, epochs=3, verbose=0, validation_data=(x, y), callbacks=[callback])
        (run,) = session.runs
        assert [call.epoch for call in run.calls.made] == [1, 2, 3]
        assert [call.returned["loss"] for call in run.calls.made] == got
        assert [versions(run, call) for call in run.calls.made] == [{3}, {6}, {9, None}]


def test_a_calls_fit_is_the_last_of_its_model_else_of_one_like_it() -> None:
    x, y = rows()
    with diagnose.trace() as session:
        trained, _ = fit(seed=1)
        other, _ = fit(seed=2)
        fit(trained=trained)
        trained.evaluate(x, y, verbose=0)
        other.evaluate(x, y, verbose=0)
        rebuilt = pickle.loads(pickle.dumps(other))
        rebuilt.evaluate(x, y, verbose=0)
        unlike = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        unlike.compile("adam", "mse")
        unlike.evaluate(x, y, verbose=0)
        first, second, third = session.runs
        assert [len(run.calls.made) for run in (first, second, third)] == [0, 1, 2]
        assert [call.same_model for call in third.calls.made] == [True, False]


def test_another_compile_is_seen() -> None:
    x, y = rows()
    with diagnose.trace() as session:
        trained, _ = fit()
        trained.compile("adam", "mae")
        value = trained.evaluate(x, y, verbose=0)
        (call,) = session.runs[0].calls.made
        assert call.same_compile is False and call.returned == {"loss": value}


def test_contents_are_kept_once() -> None:
    x, y = rows()
    with diagnose.trace() as session:
        trained, _ = fit()
        for _ in range(3):
            trained.evaluate(x, y, verbose=0)
        held = session.runs[0].calls
        assert len(held.made) == 3 and len(held.contents) == 2 + len(trained.variables)
        before = x.copy()
        x += 1  # what the call saw is what it was given
        assert held.made[0].rows is not None
        kept = held.arrays(held.made[0].rows.leaves)
        assert kept is not None and np.array_equal(kept[0], before)


def test_our_own_evaluations_are_none_of_the_scripts(tmp_path: Path) -> None:
    with diagnose.trace() as session:
        fit()
        session.diagnose()
        assert session.runs[0].calls.made == []
    tracer = Tracer(tmp_path / "fit.diag")
    fit(callbacks=[tracer])
    tracer.diagnose()
    assert tracer.runs[0].calls.made == []


def test_outside_nothing_is_noted() -> None:
    x, y = rows()
    with diagnose.trace() as session:
        trained, _ = fit()
    trained.evaluate(x, y, verbose=0)
    assert session.runs[0].calls.made == []
    assert not {"evaluate", "predict", "test_on_batch", "predict_on_batch"} & set(vars(keras.Model))


@pytest.mark.parametrize("form", ["list", "frame"])
def test_rows_are_known_in_other_forms(form: str) -> None:
    x, y = rows()
    with diagnose.trace() as session:
        trained, _ = fit()
        if form == "frame":
            pandas = pytest.importorskip("pandas")
            trained.evaluate(pandas.DataFrame(x.astype("float64")), pandas.Series(y[:, 0]), verbose=0)
        else:
            trained.evaluate([x], [y], verbose=0)
        (call,) = session.runs[0].calls.made
        assert call.rows is not None and set(call.rows.both or ()) == recorded_rows(session.runs[0])
