"""One tracer in fits that run at the same time: each is recorded, none is changed."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import keras
import pytest

import diagnose
from diagnose import Tracer
from tests.attach.fits import STEPS, fit, left, model, rows
from tests.attach.test_threads import EPOCHS, Meets, at_once, check

SEEDS = (1, 2)
NOISY = keras.config.backend() != "torch"
"""There dropout draws from a generator that threads share."""


def in_order(trained: Any, callbacks: list[Any]) -> list[float]:
    """Rows in order: threads share the generator that shuffles."""
    x, y = rows()
    history = trained.fit(
        x, y, validation_data=(x, y), batch_size=8, epochs=EPOCHS, verbose=0, shuffle=False, callbacks=callbacks
    )
    losses: list[float] = history.history["loss"]
    return losses


def alone(seed: int) -> tuple[list[bytes], list[float]]:
    trained = model(seed, noisy=NOISY)
    losses = in_order(trained, [])
    return left(trained), losses


@pytest.mark.parametrize("attached", ["tracer", "tracer in a session"])
def test_fits_in_threads_with_one_tracer(attached: str, tmp_path: Path) -> None:
    expected = [alone(seed) for seed in SEEDS]
    models = [model(seed, noisy=NOISY) for seed in SEEDS]
    tracer = Tracer(tmp_path / "fit.diag")
    losses: list[list[float]] = [[], []]

    def work(index: int, barrier: threading.Barrier) -> None:
        losses[index] = in_order(models[index], [Meets(barrier), tracer, keras.callbacks.TerminateOnNaN()])

    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, message="diagnose")
        if attached == "tracer":
            at_once(work)
        else:
            with diagnose.trace(tmp_path / "runs") as session:
                at_once(work)
            assert {run.path for run in session.runs} == {run.path for run in tracer.runs}
    assert sorted(p.name for p in tmp_path.glob("*.diag")) == ["fit-2.diag", "fit.diag"]
    assert {run.model for run in tracer.runs} == set(models)
    for run in tracer.runs:
        index = models.index(run.model)
        assert (left(models[index]), losses[index]) == expected[index]
        check(run.path, models[index], losses[index])
    for number in (1, 2):
        replay = tracer.diagnose(fit=number).replay
        assert replay is not None and replay.reproduced == replay.steps == STEPS * EPOCHS


def test_a_fit_of_another_model_inside_a_fit(tmp_path: Path) -> None:
    """A callback that trains a helper with the same tracer: the outer recording goes on."""
    tracer = Tracer(tmp_path / "fit.diag")
    inner: list[float] = []

    class Trains(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                inner.extend(fit(seed=9, callbacks=[tracer])[1])

    _, outer = fit(seed=1, callbacks=[tracer, Trains()])
    assert [[row.logged["loss"] for row in tracer.diagnose(fit=n).epoch_rows] for n in (1, 2)] == [outer, inner]
    _, third = fit(seed=3, callbacks=[tracer])
    assert [row.logged["loss"] for row in tracer.diagnose().epoch_rows] == third
    assert len(tracer.runs) == len(list(tmp_path.iterdir())) == 3


def test_a_thread_that_diagnoses_leaves_the_others_alone(tmp_path: Path) -> None:
    """The first fit to end is diagnosed while the other still runs."""
    tracer = Tracer(tmp_path / "fit.diag")
    begun, go_on = threading.Event(), threading.Event()

    class Waits(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            begun.set()
            assert go_on.wait(60)

    losses: list[float] = []
    thread = threading.Thread(target=lambda: losses.extend(fit(seed=1, callbacks=[tracer, Waits()])[1]))
    thread.start()
    assert begun.wait(60)
    _, own = fit(seed=2, callbacks=[tracer])
    assert [row.logged["loss"] for row in tracer.diagnose(fit=2).epoch_rows] == own
    go_on.set()
    thread.join()
    diagnosis = tracer.diagnose(fit=1)
    assert diagnosis.notice is None and [row.logged["loss"] for row in diagnosis.epoch_rows] == losses
