"""Questions that a report answers in several places have one answer: what the verdict, the table, the picture, the
rules and the command line say of the same value."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import diagnose
from diagnose import Tracer, read_trace
from diagnose.cli import policies
from diagnose.decide.clock import steps_before_reset
from diagnose.report.epoch_table import build_epochs
from diagnose.report.json import dumps, loads
from diagnose.report.timeline import build_timeline
from diagnose.result.diagnosis import Diagnosis, Restoration
from diagnose.rules import ROLES, RULES
from tests.rules.runs import data, fit

STEPS = 16


class EvaluateInside(keras.callbacks.Callback):  # type: ignore[misc]
    """Runs `evaluate` after these batches (1-based) of each epoch, which resets the metrics."""

    def __init__(self, *after: int) -> None:
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch + 1 in self.after:
            self.model.evaluate(*data(), verbose=0)


def all_say(diagnosis: Diagnosis) -> dict[int, set[tuple[int, int] | None]]:
    """epoch -> the spans that table, picture, JSON and restoration give for what the restore went by."""
    r = diagnosis.restoration
    assert isinstance(r, Restoration)
    table, view = build_epochs(diagnosis), build_timeline(diagnosis)
    assert view is not None
    found: dict[int, set[tuple[int, int] | None]] = {}
    for row, drawn, tie in zip(diagnosis.epoch_rows, table.rows, view.ties, strict=True):
        clock = row.clocks[r.monitor]
        spans = [clock.span, tie.computed_at, *([r.computed_at] if row.epoch == r.best_epoch else [])]
        told = {None if span is None else (span.first, span.last) for span in spans}
        if clock.source == "train-steps":
            ends = [int(part) for part in drawn.computed_at.split("–")]
            told.add((ends[0], ends[-1]))
        found[row.epoch] = told
    (back,) = loads(dumps([diagnosis]))
    assert [row.clocks for row in back.epoch_rows] == [row.clocks for row in diagnosis.epoch_rows]
    return found


def test_of_an_epoch_with_an_evaluate_inside_all_say_what_the_log_covers() -> None:
    stopping = keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
    seen = fit(EvaluateInside(5, 10), stopping, batch=4, epochs=4, rate=0.02)
    covered = {e: {(STEPS * (e - 1) + 10, STEPS * e - 1)} for e in range(1, 5)}
    assert all_say(seen.diagnosis) == covered
    finding = seen.finding("moving-average-of-weights")
    assert finding.status == "failed", finding.title
    assert {tuple(finding.evidence["computed_at_versions"])} == covered[finding.evidence["epoch"]]
    inside = seen.finding("evaluate-inside-epoch")
    assert inside.evidence["batches_covered"] == STEPS - 10


def test_a_log_that_covers_no_step_has_no_version() -> None:
    stopping = keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
    seen = fit(EvaluateInside(STEPS), stopping, batch=4, epochs=2, rate=0.02)
    assert [row.clocks["loss"].span for row in seen.diagnosis.epoch_rows] == [None, None]
    assert seen.diagnosis.restoration.computed_at is None and seen.diagnosis.restoration.owner_versions == ()


class ValidateTheFirst(keras.callbacks.Callback):  # type: ignore[misc]
    """Validates the weights that the first epoch ended with, whatever the epoch."""

    first: Any = None

    def on_test_begin(self, logs: Any = None) -> None:
        self.held = self.model.get_weights()
        self.first = self.held if self.first is None else self.first
        self.model.set_weights(self.first)

    def on_test_end(self, logs: Any = None) -> None:
        self.model.set_weights(self.held)


def test_weights_put_in_for_validation_are_the_version_that_all_name() -> None:
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True)
    seen = fit(ValidateTheFirst(), stopping, batch=8, epochs=3, validation=True)
    assert all_say(seen.diagnosis) == {1: {(8, 8)}, 2: {(8, 8)}, 3: {(8, 8)}}
    assert [row.validation_version for row in seen.diagnosis.epoch_rows] == [8, 8, 8]
    assert seen.diagnosis.epochs["validation_version"].tolist() == [8, 8, 8]
    epochs = json.loads(dumps([seen.diagnosis]))["fits"][0]["epochs"]
    assert [e["validation_version"] for e in epochs] == [8, 8, 8]


def test_a_loop_resets_its_metrics_and_its_log_covers_all_its_steps() -> None:
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    with diagnose.watch(model) as watch:
        for _ in range(2):
            for start in range(0, 64, 16):
                model.train_on_batch(x[start : start + 16], y[start : start + 16])
            watch.end_epoch()
    spans = [row.clocks["loss"].span for row in watch.diagnose().epoch_rows]
    assert [(s.first, s.last) for s in spans if s is not None] == [(0, 3), (4, 7)]


class AddsItsOwn(keras.callbacks.Callback):  # type: ignore[misc]
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["grade"] = 1.0 / (epoch + 1)


def test_a_value_of_the_users_own_has_a_source_and_no_version() -> None:
    stopping = keras.callbacks.EarlyStopping("grade", mode="min", patience=9, restore_best_weights=True)
    seen = fit(AddsItsOwn(), stopping, batch=64, epochs=3)
    assert {row.clocks["grade"].source for row in seen.diagnosis.epoch_rows} == {"own"}
    assert {row.clocks["loss"].source for row in seen.diagnosis.epoch_rows} == {"train-steps"}
    assert all_say(seen.diagnosis) == {1: {None}, 2: {None}, 3: {None}}
    assert (seen.diagnosis.restoration.verdict, seen.diagnosis.restoration.owner_versions) == ("no-owner", ())


class PutsBack(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the epoch with the best val_accuracy in a way of its own."""

    best = -1.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["val_accuracy"] > self.best:
            self.best, self.kept = logs["val_accuracy"], self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:
        self.model.set_weights(self.kept)


