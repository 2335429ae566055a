"""`with diagnose.trace(...)`: every fit inside is traced, none outside, and Keras is as before afterwards."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import keras
import pytest

import diagnose
from diagnose import DiagnoseError, Tracer, read_trace
from diagnose.record.guard import TracingStopped
from tests.attach.fits import STEPS, fit, left, model


def logged(path: Path) -> list[float]:
    with read_trace(path) as trace:
        assert trace.status == "complete"
        return [epoch.logs["loss"] for epoch in trace.epochs]


def test_every_fit_inside_is_traced_and_nothing_changes(tmp_path: Path) -> None:
    plain, losses = fit(trained=model(seed=1, noisy=True))
    with diagnose.trace(tmp_path / "runs") as session:
        traced, same = fit(trained=model(seed=1, noisy=True))
        _, others = fit(seed=2)
    assert same == losses and left(traced) == left(plain)
    assert [run.path for run in session.runs] == [tmp_path / "runs" / f"fit-{n}.diag" for n in (1, 2)]
    assert [logged(run.path) for run in session.runs] == [losses, others]
    fit(seed=3)
    assert len(session.runs) == 2 and sorted(p.name for p in (tmp_path / "runs").iterdir()) == [
        "fit-1.diag",
        "fit-2.diag",
    ]
    diagnoses = session.report(tmp_path / "report")
    assert [d.fit for d in diagnoses] == [1, 2]
    for diagnosis in diagnoses:
        assert diagnosis.replay is not None and diagnosis.replay.reproduced == diagnosis.replay.steps == 2 * STEPS
    assert {"report.html", "diagnosis.json", "timeline.png", "fit-2-timeline.png"} <= {
        p.name for p in (tmp_path / "report").iterdir()
    }


def test_a_report_replaces_only_the_sessions_own(tmp_path: Path) -> None:
    def session() -> Any:
        with diagnose.trace() as found:
            fit()
        return found

    first, second = session(), session()
    for _ in range(2):
        first.report(tmp_path / "r")
        assert first.reported == tmp_path / "r"
    before = (tmp_path / "r" / "diagnosis.json").read_bytes()
    for _ in range(2):
        second.report(str(tmp_path / "r"))
        assert second.reported == tmp_path / "r-1"
    assert (tmp_path / "r" / "diagnosis.json").read_bytes() == before
    second.report(tmp_path / "other")
    first.report(tmp_path / "other", force=True)
    assert first.reported == tmp_path / "other"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "r", "r-1"]


def test_patch_is_there_only_while_somebody_is_attached() -> None:
    before = keras.Model.fit
    assert "fit" not in vars(keras.Model)
    with diagnose.trace():
        inside = keras.Model.fit
        with diagnose.trace():
            assert keras.Model.fit is inside is not before
        assert keras.Model.fit is inside
    assert keras.Model.fit is before and "fit" not in vars(keras.Model)


def test_patch_of_somebody_else_survives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As autologging tools do: they wrap `fit` while we are attached and stay when we leave."""
    calls: list[int] = []
    session = diagnose.trace(tmp_path)
    with session:
        ours = keras.Model.fit

        def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return ours(self, *args, **kwargs)

        monkeypatch.setattr(keras.Model, "fit", theirs)
        fit()
    assert len(session.runs) == 1
    fit()
    assert len(session.runs) == 1 and calls == [1, 1]
    with diagnose.trace(tmp_path / "again") as again:
        fit()
    assert calls == [1, 1, 1]
    assert [run.path.name for run in again.runs] == ["fit-1.diag"]  # counted once, though the patch is met twice
    monkeypatch.undo()
    with diagnose.trace() as last:
        fit()
    assert len(last.runs) == 1


