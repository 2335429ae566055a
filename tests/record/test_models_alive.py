"""How long models of traced fits live: bounded, whatever a tracer or a session has traced."""

from __future__ import annotations

import contextlib
import gc
import random
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import Tracer
from diagnose.record.held import KEPT_FITS, Held, Kept
from tests.attach.fits import STEPS, fit, left, model, rows

FITS = 20


class Raises(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        raise ZeroDivisionError


def alive(references: list[weakref.ref[Any]]) -> int:
    gc.collect()
    return sum(reference() is not None for reference in references)


def many(callbacks: Callable[[], list[Any]], fits: int = FITS) -> list[weakref.ref[Any]]:
    found = []
    for seed in range(fits):
        keras.utils.set_random_seed(seed)
        made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        made.compile("sgd", "mse", run_eagerly=True)
        x, y = rows()
        made.fit(x, y, epochs=1, batch_size=20, verbose=0, callbacks=callbacks())
        found.append(weakref.ref(made))
    return found


def test_a_tracer_keeps_the_last_model_alone(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    models = many([tracer].copy)
    assert alive(models) == 1 and models[-1]() is not None
    assert all(run.recorder.model is None for run in tracer.runs)
    diagnosis = tracer.diagnose()
    assert diagnosis.replay is not None and diagnosis.replay.reproduced == 1
    del tracer, diagnosis
    assert alive(models) == 0


def test_a_session_keeps_the_last_models(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as session:
        models = many(list)
    assert alive(models) == KEPT_FITS and models[0]() is None
    found = session.diagnose()
    assert len(found) == FITS
    assert all(d.replay is not None and d.replay.reproduced == 1 for d in found)  # the first ones: built again
    del session
    assert alive(models) == 0


def test_tracers_of_one_fit_each_keep_nothing_when_dropped(tmp_path: Path) -> None:
    before = threading.active_count()
    models = many(lambda: [Tracer(tmp_path / "fit.diag")], fits=4)
    assert alive(models) == 0 and threading.active_count() == before


def test_fits_that_raise_are_sealed_and_released_without_a_word_to_the_tracer(tmp_path: Path) -> None:
    """As trials that a tuner prunes: an exception ends the fit, and nobody ever asks the tracer again."""
    models, before = [], threading.active_count()
    for n in range(3):
        trained = model(n)
        models.append(weakref.ref(trained))
        with contextlib.suppress(ZeroDivisionError):
            fit(trained=trained, callbacks=[Tracer(tmp_path / f"{n}.diag"), Raises()])
        del trained
    gc.collect()  # the end of such a fit is noticed where its callbacks are collected
    for thread in threading.enumerate():
        if thread.name in ("diagnose-closer", "diagnose-writer"):
            thread.join(60)
    assert alive(models) == 0 and threading.active_count() == before
    for n in range(3):
        with diagnose.read_trace(tmp_path / f"{n}.diag") as trace:
            assert trace.sealed and trace.status == "failed"


def test_a_fit_whose_model_is_gone_is_diagnosed_with_one_built_again(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    reference = weakref.ref(fit(trained=model(1, noisy=True), callbacks=[tracer])[0])
    trained, losses = fit(trained=model(2, noisy=True), callbacks=[tracer])
    assert alive([reference]) == 0
    states = random.getstate(), np.random.get_state()[1].tobytes(), left(trained)
    first = tracer.diagnose(fit=1)
    assert (random.getstate(), np.random.get_state()[1].tobytes(), left(trained)) == states
    assert first.replay is not None and first.replay.reproduced == first.replay.steps == 2 * STEPS
    assert first.ledgers and first.notice is None
    assert [row.logged["loss"] for row in tracer.diagnose(fit=2).epoch_rows] == losses


def test_a_model_of_the_users_own_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.out = keras.layers.Dense(1)

        def call(self, inputs: Any) -> Any:
            return self.out(inputs)

    def own() -> Any:
        made = Own()
        made.compile("sgd", "mse")
        made(rows()[0])
        return made

    tracer = Tracer(tmp_path / "fit.diag")
    losses = fit(trained=own(), callbacks=[tracer])[1]
    fit(trained=own(), callbacks=[tracer])
    gc.collect()
    first = tracer.diagnose(fit=1)
    assert [row.logged["loss"] for row in first.epoch_rows] == losses
    assert first.replay is None and first.notice is not None and "the model of this fit is gone" in first.notice


def test_a_model_that_lives_is_used_however_old_its_fit(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag")
    trained, _ = fit(trained=model(1), callbacks=[tracer])
    fit(seed=2, callbacks=[tracer])
    run = tracer.runs[0]
    assert run.model is trained and run.compiled is not None and run.compiled["optimizer"] is trained.optimizer
    trained.compile("adam", "mae")  # what the fit was compiled with is gone: an equal model is built
    gc.collect()
    assert run.compiled is None
    replay = tracer.diagnose(fit=1).replay
    assert replay is not None and replay.reproduced == replay.steps == 2 * STEPS
    assert trained.loss == "mae"


@pytest.mark.parametrize(("sizes", "left_over"), [([1, 1, 1, 1], 3), ([3, 3, 3], 2), ([9], 1), ([1, 1, 9], 1)])
def test_bounds_of_what_is_kept(sizes: list[int], left_over: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, "nbytes", lambda self: self.model[0])
    kept, references = Kept(fits=3, nbytes=6), []
    for size in sizes:
        held = Held([size])
        kept.add(held)
        kept.add(held)
        references.append(weakref.ref(held))
        del held
    assert alive(references) == left_over and references[-1]() is not None
