"""The table of a traced fit, against `evaluate` with weights that the test kept itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import DiagnoseError, Tracer, read_trace
from diagnose.decide.watched import decisions
from diagnose.policies.stopping import EarlyStopping, NoStopping, ReduceLROnPlateau, Threshold
from diagnose.policies.table import table
from diagnose.report.policies_view import COLUMNS, build_policies, lines
from diagnose.result.codec import from_dict, to_dict
from diagnose.result.diagnosis import Diagnosis, PolicyRow

EPOCHS = 8


class Ends(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[Any]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.weights.append([w.copy() for w in self.model.get_weights()])


class Run:
    """One fit with overshooting steps, its trace, and what each epoch's weights give in `evaluate`."""

    def __init__(self, path: Path, *callbacks: keras.callbacks.Callback) -> None:
        keras.utils.set_random_seed(0)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(96, 3)).astype("float32")
        y = (x @ [1.0, -2.0, 0.5] + rng.normal(size=96)).astype("float32")
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        model.compile(keras.optimizers.SGD(0.02, momentum=0.95), "mse", metrics=["mae"])
        ends, tracer = Ends(), Tracer(path)
        self.history = model.fit(
            x[:64], y[:64], validation_data=(x[64:], y[64:]), batch_size=16, epochs=EPOCHS, verbose=0,
            callbacks=[*callbacks, ends, tracer],
        ).history  # fmt: skip
        self.diagnosis = tracer.diagnose()
        self.path = path
        self.loss, self.val_loss = [], []
        for weights in ends.weights:
            model.set_weights(weights)
            self.loss.append(model.evaluate(x[:64], y[:64], batch_size=16, verbose=0)[0])
            self.val_loss.append(model.evaluate(x[64:], y[64:], verbose=0)[0])

    def row(self, policy: Any, metric: str) -> PolicyRow:
        with read_trace(self.path) as trace:
            known = {row.epoch: row.reevaluated for row in self.diagnosis.epoch_rows}
            found = table(trace, decisions(trace), known, metric, [policy])
        assert found is not None
        return found.rows[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("whole") / "fit.diag")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Run:
    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=1, restore_best_weights=True)
    return Run(tmp_path_factory.mktemp("stopped") / "fit.diag", stopping)


def test_a_policy_is_judged_by_the_weights_it_would_hold(whole: Run) -> None:
    losses = whole.history["loss"]
    row = whole.row(EarlyStopping("loss", patience=EPOCHS, restore_best_weights=True), "loss")
    best = int(np.argmin(losses))
    assert (row.held_epoch, row.best_number, row.epochs, row.stopped_epoch) == (best + 1, losses[best], EPOCHS, None)
    assert row.held_value == pytest.approx(whole.loss[best], rel=1e-5)
    assert row.optimism == pytest.approx(losses[best] - whole.loss[best], rel=1e-3)
    assert abs(row.optimism) > 0.01 * losses[best]  # the run is made so that it shows

    row = whole.row(NoStopping(), "val_loss")
    assert (row.held_epoch, row.optimism) == (EPOCHS, None)
    assert row.held_value == pytest.approx(whole.val_loss[-1], rel=1e-5)


def test_a_threshold_keeps_the_end_of_the_epoch_that_reached_it(whole: Run) -> None:
    limit = sorted(whole.history["loss"])[3]
    first = next(i for i, v in enumerate(whole.history["loss"]) if v <= limit)
    row = whole.row(Threshold("loss", limit, "<="), "loss")
    assert (row.stopped_epoch, row.held_epoch, row.epochs) == (first + 1, first + 1, first + 1)
    assert row.held_value == pytest.approx(whole.loss[first], rel=1e-5)
    with read_trace(whole.path) as trace:
        seconds = [e.seconds for e in trace.epochs]
    assert row.time_saved == pytest.approx(sum(seconds[first + 1 :]) / sum(seconds), abs=1e-9)


