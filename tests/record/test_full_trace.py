"""What is said of a fit whose trace had no room for everything: the same as of a whole one, or that it is not known."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Diagnosis, Tracer, read_trace
from diagnose.record.budget import SHARES, Meter, Tier
from diagnose.record.guard import TracingStopped
from tests.record.fits import held, linear, rows

STEPS = 3


def no_steps_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The trace is too full for more than so many steps, and for weights inside epochs."""
    fits, asked = Meter.fits, []

    def limited(self: Meter, tier: Tier, more: int) -> bool:
        asked.append(tier)
        return fits(self, tier, more) and (tier is not Tier.STEPS or asked.count(tier) <= count)

    monkeypatch.setattr(Meter, "fits", limited)


class Clip(keras.callbacks.Callback):  # type: ignore[misc]
    """Halves the first kernel after every step, as a weight constraint would."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        kernel = self.model.layers[0].kernel
        kernel.assign(kernel * 0.5)


class Ends(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.held: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.held.append(held(self.model))


def run(path: Path, *callbacks: Any, batch_size: int = 4, **arguments: Any) -> tuple[Tracer, Ends, Any]:
    tracer, ends = Tracer(path, weights="epochs"), Ends()
    x, y = rows()
    model = linear(keras.optimizers.SGD(0.6))
    history = model.fit(
        x, y, batch_size=batch_size, epochs=6, verbose=0, callbacks=[*callbacks, ends, tracer], **arguments
    )
    return tracer, ends, history


def stopping(monitor: str) -> Any:
    return keras.callbacks.EarlyStopping(monitor, patience=50, restore_best_weights=True)


def told(d: Diagnosis) -> dict[str, Any]:
    r = d.restoration
    assert r is not None
    names = ("best_epoch", "best_logged", "restored_epoch", "restored_version", "owner_versions", "verdict")
    return {name: getattr(r, name) for name in names}


@pytest.mark.parametrize(
    ("monitor", "batch_size", "count"), [("loss", 12, 0), ("loss", 12, 7), ("loss", 4, 7), ("val_loss", 4, 0)]
)
def test_without_steps_the_verdict_is_the_same(
    monitor: str, batch_size: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = rows(seed=1)
    arguments = {"batch_size": batch_size, "validation_data": (x, y), "shuffle": False}
    whole = run(tmp_path / "whole.diag", stopping(monitor), **arguments)[0].diagnose()
    no_steps_after(monkeypatch, count)
    tracer, ends, history = run(tmp_path / "full.diag", stopping(monitor), **arguments)
    full = tracer.diagnose()
    assert told(full) == told(whole)
    assert [row.logged for row in full.epoch_rows] == [
        {k: v[i] for k, v in history.history.items()} for i in range(len(ends.held))
    ]
    assert full.steps_total == 6 * 12 // batch_size
    assert full.notice is not None and "no steps or validation batches were recorded from epoch" in full.notice
    with read_trace(tracer.path) as trace:
        assert trace.unrecorded and not {e.epoch for e in trace.epochs} <= {s.epoch for s in trace.steps}
        for epoch, arrays in zip(trace.epochs, ends.held, strict=True):
            recorded = trace.arrays(trace.states[epoch.state])
            assert [a.tobytes() for a in recorded] == [a.tobytes() for a in arrays]
        left_out = trace.unrecorded
    assert not left_out & {ledger.epoch for ledger in full.ledgers}
    whole_ledgers = {(x.epoch, x.metric): (x.logged, x.evaluated) for x in whole.ledgers}
    for ledger in full.ledgers:
        if full.evaluation_data == whole.evaluation_data:
            assert whole_ledgers[ledger.epoch, ledger.metric] == (ledger.logged, ledger.evaluated)
    said = {f.rule: f.status for f in whole.findings}
    for finding in full.findings:
        assert finding.status in ("not-applicable", said[finding.rule]), finding
    full.to_html(tmp_path / "report.html")
    assert "no steps or validation batches" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize("count", [0, 7])
def test_what_callbacks_changed_between_steps_is_known_at_the_ends_of_epochs(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_steps_after(monkeypatch, count)
    monkeypatch.setitem(SHARES, Tier.CHANGED, 0.0)
    tracer, ends, _ = run(tmp_path / "fit.diag", Clip())
    with read_trace(tracer.path) as trace:
        assert [e.detail.callback for e in trace.events if e.kind == "changes-left-out"] == ["Clip"]
        for epoch, arrays in zip(trace.epochs, ends.held, strict=True):
            state = trace.states[epoch.state]
            assert [a.tobytes() for a in trace.arrays(state)] == [a.tobytes() for a in arrays]
            (changed,) = [
                e for e in trace.events if e.kind == "weights-changed" and e.step == epoch.last_version
            ]  # by the last step's callback
            assert changed.detail.callback == "Clip" and changed.detail.groups == ("trainable",)
            before, after = (trace.states[n] for n in (changed.detail.before, changed.detail.after))
            assert after.arrays == state.arrays and before.version == after.version == epoch.last_version
            assert before.arrays[0] != after.arrays[0] and before.arrays[1:] == after.arrays[1:]


def test_a_full_trace_ends_the_recording_with_one_warning_and_the_fit_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = Meter.fits
    monkeypatch.setattr(Meter, "fits", lambda self, tier, more: fits(self, tier, more) and seen.held == [])
    seen = Ends()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tracer, _, history = run(tmp_path / "fit.diag", seen)
    assert len(history.epoch) == 6
    (text,) = [str(w.message) for w in caught if w.category is TracingStopped]
    assert text.startswith("diagnose: tracing stopped: the trace may take 1 GiB, and it is full. Training goes on;")
    with read_trace(tracer.path) as trace:
        assert trace.status == "failed" and [e.kind for e in trace.events if e.kind.startswith("trac")] == [
            "tracing-stopped"
        ]
    notice = tracer.diagnose().notice
    assert notice is not None and notice.startswith("Tracing stopped: the trace may take 1 GiB, and it is full.")


def test_a_fit_of_many_epochs_stays_below_a_mebibyte(tmp_path: Path) -> None:
    tracer = Tracer(tmp_path / "fit.diag", max_bytes=1 << 20)
    x, y = rows(96)
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(300), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, epochs=8, verbose=0, callbacks=[Clip(), tracer])
    assert tracer.path.stat().st_size <= 1 << 20
    with read_trace(tracer.path) as trace:
        assert trace.status == "complete" and len(trace.epochs) == 8
        assert {e.detail.what for e in trace.events if e.kind == "limit"} >= {t.value for t in (Tier.UPDATES,)}
    assert tracer.diagnose().notice is not None
