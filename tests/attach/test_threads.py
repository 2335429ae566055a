"""Fits that run at the same time in several threads keep their traces apart."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import diagnose
from diagnose import Tracer, read_trace
from tests.attach.fits import rows

EPOCHS = 4


class Meets(keras.callbacks.Callback):
    """Holds each epoch until the other thread is there, so that the fits do overlap."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self.barrier = barrier

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.barrier.wait(60)


def made(width: int) -> Any:
    layers = [keras.Input((4,)), keras.layers.Dense(width), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    return model


def at_once(work: Callable[[int, threading.Barrier], None]) -> None:
    barrier = threading.Barrier(2)
    errors: list[BaseException] = []

    def guarded(index: int) -> None:
        try:
            work(index, barrier)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=guarded, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def check(path: Path, model: Any, losses: list[float]) -> None:
    with read_trace(path) as trace:
        assert trace.status == "complete" and [e.logs["loss"] for e in trace.epochs] == losses
        final = next(e.detail.state for e in trace.events if e.kind == "train-end")
        held = trace.arrays(trace.index.kept(trace.states[final]))
        for array, variable in zip(held, model.variables, strict=True):
            np.testing.assert_array_equal(array, keras.ops.convert_to_numpy(variable.value))


def test_each_with_its_tracer_even_to_the_same_path(tmp_path: Path) -> None:
    x, y = rows()
    models = [made(2), made(3)]
    tracers = [Tracer(tmp_path / "fit.diag") for _ in models]
    losses: list[list[float]] = [[], []]
    filters = list(warnings.filters)

    def work(index: int, barrier: threading.Barrier) -> None:
        callbacks = [Meets(barrier), tracers[index]]
        fitted = models[index].fit(x, y, batch_size=8, epochs=EPOCHS, verbose=0, callbacks=callbacks)
        losses[index] = fitted.history["loss"]

    at_once(work)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fit-2.diag", "fit.diag"]
    for model, tracer, own in zip(models, tracers, losses, strict=True):
        check(tracer.runs[0].path, model, own)
        replay = tracer.diagnose().replay
        assert replay is not None and replay.reproduced == replay.steps == 3 * EPOCHS
    assert warnings.filters == filters


def test_session_has_the_fits_of_its_threads(tmp_path: Path) -> None:
    x, y = rows()
    models = [made(2), made(3)]
    losses: dict[int, list[float]] = {}

    def work(index: int, barrier: threading.Barrier) -> None:
        fitted = models[index].fit(x, y, batch_size=8, epochs=EPOCHS, verbose=0, callbacks=[Meets(barrier)])
        losses[id(models[index])] = fitted.history["loss"]

    with diagnose.trace(tmp_path) as session:
        at_once(work)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fit-1.diag", "fit-2.diag"]
    assert {id(run.model) for run in session.runs} == set(losses)
    for run in session.runs:
        check(run.path, run.model, losses[id(run.model)])


def test_threads_with_a_session_each_have_their_own_fits(tmp_path: Path) -> None:
    x, y = rows()
    models = [made(2), made(3)]
    sessions: list[Any] = [None, None]

    def work(index: int, barrier: threading.Barrier) -> None:
        barrier.wait(60)
        with diagnose.trace(tmp_path / str(index)) as session:
            sessions[index] = session
            barrier.wait(60)
            models[index].fit(x, y, batch_size=8, epochs=EPOCHS, verbose=0, callbacks=[Meets(barrier)])
            barrier.wait(60)

    at_once(work)
    for index, session in enumerate(sessions):
        assert [run.path for run in session.runs] == [tmp_path / str(index) / "fit-1.diag"]
        assert session.runs[0].model is models[index]
    assert "fit" not in vars(keras.Model)
