"""Attaching twice is harmless: the fit is as without, one trace is written, and every tracer can say what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import diagnose
from diagnose import Tracer, read_trace
from tests.attach.fits import STEPS, fit, left, model


@pytest.fixture(scope="module")
def plain() -> tuple[list[bytes], list[float]]:
    trained, losses = fit(trained=model(noisy=True))
    return left(trained), losses


LISTS: dict[str, Callable[[Tracer, Tracer], list[Any]]] = {
    "two tracers": lambda a, b: [a, b],
    "one tracer twice": lambda a, b: [a, a],
    "all of it": lambda a, b: [b, a, keras.callbacks.TerminateOnNaN(), b, a],
}


@pytest.mark.parametrize("form", LISTS)
def test_tracers_in_one_list(form: str, plain: tuple[list[bytes], list[float]], tmp_path: Path) -> None:
    a, b = Tracer(tmp_path / "a.diag"), Tracer(tmp_path / "b.diag")
    trained, losses = fit(callbacks=LISTS[form](a, b), trained=model(noisy=True))
    assert (left(trained), losses) == plain
    (path,) = tmp_path.iterdir()
    used = [a] if form == "one tracer twice" else [a, b]
    assert [[run.path for run in tracer.runs] for tracer in used] == [[path]] * len(used)  # says which one recorded
    for tracer in used if form == "two tracers" else used[-1:]:
        diagnosis = tracer.diagnose()
        assert [row.logged["loss"] for row in diagnosis.epoch_rows] == losses
        assert diagnosis.replay is not None and diagnosis.replay.reproduced == diagnosis.replay.steps == 2 * STEPS
        assert diagnosis.notice is None
    assert not hasattr(trained.train_function, "__diagnose__")


def test_two_tracers_of_a_fit_that_raises(tmp_path: Path) -> None:
    class Raises(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise ZeroDivisionError

    a, b = Tracer(tmp_path / "a.diag"), Tracer(tmp_path / "b.diag")
    with pytest.raises(ZeroDivisionError):
        fit(callbacks=[a, b, Raises()], epochs=3)
    for tracer in (b, a):  # the one that shares comes first: it has the recording closed
        diagnosis = tracer.diagnose()
        assert diagnosis.notice is not None and "did not reach its end" in diagnosis.notice
        assert [row.epoch for row in diagnosis.epoch_rows] == [1]


def test_another_tracer_after_a_fit_that_raised(tmp_path: Path) -> None:
    """The first tracer was never told that its fit ended; the next one records all the same, even to the same file."""

    class Raises(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise ZeroDivisionError

    first = Tracer(tmp_path / "a.diag")
    trained = None
    with pytest.raises(ZeroDivisionError):
        fit(callbacks=[first, Raises()])
    again = Tracer(tmp_path / "a.diag")
    trained, losses = fit(callbacks=[again])
    assert [p.name for p in tmp_path.iterdir()] == ["a.diag"]
    other = Tracer(tmp_path / "b.diag")
    with pytest.raises(ZeroDivisionError):
        fit(callbacks=[again, Raises()], trained=trained)
    _, more = fit(callbacks=[other], trained=trained)
    with read_trace(tmp_path / "b.diag") as trace:
        assert trace.status == "complete" and [e.logs["loss"] for e in trace.epochs] == more
    assert [row.logged["loss"] for row in again.diagnose(fit=1).epoch_rows] == losses


def test_fit_inside_a_fit_of_the_same_model(tmp_path: Path) -> None:
    """It is not recorded on its own; what it does to the weights is seen by the outer one."""

    class Inner(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                fit(trained=self.model, epochs=1)

    with diagnose.trace(tmp_path) as session:
        _, losses = fit(callbacks=[Inner()])
    assert [run.path.name for run in session.runs] == ["fit-1.diag"]
    with read_trace(session.runs[0].path) as trace:
        assert trace.status == "complete" and [e.logs["loss"] for e in trace.epochs] == losses
        assert [e.detail.callback for e in trace.events if e.kind == "weights-changed"] == ["Inner"]