def test_the_table_knows_the_best_epoch_in_hindsight(whole: Run) -> None:
    policies = whole.diagnosis.policies
    assert policies is not None and policies.metric == "val_loss" and policies.mode == "min"
    assert policies.best_epoch == int(np.argmin(whole.val_loss)) + 1
    assert all(row.reason is None for row in policies.rows if row.label == "no stopping")
    assert not any(row.own for row in policies.rows)


def test_what_lies_past_the_end_is_not_answered(stopped: Run) -> None:
    ended = len(stopped.history["loss"])
    assert ended < EPOCHS
    policies = stopped.diagnosis.policies
    assert policies is not None
    (own,) = [row for row in policies.rows if row.own]
    assert (own.stopped_epoch, own.epochs, own.time_saved) == (ended, ended, 0.0)
    assert own.held_value == pytest.approx(stopped.loss[int(np.argmin(stopped.history["loss"]))], rel=1e-5)
    for policy in (NoStopping(), EarlyStopping("loss", patience=10), ReduceLROnPlateau("loss", patience=10)):
        row = stopped.row(policy, "loss")
        assert row.reason == f"it would have trained on past epoch {ended} of {EPOCHS}, where this trace ends"
        assert (row.held_epoch, row.held_value, row.optimism, row.time_saved) == (None, None, None, None)
    reason = stopped.row(ReduceLROnPlateau("loss", patience=1), "loss").reason
    assert reason == f"it would have lowered the learning rate after epoch {ended}"


def test_without_the_model_only_validation_values_are_known(whole: Run) -> None:
    with read_trace(whole.path) as trace:
        by_loss = table(trace, (), {}, "loss")
        by_validation = table(trace, (), {}, "val_loss")
        with pytest.raises(DiagnoseError, match=r"no metric 'f1'; there are .*val_loss"):
            table(trace, (), {}, "f1")
    assert by_loss is not None and by_validation is not None
    assert {row.held_value for row in by_loss.rows} == {None} and "Of 8 epochs, 0 have a loss" in by_loss.notes[0]
    held = {row.held_epoch: row.held_value for row in by_validation.rows if row.reason is None}
    assert len(held) > 1
    for epoch, value in held.items():
        assert epoch is not None and value == pytest.approx(whole.val_loss[epoch - 1], rel=1e-5)


def test_validation_values_of_other_weights_are_not_taken_for_theirs(tmp_path: Path) -> None:
    class Shift(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.set_weights([w + 1 for w in self.model.get_weights()])

    run = Run(tmp_path / "fit.diag", Shift())
    row = run.row(NoStopping(), "val_loss")
    assert (row.held_epoch, row.held_value) == (EPOCHS, None)


def test_json_keeps_the_table_and_old_files_have_none(stopped: Run) -> None:
    value = json.loads(json.dumps(to_dict(stopped.diagnosis)))
    assert from_dict(value).policies == stopped.diagnosis.policies
    del value["policies"]
    assert from_dict(value).policies is None


def shown(diagnosis: Diagnosis) -> list[str]:
    assert diagnosis.policies is not None
    return list(lines(build_policies(diagnosis.policies)))


def test_the_terminal_shows_every_policy_in_100_columns(stopped: Run) -> None:
    text = shown(stopped.diagnosis)
    assert all(len(line) <= COLUMNS for line in text)
    joined = " ".join(" ".join(text).split())
    assert stopped.diagnosis.policies is not None
    for row in stopped.diagnosis.policies.rows:
        assert row.label[:30] in joined
    assert sum(line.startswith("* EarlyStopping on loss, patience 1 ") for line in text) == 1


def test_the_page_shows_the_table_and_escapes_it(stopped: Run, tmp_path: Path) -> None:
    policies = stopped.diagnosis.policies
    assert policies is not None
    hostile = replace(policies, rows=(replace(policies.rows[0], label="<script>x</script>"), *policies.rows[1:]))
    replace(stopped.diagnosis, policies=hostile).to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "What other stopping policies would have kept" in page
    assert "&lt;script&gt;x&lt;/script&gt;" in page and "<script>x" not in page
    assert page.count("not answerable from this trace") == sum(row.reason is not None for row in policies.rows)
