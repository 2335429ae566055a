"""Evaluation goes over the rows in the order of the arrays that fit was given, as `evaluate` does, not in fit's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from diagnose import read_trace
from diagnose.analysis.analyze import analyse_file
from tests.replay.fits import fit, labels

IN_ORDER = "rows fit used, in the order fit was given them"


def precision_of_batch(y: Any, p: Any) -> Any:
    """Not the same for other batches of the same rows."""
    found = ops.round(p)
    return ops.sum(y * found) / (ops.sum(found) + 1e-7)


def sorted_labels(n: int = 75) -> tuple[np.ndarray, np.ndarray]:
    x, y = labels(n, seed=3)
    order = np.argsort(y[:, 0], kind="stable")
    return x[order], y[order]


def model_of_two(inputs: Any = 3) -> Any:
    keras.utils.set_random_seed(4)
    model = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=[precision_of_batch])
    return model


@pytest.mark.parametrize("kind", ["float32", "float64", "in Fortran order"])
def test_evaluated_is_keras_evaluate_on_the_arrays(kind: str, tmp_path: Path) -> None:
    x, y = sorted_labels()
    x = np.asfortranarray(x) if kind == "in Fortran order" else x.astype(kind)
    model = model_of_two()
    tracer, _ = fit(tmp_path, model, x=x, y=y, batch_size=16)
    diagnosis = tracer.diagnose()
    oracle = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    assert diagnosis.evaluation_data["source"] == IN_ORDER
    assert diagnosis.measurements.evaluated == pytest.approx(oracle, rel=1e-6)
    assert diagnosis.epoch_rows[-1].reevaluated == pytest.approx(oracle, rel=1e-5)


def test_what_the_default_batches_change_stands_beside_it(tmp_path: Path) -> None:
    x, y = sorted_labels()
    model = model_of_two()
    diagnosis = fit(tmp_path, model, x=x, y=y, batch_size=16)[0].diagnose()
    own = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)["precision_of_batch"]
    oracle = model.evaluate(x, y, verbose=0, return_dict=True)["precision_of_batch"]
    assert abs(own - oracle) > 0.01  # else this case shows nothing
    found = diagnosis.evaluation_data["by_default"]
    assert found == {"batch_size": 32, "precision_of_batch": pytest.approx(oracle, rel=1e-6)}
    assert diagnosis.measurements.in_default_batches == {"precision_of_batch": found["precision_of_batch"]}


def test_nothing_stands_beside_what_batches_do_not_change(tmp_path: Path) -> None:
    x, y = labels(40)
    model = model_of_two()
    model.compile("sgd", "mse", metrics=["mae"])
    assert "by_default" not in fit(tmp_path, model, x=x, y=y)[0].diagnose().evaluation_data


def test_a_split_leaves_the_training_part_in_its_order(tmp_path: Path) -> None:
    x, y = sorted_labels()
    model = model_of_two()
    tracer, _ = fit(tmp_path, model, x=x, y=y, batch_size=16, validation_split=0.2)
    oracle = model.evaluate(x[:60], y[:60], batch_size=16, verbose=0, return_dict=True)
    diagnosis = tracer.diagnose()
    assert diagnosis.evaluation_data["rows"] == 60
    assert diagnosis.measurements.evaluated == pytest.approx(oracle, rel=1e-6)


def test_rows_that_later_epochs_see_first_have_their_place(tmp_path: Path) -> None:
    x, y = sorted_labels(64)
    tracer, _ = fit(tmp_path, model_of_two(), x=x, y=y, batch_size=16, steps_per_epoch=2, epochs=4)
    with read_trace(tracer.runs[-1].path) as trace:
        seen = {int(row) for step in trace.steps for row in step.batch.row_ids}
        (order,) = trace.given_order()
        assert len(seen) > 32
        assert set(order.row_ids.tolist()) == seen
        rows = trace.batch(order).x
    places = [int(np.flatnonzero((x == row).all(1))[0]) for row in rows]
    assert places == sorted(places)


def test_equal_rows_are_there_as_often_as_in_the_arrays(tmp_path: Path) -> None:
    x, y = sorted_labels(40)
    x, y = np.concatenate([x, x[:8], x[:4]]), np.concatenate([y, y[:8], y[:4]])
    model = model_of_two()
    diagnosis = fit(tmp_path, model, x=x, y=y, batch_size=13)[0].diagnose()
    assert diagnosis.evaluation_data["rows"] == 52
    oracle = model.evaluate(x, y, batch_size=13, verbose=0, return_dict=True)
    assert diagnosis.measurements.evaluated == pytest.approx(oracle, rel=1e-6)


def test_other_data_than_arrays_stays_in_the_order_of_first_use(tmp_path: Path) -> None:
    x, y = sorted_labels(32)

    class Reversed(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            part = slice(16 * (1 - index), 16 * (2 - index))
            return x[part], y[part]

    tracer, _ = fit(tmp_path, model_of_two(), x=Reversed(), batch_size=None, shuffle=False)
    diagnosis = tracer.diagnose()
    assert diagnosis.evaluation_data["source"] == "rows fit used"
    with read_trace(tracer.runs[-1].path) as trace:
        assert trace.given_order() == ()


def test_arrays_changed_during_the_fit_are_not_taken_for_what_was_trained_on(tmp_path: Path) -> None:
    x, y = sorted_labels(32)

    class Scales(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            x[:] = 100 * x

    tracer, _ = fit(tmp_path, model_of_two(), Scales(), x=x, y=y, epochs=1)
    found = tracer.diagnose().evaluation_data
    assert (found["source"], found["rows"]) == ("rows fit used", 32)


def test_the_order_is_known_in_another_process(tmp_path: Path) -> None:
    x, y = sorted_labels()
    model = model_of_two()
    tracer, _ = fit(tmp_path, model, x=x, y=y, batch_size=16)
    oracle = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    diagnosis = analyse_file(tracer.runs[-1].path, model)
    assert diagnosis.measurements.evaluated == pytest.approx(oracle, rel=1e-6)