def asked(path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    parser = argparse.ArgumentParser()
    policies.add_arguments(parser)
    assert policies.execute(parser.parse_args([str(path), "--json", *words])) == 0
    return json.loads(capsys.readouterr().out)


def test_policies_are_judged_by_the_same_value_in_the_report_and_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = data()
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.set_weights([np.array([[2.0], [-1.0], [0.0]]), np.array([0.0])])
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", metrics=["accuracy"])
    tracer = Tracer(tmp_path / "fit.diag")
    # It unlearns what it knows, so the last epoch is not the best.
    logs = model.fit(x, 1 - y, validation_data=(x, y), epochs=4, verbose=0, callbacks=[PutsBack(), tracer]).history
    best = int(np.argmax(logs["val_accuracy"])) + 1
    assert best < 4
    found = tracer.diagnose()
    assert found.policies is not None and found.policies.metric == "val_accuracy"
    alone = asked(tmp_path / "fit.diag", capsys)
    assert (
        (alone["metric"], alone["best_epoch"]) == ("val_accuracy", found.policies.best_epoch) == ("val_accuracy", best)
    )
    # … nor where it is made anew, for policies that were asked for.
    again = asked(tmp_path / "fit.diag", capsys, "--policy", "NoStopping()")
    assert (again["metric"], again["best_epoch"]) == ("val_accuracy", found.policies.best_epoch)


def two_outputs() -> tuple[Any, Any, Any]:
    inputs = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1, activation="sigmoid", name=name)(inputs) for name in ("a", "b")}
    model = keras.Model(inputs, outputs)
    model.compile(
        "sgd", loss=dict.fromkeys("ab", "binary_crossentropy"), metrics={"a": ["accuracy"], "b": ["accuracy"]}
    )
    x, y = data()
    return model, x, {"a": y, "b": 1 - y}


def test_two_outputs_of_a_watched_model_are_two_values_as_in_fit() -> None:
    model, x, y = two_outputs()
    with diagnose.watch(model) as watch:
        for start in range(0, 64, 16):
            part = slice(start, start + 16)
            returned = model.train_on_batch(x[part], {k: v[part] for k, v in y.items()}, return_dict=True)
    logged = watch.diagnose().epoch_rows[0].logged
    assert set(logged) == set(returned)
    found = watch.diagnose()
    assert {ledger.metric for ledger in found.ledgers} == set(returned)


def test_a_finding_is_known_by_its_role_and_the_diagnosis_says_its_own_mismatch() -> None:
    assert set(ROLES) <= set(RULES)
    seen = fit(keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True), batch=64, epochs=3)
    assert {f.rule: f.role for f in seen.diagnosis.findings if f.role is not None} == ROLES
    # One update late, and the later weights are the better ones: nothing to repair.
    assert seen.finding("one-step-epoch").severity == "notable" and not seen.diagnosis.mismatch
    late = keras.callbacks.EarlyStopping("loss", patience=9, restore_best_weights=True)
    assert fit(late, batch=64, epochs=8, rate=30.0).diagnosis.mismatch
    assert not fit(epochs=1, rate=0.0, validation=True, layers=(keras.layers.Dense(3),)).diagnosis.mismatch


def test_a_stored_diagnosis_of_an_older_release_gets_its_clocks_from_the_trace(tmp_path: Path) -> None:
    from diagnose.analysis.tables import with_clocks

    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    tracer = Tracer(tmp_path / "fit.diag")
    model.fit(x, y, validation_data=(x, y), batch_size=16, epochs=2, verbose=0, callbacks=[tracer])
    found = tracer.diagnose()
    document = json.loads(dumps([found]))
    for epoch in document["fits"][0]["epochs"]:
        del epoch["clocks"]
    (old,) = loads(json.dumps(document))
    assert not any(row.clocks for row in old.epoch_rows)
    with read_trace(tmp_path / "fit.diag") as trace:
        assert with_clocks(trace, old).epoch_rows == found.epoch_rows
        assert [steps_before_reset(trace, e) for e in trace.epochs] == [0, 0]
    spans = [{name: (c.span.first, c.span.last) for name, c in row.clocks.items()} for row in found.epoch_rows]
    assert spans == [{"loss": (0, 3), "val_loss": (4, 4)}, {"loss": (4, 7), "val_loss": (8, 8)}]
    assert np.isfinite(list(found.epoch_rows[0].logged.values())).all()
