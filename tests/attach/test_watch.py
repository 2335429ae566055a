"""`diagnose.watch`: loops of `train_on_batch` are recorded step by step, replay gives them again, nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import DiagnoseError, Tracer, read_trace
from tests.attach.fits import BATCH, ROWS, STEPS, fit, left, model, rows

EPOCHS = 3


def loop(trained: Any, watch: Any = None, **more: Any) -> list[list[float]]:
    """What `train_on_batch` returned, step by step."""
    x, y = rows()
    returned = []
    for _ in range(EPOCHS):
        for start in range(0, ROWS, BATCH):
            part = slice(start, start + BATCH)
            returned.append(trained.train_on_batch(x[part], y[part], **more))
        if watch is not None:
            watch.end_epoch()
    return returned


def test_loop_is_as_without_and_every_step_is_computed_again(tmp_path: Path) -> None:
    def made() -> Any:
        return model(metrics=("mae", keras.metrics.AUC(name="auc", from_logits=True)), noisy=True)

    plain = made()
    returned = loop(plain)
    watched = made()
    with diagnose.watch(watched, tmp_path / "loop.diag") as watch:
        assert loop(watched, watch) == returned
    assert left(watched) == left(plain)
    assert not {"train_on_batch", "make_train_function"} & set(vars(watched))
    assert not hasattr(watched.train_function, "__diagnose__")
    diagnosis = watch.diagnose()
    assert left(watched) == left(plain)
    assert diagnosis.notice is None and diagnosis.replay is not None
    assert diagnosis.replay.reproduced == diagnosis.replay.steps == EPOCHS * STEPS
    # train_on_batch resets its metrics, so what it returned is each step's own value …
    own = [(row.values["loss"], row.values["mae"]) for row in diagnosis.step_rows]
    np.testing.assert_allclose(own, [r[:2] for r in returned], rtol=1e-6)
    # … and without logs of the user's, an epoch's is the mean over its rows, as fit logs it.
    sizes = [min(BATCH, ROWS - start) for start in range(0, ROWS, BATCH)]
    for row in diagnosis.epoch_rows:
        steps = returned[(row.epoch - 1) * STEPS : row.epoch * STEPS]
        assert row.logged["loss"] == pytest.approx(np.average([s[0] for s in steps], weights=sizes), rel=1e-6)
        assert row.logged["mae"] == pytest.approx(np.average([s[1] for s in steps], weights=sizes), rel=1e-6)
        assert (row.first_version, row.last_version) == ((row.epoch - 1) * STEPS, row.epoch * STEPS)
    assert max(diagnosis.replay.max_abs_error.values()) < 1e-5
    x, y = rows()
    ledger = diagnosis.ledger("loss", epoch=EPOCHS)
    assert ledger.attrs["evaluated"] == pytest.approx(plain.evaluate(x, y, verbose=0)[0], rel=1e-5)
    assert ledger["amount"].sum() == pytest.approx(ledger.attrs["gap"], abs=1e-9)
    assert abs(ledger.set_index("factor").loc["residual", "amount"]) < 1e-5


def test_loop_that_marks_no_epoch_is_one() -> None:
    watched = model()
    watch = diagnose.watch(watched)
    loop(watched, class_weight={0: 1.0, 1: 3.0})
    watch.close()
    diagnosis = watch.diagnose()
    assert [(r.epoch, r.first_version, r.last_version) for r in diagnosis.epoch_rows] == [(1, 0, EPOCHS * STEPS)]
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == EPOCHS * STEPS
    assert "class-weights" in set(diagnosis.ledger("loss")["factor"])


def test_logs_of_the_user_are_taken_as_they_are() -> None:
    watched = model()
    x, y = rows()
    with diagnose.watch(watched) as watch:
        for value in (0.5, 0.25):
            watched.train_on_batch(x, y)
            watch.end_epoch({"loss": value})
            watch.end_epoch()  # nothing happened since: no epoch
    diagnosis = watch.diagnose()
    assert [row.logged for row in diagnosis.epoch_rows] == [{"loss": 0.5}, {"loss": 0.25}]
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == 2
    assert diagnosis.replay.max_abs_error["loss"] > 0.01  # these numbers are none of the model's


def test_weights_changed_between_steps_are_seen_and_replayed() -> None:
    watched = model()
    x, y = rows()
    with diagnose.watch(watched) as watch:
        watched.train_on_batch(x, y)
        watched.set_weights([w * 0.5 for w in watched.get_weights()])
        watched.train_on_batch(x, y)
        fit(trained=watched, epochs=1)  # no step of the loop
        watched.test_on_batch(x, y)
        watched.train_on_batch(x, y)
    with read_trace(watch.path) as trace:
        assert [s.step for s in trace.steps] == [0, 1, 2]
        assert [e.step for e in trace.events if e.kind == "weights-changed"] == [1, 2]
    diagnosis = watch.diagnose()
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == 3


def test_model_not_built_and_a_step_that_raises(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    watched = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])
    watched.compile("sgd", "mse")
    x, y = rows()
    with pytest.raises(Exception, match=r"."), diagnose.watch(watched, tmp_path / "loop.diag") as watch:
        watched.train_on_batch(x, y)
        watched.train_on_batch(x, y)
        watched.train_on_batch(x[:, :3], y)
    with read_trace(watch.path) as trace:
        assert trace.sealed and trace.status == "failed" and len(trace.steps) == 2
    assert len(watched.train_on_batch(x, y, return_dict=True)) >= 1
    assert not hasattr(watched.train_function, "__diagnose__")


def test_watch_and_tracer_on_one_model(tmp_path: Path) -> None:
    """A traced fit within a watched loop, and a step of the loop within a traced fit's callback."""
    x, y = rows()

    class Steps(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.train_on_batch(x, y)

    watched = model()
    tracer = Tracer(tmp_path / "fit.diag")
    with diagnose.trace(tmp_path / "runs") as session, diagnose.watch(watched) as watch:
        watched.train_on_batch(x, y)
        fit(trained=watched, callbacks=[Steps(), tracer])
        watched.train_on_batch(x, y)
    assert [run.path for run in session.runs] == [watch.path, tracer.path]
    with read_trace(watch.path) as loop_trace, read_trace(tracer.path) as fit_trace:
        assert (len(loop_trace.steps), len(fit_trace.steps)) == (3, 2 * STEPS)
        assert loop_trace.status == fit_trace.status == "complete"
    for diagnosis in session.diagnose():
        assert diagnosis.replay is not None and diagnosis.replay.reproduced == diagnosis.replay.steps > 0


def test_mistakes_are_errors_at_once() -> None:
    with pytest.raises(DiagnoseError, match="compile"):
        diagnose.watch(keras.Sequential([keras.layers.Dense(1)]))
    watched = model()
    with diagnose.watch(watched), pytest.raises(DiagnoseError, match="watched already"):
        diagnose.watch(watched)
    assert "train_on_batch" not in vars(watched)