def test_inner_session_records_and_the_outer_one_shares(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path / "outer") as outer:
        _, first = fit(seed=1)
        with diagnose.trace(tmp_path / "inner") as inner:
            _, second = fit(seed=2)
        _, third = fit(seed=3)
    assert [run.path.parent.name for run in outer.runs] == ["outer", "inner", "outer"]
    assert [logged(run.path) for run in outer.runs] == [first, second, third]
    assert [run.path for run in inner.runs] == [outer.runs[1].path]
    assert [d.fit for d in inner.diagnose()] == [1]


def test_two_open_sessions_in_one_folder_keep_their_traces_apart(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path) as outer:
        _, first = fit(seed=1)
        with diagnose.trace(tmp_path) as inner:
            _, second = fit(seed=2)
    assert [logged(run.path) for run in outer.runs] == [first, second]
    assert [logged(run.path) for run in inner.runs] == [second]


def test_users_own_tracer_records(tmp_path: Path) -> None:
    own = Tracer(tmp_path / "own.diag")
    with diagnose.trace(tmp_path / "runs") as session:
        _, losses = fit(callbacks=[own])
    assert [run.path for run in session.runs] == [own.path] and logged(own.path) == losses
    assert list((tmp_path / "runs").iterdir()) == []
    assert session.diagnose()[0].headline == own.diagnose().headline


def test_only_fit(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path, only_fit=2) as session:
        fit(seed=1)
        _, second = fit(seed=2)
        fit(seed=3)
    assert [p.name for p in tmp_path.iterdir()] == ["fit-2.diag"] and logged(tmp_path / "fit-2.diag") == second
    assert [d.fit for d in session.diagnose()] == [2]
    with pytest.raises(DiagnoseError, match="entered once"), session:
        pass
    with pytest.raises(DiagnoseError, match="counts from 1"):
        diagnose.trace(only_fit=0)


def test_fit_that_raises_is_diagnosed_as_far_as_it_came() -> None:
    class Raises(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise ZeroDivisionError

    session = diagnose.trace()
    with pytest.raises(ZeroDivisionError), session:
        fit(callbacks=[Raises()], epochs=5)
    (diagnosis,) = session.diagnose()
    assert [row.epoch for row in diagnosis.epoch_rows] == [1]
    assert "fit" not in vars(keras.Model)


def test_limit_for_all_fits_together(tmp_path: Path) -> None:
    with diagnose.trace(tmp_path, max_bytes=1 << 20) as session, warnings.catch_warnings():
        warnings.simplefilter("ignore", TracingStopped)  # the last ones are not traced at all
        for seed in range(12):
            fit(seed=seed, epochs=4)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1 << 20
    assert 2 < len(session.runs) < 12
    diagnoses = session.diagnose()
    first, last = diagnoses[0], diagnoses[-1]
    assert first.notice is None and first.replay is not None and first.replay.reproduced == 4 * STEPS
    assert last.notice is not None and last.notice.startswith("All fits of this run together may take 1 MiB.")
    number, full = next((n, d) for n, d in enumerate(diagnoses) if "rows seen for the first time" in (d.notice or ""))
    assert full.versions["kept"] < full.versions["total"]
    with read_trace(session.runs[number].path) as trace:
        assert all(trace.index.kept(trace.states[epoch.state]) for epoch in trace.epochs)
        assert len(trace.steps) == 4 * STEPS


def test_fits_of_a_search_may_come_from_anywhere() -> None:
    """Subclasses with a fit of their own, positional callbacks, one callback not in a list, a CallbackList."""

    class Own(keras.Sequential):
        def fit(self, *args: Any, **kwargs: Any) -> Any:
            return super().fit(*args, **kwargs)

    def own() -> Any:
        made = Own([keras.Input((4,)), keras.layers.Dense(1)])
        made.compile("sgd", "mse")
        return made

    with diagnose.trace() as session:
        listed = keras.callbacks.CallbackList([keras.callbacks.History()], model=own())
        for callbacks in (None, keras.callbacks.TerminateOnNaN(), (keras.callbacks.TerminateOnNaN(),)):
            functools.partial(fit, trained=own())(callbacks=callbacks)
    assert len(session.runs) == 3 and listed.callbacks
