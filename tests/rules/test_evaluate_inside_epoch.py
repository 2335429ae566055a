from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from tests.rules.advice import blocks
from tests.rules.runs import Seen, data, fit

RULE = "evaluate-inside-epoch"
X, Y = data(40)
IN_ORDER = {"shuffle": False}
"""Torch draws the order of the rows anew where a callback evaluates, so only fits in order are alike but for that."""


class Evaluates(keras.callbacks.Callback):
    """Evaluates other rows after some batches of each epoch (0-based)."""

    def __init__(self, *after: int, rows: float = 3.0) -> None:
        super().__init__()
        self.after, self.rows = after, rows

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch in self.after:
            self.model.evaluate(self.rows * X, 1 - Y, verbose=0)


def undisturbed(**arguments: Any) -> list[float]:
    """The losses the same fit logs without a callback that evaluates: the values over all batches."""
    return [log["loss"] for log in fit(**IN_ORDER, **arguments).witness.logs]


def judged(seen: Seen) -> tuple[Any, int]:
    finding = seen.finding(RULE)
    assert finding.status == "failed"
    epoch = finding.evidence["epoch"]
    assert finding.evidence["logged"] == seen.witness.logs[epoch - 1]["loss"]
    return finding, epoch - 1


def test_fails_with_the_value_over_all_batches() -> None:
    finding, at = judged(fit(Evaluates(1), **IN_ORDER))
    whole = undisturbed()[at]
    evidence = finding.evidence
    assert evidence["over_all_batches"] == pytest.approx(whole, rel=1e-5)
    assert finding.effect == pytest.approx(abs(evidence["logged"] - whole), rel=1e-3)
    assert (evidence["callback"], evidence["hook"]) == ("Evaluates", "on_train_batch_end")
    assert evidence["epochs"] == [1, 2, 3, 4, 5]
    assert (evidence["batches"], evidence["batches_covered"], evidence["carried_in"]) == (4, 2, 40)
    assert finding.metric == "loss"


def test_the_last_of_several_resets_counts() -> None:
    finding, _ = judged(fit(Evaluates(0, 2)))
    assert finding.evidence["batches_covered"] == 1


def test_after_the_last_batch_the_log_is_that_of_the_evaluation() -> None:
    seen = fit(Evaluates(3), epochs=2, **IN_ORDER)
    finding, at = judged(seen)
    copy = keras.models.clone_model(seen.model)
    copy.set_weights(seen.witness.weights[at])
    copy.compile(loss="binary_crossentropy")
    assert finding.evidence["logged"] == pytest.approx(
        copy.evaluate(3 * X, 1 - Y, verbose=0, return_dict=True)["loss"], rel=1e-5
    )
    assert finding.evidence["over_all_batches"] == pytest.approx(undisturbed(epochs=2)[at], rel=1e-5)
    assert (finding.evidence["batches_covered"], finding.evidence["carried_in"]) == (0, None)
    assert "covers none of its 4 batches" in finding.title


class Resets(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch == 3:
            self.model.reset_metrics()


def test_a_plain_reset_leaves_the_last_batches() -> None:
    finding, at = judged(fit(Resets(), rate=0.1, **IN_ORDER))
    assert finding.evidence["over_all_batches"] == pytest.approx(undisturbed(rate=0.1)[at], rel=1e-5)
    assert (finding.evidence["batches_covered"], finding.evidence["carried_in"]) == (1, 0)
    assert finding.evidence["hook"] == "on_train_batch_begin"


def test_a_lambda_callback_is_named() -> None:
    def look(batch: int, logs: Any) -> None:
        if batch == 1:
            takes.model.evaluate(3 * X, 1 - Y, verbose=0)  # on JAX, asking the callback for it syncs the state

    takes = keras.callbacks.LambdaCallback(on_train_batch_end=look)
    finding, _ = judged(fit(takes, epochs=2))
    assert finding.evidence["callback"] == "LambdaCallback"


class EvaluatesBetween(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.evaluate(3 * X, 1 - Y, verbose=0)


@pytest.mark.parametrize("validation", [False, True])
def test_control_between_epochs(validation: bool) -> None:
    seen = fit(EvaluatesBetween(), validation=validation, **IN_ORDER)
    assert [log["loss"] for log in seen.witness.logs] == undisturbed(validation=validation)
    assert seen.finding(RULE).status == "passed"


@pytest.mark.recorded
def test_control_a_batch_hook_that_only_looks() -> None:
    looks = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
    assert fit(looks).finding(RULE).status == "passed"


def test_the_advice_puts_the_sums_back() -> None:
    (code,) = blocks(fit(Evaluates(1)).finding(RULE).advice)
    names: dict[str, Any] = {"keras": keras, "x_val": 3 * X, "y_val": 1 - Y, "zip": zip}
    exec(code[: code.index("model.fit")].replace("% 100", "% 2"), names)
    seen = fit(names["EvaluateInside"](), **IN_ORDER)
    assert [log["loss"] for log in seen.witness.logs] == pytest.approx(undisturbed(), rel=1e-6)
    assert seen.finding(RULE).status == "passed"


@pytest.mark.recorded
def test_a_reset_that_does_not_move_the_value_passes() -> None:
    x, y = data()
    order = np.tile(x[:16], (4, 1)), np.tile(y[:16], 4)  # every batch is the same

    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    tracer = Tracer()
    model.fit(*order, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[Resets(), tracer])
    finding = next(f for f in tracer.diagnose().findings if f.rule == RULE)
    assert finding.status == "passed"
    assert finding.evidence["epochs"] == [1, 2]
