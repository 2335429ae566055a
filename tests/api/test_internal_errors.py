"""An error of our own in one phase of the analysis costs that phase: it is named, and the rest is as without it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.result.diagnosis import Diagnosis

PHASES = {
    "decisions": "diagnose.analysis.measure.decisions",
    "choosing epochs": "diagnose.analysis.measure.analysed",
    "finding the rows": "diagnose.replay.opened.rows_fit_used",
    "opening the model": "diagnose.replay.opened.Replayer",
    "re-evaluation": "diagnose.replay.replayer.larger_batches",
    "verdict": "diagnose.analysis.measure.judge",
    "verdict's notes": "diagnose.analysis.measure.with_notes",
    "replay of the steps": "diagnose.replay.check._compared",
    "ledgers": "diagnose.ledger.build.shapley",
    "from zero state": "diagnose.analysis.asked_states.from_zero_state",
    "started": "diagnose.analysis.asked_states.started",
    "end of epoch": "diagnose.analysis.asked_states.end_of_epoch",
    "saved files": "diagnose.analysis.asked_states.saved_models",
    "headline": "diagnose.analysis.measure.headline",
    "epochs": "diagnose.analysis.measure.epoch_rows",
    "steps": "diagnose.analysis.measure.step_rows",
    "replay check": "diagnose.analysis.measure.replay_check",
    "versions": "diagnose.analysis.measure.versions",
    "policies": "diagnose.analysis.measure.policies_table",
}
"""What breaks, by the name the reader is told."""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracer, Any, Any]:
    keras.utils.set_random_seed(2)
    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
    y = x.sum(1, keepdims=True)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    tracer = Tracer(tmp_path_factory.mktemp("internal") / "run.diag")
    stop = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    history = model.fit(x, y, epochs=2, batch_size=8, verbose=0, callbacks=[stop, tracer]).history
    return tracer, model, history


@contextmanager
def broken(path: str) -> Iterator[None]:
    module, _, name = path.rpartition(".")

    def boom(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("boom")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module(module), name, boom)
        yield


def rest(d: Diagnosis) -> dict[str, Any]:
    return {
        "epochs": [row.logged for row in d.epoch_rows],
        "ledgers": [(x.epoch, x.metric, x.gap) for x in d.ledgers],
        "restoration": None if d.restoration is None else (d.restoration.verdict, d.restoration.restored_epoch),
        "reproduced": None if d.replay is None else d.replay.reproduced,
    }


@pytest.mark.parametrize("phase", PHASES)
def test_one_phase_that_breaks_is_named_and_the_rest_is_there(phase: str, fitted: Any) -> None:
    tracer, model, history = fitted
    plain = tracer.diagnose()
    assert plain.problems == () and plain.replay is not None and plain.replay.reproduced == 6
    weights = [w.copy() for w in model.get_weights()]
    with broken(PHASES[phase]):
        if phase == "re-evaluation":  # in larger batches only where the fit is long
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("diagnose.analysis.measure.is_short", lambda trace: False)
                found = tracer.diagnose()
        else:
            found = tracer.diagnose()
    assert any(p.startswith(f"an error in diagnose itself ({phase}") and "boom" in p for p in found.problems)
    assert found.notice is not None and "ZeroDivisionError: boom" in found.notice
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    needs_all = {"finding the rows", "opening the model", "ledgers", "replay of the steps", "decisions"}
    if phase not in needs_all | {"choosing epochs", "verdict", "epochs", "replay check", "re-evaluation"}:
        assert rest(found) == rest(plain)
    if phase != "epochs":
        assert [row.logged["loss"] for row in found.epoch_rows] == history["loss"]


def test_a_figure_that_cannot_be_drawn_leaves_a_page_that_says_so(
    fitted: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fitted[0].diagnose()
    with broken("diagnose.report.draw_ledger.draw_ledgers"):
        found.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "A figure is missing: an error in diagnose itself (drawing the ledger" in page
    assert page.count('class="dg-svg"') == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("diagnose: fit 1: an error in diagnose itself (drawing the ledger")


def test_a_trace_that_cannot_be_written_costs_no_diagnosis(fitted: Any) -> None:
    with broken("diagnose.analysis.own_trace.store_diagnosis"):
        found = fitted[0].diagnose()
    assert [p for p in found.problems if p.startswith("it is not kept in the trace")] == list(found.problems)
    assert found.replay is not None and found.replay.reproduced == 6
