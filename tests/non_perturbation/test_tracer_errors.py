"""An error inside the tracer: one warning, the fit goes on bit for bit as if untraced, the trace says why it stops."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diagnose import Tracer, read_trace
from diagnose.record import describe
from diagnose.record.encoder import Encoder
from diagnose.record.guard import TracingStopped
from diagnose.record.recorder import Recorder
from tests.non_perturbation.fits import CASES, EPOCHS, STEPS, Comparison, differences, existing, run_case, run_fit

CASE = CASES["dropout_and_batch_norm"]


class Broken(Exception):
    pass


def breaks(owner: Any, name: str, at: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Makes call number `at` (from 1) of a function of the tracer raise."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(owner, name)
        calls = 0

        def broken(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                raise Broken(f"{name}, call {at}")
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, broken)

    return apply


PLACES = {
    "at the start": (breaks(describe, "compile_settings", 1), 0),
    "while looking between callbacks": (breaks(Recorder, "observe", 4), None),
    "before step 3": (breaks(Recorder, "before_step", 4), 3),
    "after step 3": (breaks(Recorder, "after_step", 4), 3),
    "in a validation pass": (breaks(Recorder, "before_evaluation_batch", 2), None),
    "at the end of an epoch": (breaks(Recorder, "end_epoch", 2), 2 * STEPS),
    "at the end of the fit": (breaks(Recorder, "end_training", 1), EPOCHS * STEPS),
    "while writing": (breaks(Encoder, "_step", 4), 3),
    "while writing the end": (breaks(Encoder, "_train_end", 1), EPOCHS * STEPS),
}


@pytest.fixture(scope="module")
def untraced(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return run_case(CASE, tmp_path_factory.mktemp("untraced"))


@pytest.mark.parametrize("place", PLACES)
def test_the_fit_goes_on_after_an_error_in_the_tracer(
    place: str, untraced: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    break_it, steps = PLACES[place]
    break_it(monkeypatch)
    tracer = Tracer(tmp_path / "fit.diag")
    traced = run_case(CASE, tmp_path, lambda callbacks: [tracer, *callbacks])
    stopped = [text for category, text in traced.first.warnings if category == TracingStopped.__name__]
    assert len(stopped) == 1 and "Broken" in stopped[0]
    traced.first.warnings = [w for w in traced.first.warnings if w[0] != TracingStopped.__name__]
    assert differences(untraced, traced) == []
    with read_trace(tracer.path) as trace:
        assert trace.status == "failed"
        (reason,) = [e.detail for e in trace.events if e.kind == "tracer-error"]
        assert reason.error.startswith("Broken: ")
        assert steps is None or len(trace.steps) == steps


def test_the_diagnosis_of_such_a_trace_says_so_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    PLACES["after step 3"][0](monkeypatch)
    tracer = Tracer(tmp_path / "fit.diag")
    run_case(CASE, tmp_path, lambda callbacks: [tracer])
    notice = tracer.diagnose().notice
    assert notice is not None and "Broken: after_step, call 4" in notice and "1 finished epoch" in notice


def test_even_where_warnings_are_errors_the_fit_goes_on(
    untraced: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PLACES["before step 3"][0](monkeypatch)
    model = CASE.model()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TracingStopped)
        history = model.fit(**CASE.data(), verbose=0, callbacks=[Tracer(tmp_path / "fit.diag")])
    assert history.epoch == list(range(EPOCHS))
    assert "tracing stopped" in capsys.readouterr().err


def test_the_next_fit_with_the_same_tracer_is_traced_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    PLACES["after step 3"][0](monkeypatch)
    tracer = Tracer(tmp_path / "fit.diag")
    model = CASE.model()
    for _ in range(2):
        run_fit(model, CASE.data(), [tracer])
    with read_trace(tmp_path / "fit-2.diag") as trace:
        assert trace.status == "complete" and len(trace.steps) == EPOCHS * STEPS


def test_a_path_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    from diagnose.errors import TraceWriteError

    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TraceWriteError, match="Cannot write a trace in"):
        Tracer(tmp_path / "file" / "fit.diag")


@pytest.mark.skipif("unseeded_operations" not in existing(), reason="about operations of TensorFlow")
@pytest.mark.parametrize("place", ["before step 3", "after step 3", "in a validation pass"])
def test_a_tracer_that_stops_inside_a_fit_changes_no_draw_that_follows(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Operations without a seed keep their state in the function they run in: it must be Keras's all along."""
    case = CASES["unseeded_operations_in_executions"]
    plain = run_case(case, tmp_path)
    PLACES[place][0](monkeypatch)
    tracer = Tracer(tmp_path / "fit.diag")
    traced = run_case(case, tmp_path, lambda callbacks: [tracer, *callbacks])
    assert [category for category, _ in traced.first.warnings] == [TracingStopped.__name__]
    traced.first.warnings = []
    assert differences(plain, traced) == []
