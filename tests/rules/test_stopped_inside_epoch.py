from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks
from tests.rules.runs import data, fit

RULE = "stopped-inside-epoch"


class StopsAfter(keras.callbacks.Callback):
    def __init__(self, updates: int, hook: str = "on_train_batch_end") -> None:
        super().__init__()
        self.left = updates
        self.__class__ = type("StopsAfter", (StopsAfter,), {hook: StopsAfter.count})

    def count(self, *_: Any, **__: Any) -> None:
        self.left -= 1
        if self.left == 0:
            self.model.stop_training = True


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_batch_begin"])
def test_fails_with_what_the_last_epoch_covers(hook: str) -> None:
    seen = fit(StopsAfter(11, hook), batch=10, epochs=9)  # 7 batches: six of 10 rows and one of 4
    assert len(seen.witness.logs) == 2
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    evidence = finding.evidence
    assert (evidence["callback"], evidence["hook"], evidence["epoch"]) == ("StopsAfter", hook, 2)
    assert (evidence["batches_done"], evidence["batches_of_an_epoch"]) == (4, 7)
    assert (evidence["rows_done"], evidence["rows_of_an_epoch"]) == (40, 64)
    assert evidence["logged"] == seen.witness.logs[-1]["loss"]
    assert evidence["end_of_epoch"] == pytest.approx(seen.evaluate()["loss"], rel=1e-5)
    assert finding.metric == "loss"
    blocks(finding.advice)


def test_the_effect_is_what_the_missing_rows_account_for() -> None:
    # At rate 0 nothing but the rows can make a difference: the first batch against all of them.
    seen = fit(StopsAfter(5), rate=0.0, epochs=9, shuffle=False)
    x, y = data()
    first = keras.models.clone_model(seen.model)
    first.set_weights(seen.model.get_weights())
    first.compile(loss="binary_crossentropy")
    gap = seen.evaluate()["loss"] - first.evaluate(x[:16], y[:16], verbose=0, return_dict=True)["loss"]
    assert abs(gap) > 1e-3
    finding = seen.finding(RULE)
    assert finding.effect == pytest.approx(abs(gap), rel=1e-4)
    assert finding.evidence["by_data_coverage"] == pytest.approx(gap, rel=1e-4)


@pytest.mark.recorded
def test_the_first_epoch_can_be_the_last() -> None:
    finding = fit(StopsAfter(3), epochs=9).finding(RULE)
    assert finding.status == "failed"
    assert (finding.evidence["batches_done"], finding.evidence["batches_of_an_epoch"]) == (3, 4)
    assert finding.evidence["rows_of_an_epoch"] is None


@pytest.mark.recorded
def test_control_stopped_with_the_last_batch() -> None:
    seen = fit(StopsAfter(8), epochs=9)
    assert len(seen.witness.logs) == 2
    assert seen.finding(RULE).status == "passed"


class StopsAtTheEnd(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = epoch == 1


@pytest.mark.recorded
def test_control_stopped_at_the_end_of_an_epoch() -> None:
    assert fit(StopsAtTheEnd()).finding(RULE).status == "not-applicable"


@pytest.mark.recorded
def test_control_a_run_that_was_not_stopped() -> None:
    assert fit().finding(RULE).status == "not-applicable"


def test_a_value_that_is_not_finite_says_enough_by_itself() -> None:
    keras.utils.set_random_seed(3)
    x, y = data()
    x = x.copy()
    x[20] = np.nan
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    tracer = Tracer()
    stops = keras.callbacks.TerminateOnNaN()
    model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0, callbacks=[stops, tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "not-applicable"


@pytest.mark.recorded
def test_without_knowing_an_epochs_batches_nothing_is_claimed() -> None:
    x, y = data()

    def batches() -> Any:
        for start in range(0, 64, 16):
            yield x[start : start + 16], y[start : start + 16]

    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    tracer = Tracer()
    model.fit(batches(), epochs=1, verbose=0, callbacks=[StopsAfter(2), tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "not-applicable"
    assert "not known" in finding.title
