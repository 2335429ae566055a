from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.rules.advice import blocks
from tests.rules.runs import Seen, fit

RULE = "running-mean-batch-logs"


class Notes(keras.callbacks.Callback):
    """Notes what it is handed, and the weights before each step, for the batch's own loss."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.handed: list[float] = []
        self.weights: list[list[np.ndarray]] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.handed.append(float(logs["loss"]))


def own_losses(seen: Seen, notes: Notes, batch: int) -> list[float]:
    """Binary cross-entropy of each step's batch, by NumPy."""
    found = []
    for step, (kernel, bias) in enumerate(notes.weights):
        start = step * batch % len(seen.x)
        x, y = seen.x[start : start + batch].astype(float), seen.y[start : start + batch]
        p = 1 / (1 + np.exp(-(x @ kernel + bias)[:, 0]))
        found.append(float(np.mean(-y * np.log(p) - (1 - y) * np.log(1 - p))))
    return found


@pytest.mark.parametrize("batch", [16, 24], ids=["equal batches", "a short last batch"])
def test_fails_with_the_step_where_the_two_are_furthest_apart(batch: int) -> None:
    notes = Notes()
    seen = fit(notes, batch=batch, epochs=3, shuffle=False)
    per_epoch = -(-len(seen.x) // batch)
    own = own_losses(seen, notes, batch)
    distances = [
        0.0 if i % per_epoch == 0 else abs(h - o) for i, (h, o) in enumerate(zip(notes.handed, own, strict=True))
    ]
    step = int(np.argmax(distances))
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    evidence = finding.evidence
    assert (evidence["callback"], evidence["hook"], evidence["key"]) == ("Notes", "on_train_batch_end", "loss")
    assert (evidence["epoch"], evidence["batch"]) == (1 + step // per_epoch, 1 + step % per_epoch)
    assert evidence["handed"] == pytest.approx(notes.handed[step], rel=1e-6)
    assert evidence["of_the_batch"] == pytest.approx(own[step], rel=1e-4)
    assert finding.effect == pytest.approx(distances[step], rel=1e-3)
    assert finding.metric == "loss"


def test_the_advice_gives_each_batchs_own_value(capsys: pytest.CaptureFixture[str]) -> None:
    notes = Notes()
    seen = fit(notes, epochs=2, shuffle=False)
    (code,) = blocks(seen.finding(RULE).advice)
    names: dict[str, Any] = {"keras": keras}
    exec(code[: code.index("model.fit")], names)
    again = Notes()
    seen = fit(names["OwnValues"](), again, epochs=2, shuffle=False)
    printed = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if line.startswith("batch ")]
    assert printed == pytest.approx(own_losses(seen, again, 16), abs=1e-4)


class NotesAll(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for name, value in logs.items():
            vars(self).setdefault(name, []).append(value)


@pytest.mark.recorded
def test_taking_all_values_is_reading_each() -> None:
    finding = fit(NotesAll()).finding(RULE)
    assert finding.status == "failed"
    assert finding.evidence["key"] in ("loss", "accuracy")


@pytest.mark.recorded
def test_a_lambda_callback_is_a_reader() -> None:
    seen: list[float] = []
    reader = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
    assert fit(reader).finding(RULE).status == "failed"


class NotesEpochs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.last = logs["loss"]


@pytest.mark.recorded
def test_control_read_at_the_end_of_the_epoch() -> None:
    assert fit(NotesEpochs()).finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_control_one_batch_per_epoch() -> None:
    assert fit(Notes(), batch=64).finding(RULE).status == "not-applicable"


class NotesAfterReset(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.last = logs["loss"]


@pytest.mark.recorded
def test_control_metrics_reset_before_each_batch() -> None:
    finding = fit(NotesAfterReset()).finding(RULE)
    assert finding.status == "passed"
    assert finding.effect == 0.0


@pytest.mark.recorded
def test_control_callbacks_of_keras() -> None:
    assert fit(keras.callbacks.TerminateOnNaN()).finding(RULE).status == "not-applicable"


class NotesRate(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.last = logs.get("rate")


@pytest.mark.recorded
def test_a_key_that_fit_does_not_log_is_left_alone() -> None:
    assert fit(NotesRate()).finding(RULE).status == "not-applicable"
