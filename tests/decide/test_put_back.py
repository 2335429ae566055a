"""Weights that callbacks of the user's own put back or keep, told by what the model holds, whatever the code looks
like; against copies that the test keeps."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose.decide.put_back import kept_aside, put_back
from diagnose.tracefile.reader import Trace, read_trace
from tests.rules.runs import Seen, fit

RULE = "no-restore"
ARGUMENTS: dict[str, Any] = {"rate": 30.0, "batch": 16, "epochs": 5, "validation": True}


class Memory(keras.callbacks.Callback):
    """Keeps the weights of epoch 2 and puts them back in a hook, all or the trainable ones."""

    def __init__(self, hook: str | None, trainable_only: bool = False) -> None:
        super().__init__()
        self.hook, self.trainable_only, self.memory = hook, trainable_only, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.memory = self.model.get_weights()
        if epoch == 4:
            self.put("on_epoch_end")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 3:
            self.put("on_train_batch_end")

    def on_train_end(self, logs: Any = None) -> None:
        self.put("on_train_end")

    def put(self, hook: str) -> None:
        if self.memory is None or hook != self.hook:
            return
        if not self.trainable_only:
            self.model.set_weights(self.memory)
            return
        for v, kept in zip(self.model.weights, self.memory, strict=True):
            if v.trainable:
                v.assign(kept)


class Score(keras.callbacks.Callback):
    """Goes by a sum of several logs, whose names stand in an attribute."""

    def __init__(self, parts: dict[str, float], put_back: bool) -> None:
        super().__init__()
        self.parts, self.put_back, self.best, self.memory = parts, put_back, -np.inf, None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        score = sum(logs[name] * weight for name, weight in self.parts.items())
        if score > self.best:
            self.best, self.memory, self.epoch = score, self.model.get_weights(), epoch + 1

    def on_train_end(self, logs: Any = None) -> None:
        if self.put_back:
            self.model.set_weights(self.memory)


def trace_of(seen: Seen) -> Trace:
    return read_trace(seen.path)


def holds(seen: Seen, epoch: int) -> bool:
    pairs = zip(seen.model.get_weights(), seen.witness.weights[epoch - 1], strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_end", "on_train_end"])
def test_earlier_weights_are_seen_in_whichever_hook_they_come_back(hook: str) -> None:
    seen = fit(Memory(hook), **ARGUMENTS)
    assert holds(seen, 2)
    r = seen.diagnosis.restoration
    assert r is not None and (r.callback, r.restored_epoch, r.restored_version) == ("Memory", 2, 8)
    assert r.verdict == "put-back" and "by what it chose is not known" in r.sentence
    assert seen.finding(RULE).status == "passed"


def test_trainable_weights_put_back_without_their_statistics() -> None:
    seen = fit(Memory("on_train_end", True), layers=(keras.layers.BatchNormalization(),), **ARGUMENTS)
    assert not holds(seen, 2)
    with trace_of(seen) as trace:
        found = put_back(trace)
    assert found is not None and (found.part, found.epoch, found.version) == ("trainable", 2, 8)
    assert "put back the trainable weights of the end of epoch 2" in seen.diagnosis.restoration.sentence


def test_a_score_of_several_logs_is_not_one_of_them() -> None:
    callback = Score({"val_accuracy": 0.1, "val_loss": -1.0}, True)
    seen = fit(callback, **{**ARGUMENTS, "epochs": 8})
    r = seen.diagnosis.restoration
    assert callback.epoch < 8 and holds(seen, callback.epoch)
    assert (r.verdict, r.restored_epoch, r.best_logged) == ("aligned", callback.epoch, None)
    assert r.monitor == "a score of val_accuracy and val_loss"
    logged = seen.witness.logs[callback.epoch - 1]["val_loss"]
    assert f"val_loss {logged:.6g} (logged for epoch {callback.epoch}: {logged:.6g})" in r.sentence


def test_fails_where_weights_are_kept_and_never_put_back() -> None:
    callback = Score({"val_loss": -1.0, "val_accuracy": 0.1}, False)
    seen = fit(callback, **{**ARGUMENTS, "epochs": 8})
    finding = seen.finding(RULE)
    assert callback.epoch < 8 and holds(seen, 8)
    assert finding.status == "failed" and finding.evidence["best_epoch"] == callback.epoch
    assert f"keeps the weights of the end of epoch {callback.epoch} in `memory`" in finding.title
    assert "self.model.set_weights(self.memory)" in finding.advice
    assert seen.diagnosis.restoration.verdict == "not-restored"


def test_an_average_that_a_callback_puts_into_the_model() -> None:
    class Mean(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.ends: list[Any] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.ends.append(self.model.get_weights())

        def on_train_end(self, logs: Any = None) -> None:
            self.model.set_weights([np.mean(parts, axis=0) for parts in zip(*self.ends[-3:], strict=True)])

    seen = fit(Mean(), **ARGUMENTS)
    r = seen.diagnosis.restoration
    assert r is not None and (r.verdict, r.written_by, r.restored_version) == ("replaced", "Mean", None)
    assert r.average is not None and (r.average.kind, r.average.of, r.average.members) == ("mean", "epochs", (3, 4, 5))
    assert "it holds the mean of the weights at the ends of epochs 3–5" in r.sentence == seen.diagnosis.headline
    finding = seen.finding(RULE)
    assert finding.status == "not-applicable" and "Mean wrote others" in finding.title


def test_a_class_that_derives_from_early_stopping_and_restores_by_itself() -> None:
    class Mine(keras.callbacks.EarlyStopping):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, logs)
            if self.best_epoch == epoch:
                self.mine = self.model.get_weights()

        def on_train_end(self, logs: Any = None) -> None:
            self.model.set_weights(self.mine)

    seen = fit(Mine("val_loss", patience=9), **{**ARGUMENTS, "epochs": 8})
    best = int(np.argmin([log["val_loss"] for log in seen.witness.logs])) + 1
    r = seen.diagnosis.restoration
    assert best < 8 and holds(seen, best)
    assert r is not None and (r.callback, r.verdict, r.restored_epoch, r.monitor) == (
        "Mine",
        "aligned",
        best,
        "val_loss",
    )
    assert seen.finding(RULE).status == "passed"


def test_its_own_restore_goes_before_an_early_stopping_that_does_not_restore() -> None:
    seen = fit(keras.callbacks.EarlyStopping("val_loss", patience=9), Memory("on_train_end"), **ARGUMENTS)
    assert seen.diagnosis.restoration.callback == "Memory" and seen.finding(RULE).status == "passed"


def test_what_is_no_way_back_is_not_said_to_be_one() -> None:
    """All ends of epochs in a list (the witness), and weights that no decision goes by."""

    class Before(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.before = self.model.get_weights()

    seen = fit(Before(), **ARGUMENTS)
    with trace_of(seen) as trace:
        assert any(event.kind == "weights-kept" for event in trace.events)
        assert kept_aside(trace) is None and put_back(trace) is None
    assert seen.diagnosis.restoration is None


def test_kept_weights_that_are_the_last_ones_are_no_finding() -> None:
    class Latest(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.memory = self.model.get_weights() if logs["loss"] > -1 else None

    assert fit(Latest(), **ARGUMENTS).finding(RULE).status == "not-applicable"
