from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import msgspec
import numpy as np
import pytest

from diagnose import read_trace
from diagnose.rules import ema_order
from diagnose.rules.facts import Facts
from tests.rules.advice import blocks
from tests.rules.runs import Seen, Witness, fit

RULE = "ema-order"
MOMENTUM = 0.9


class FirstWitness(Witness):
    """Stands before all other callbacks, so it sees weights that no callback has exchanged yet."""


def ema() -> Any:
    return keras.optimizers.SGD(2.0, momentum=0.9, use_ema=True, ema_momentum=MOMENTUM)


def stopping(**settings: Any) -> Any:
    return keras.callbacks.EarlyStopping("val_loss", patience=50, restore_best_weights=True, **settings)


def run(*callbacks: Any, epochs: int = 6, **arguments: Any) -> tuple[Seen, FirstWitness]:
    """One update per epoch, so that the witness has every version."""
    first = FirstWitness()
    return fit(first, *callbacks, batch=64, epochs=epochs, validation=True, optimizer=ema(), **arguments), first


def by_hand(versions: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """The moving average after each update, in a plain loop; the first update starts it."""
    found: list[list[np.ndarray]] = []
    for weights in versions:
        last = found[-1] if found else weights
        found.append([MOMENTUM * a + (1 - MOMENTUM) * w for a, w in zip(last, weights, strict=True)])
    return found


def equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(one, other, strict=True))


def test_a_the_average_comes_in_after_the_last_validation() -> None:
    seen, first = run()
    finding = seen.finding(RULE)
    average = by_hand(first.weights)[-1]
    assert equal(seen.model.get_weights(), average) and not equal(average, first.weights[-1])
    assert (finding.status, finding.evidence["computed_with"], finding.evidence["held"]) == ("failed", "raw", "average")
    logged = seen.witness.logs[-1]["val_loss"]
    assert (finding.evidence["epoch"], finding.evidence["logged"], finding.metric) == (6, logged, "val_loss")
    held = seen.evaluate(average)["loss"]
    assert finding.evidence["held_value"] == pytest.approx(held, rel=1e-5)
    assert finding.effect == pytest.approx(abs(held - logged), rel=1e-4)
    assert "SwapEMAWeights()" in blocks(finding.advice)[0]


def test_b_a_restore_throws_the_average_away() -> None:
    seen, first = run(stopping())
    finding = seen.finding(RULE)
    best = int(np.argmin([log["val_loss"] for log in seen.witness.logs]))
    assert equal(seen.model.get_weights(), first.weights[best])
    assert finding.status == "failed"
    assert (finding.evidence["held"], finding.evidence["held_epoch"]) == ("raw", best + 1)
    assert finding.evidence["written_by"] == "EarlyStopping"
    lost = seen.evaluate(by_hand(first.weights)[-1])["loss"]
    assert finding.evidence["average_value"] == pytest.approx(lost, rel=1e-5)
    assert finding.effect == pytest.approx(abs(seen.evaluate()["loss"] - lost), rel=1e-3)


@pytest.mark.parametrize("swap_first", [True, False])
def test_c_validation_scores_the_average_and_a_restore_brings_back_raw_weights(swap_first: bool) -> None:
    callbacks = [keras.callbacks.SwapEMAWeights(), stopping()]
    seen, first = run(*(callbacks if swap_first else callbacks[::-1]))
    finding = seen.finding(RULE)
    logged = [log["val_loss"] for log in seen.witness.logs]
    best = int(np.argmin(logged))
    assert logged[best] == pytest.approx(seen.evaluate(by_hand(first.weights)[best])["loss"], rel=1e-5)
    assert equal(seen.model.get_weights(), first.weights[best])
    assert (finding.status, finding.evidence["computed_with"], finding.evidence["held"]) == ("failed", "average", "raw")
    assert (finding.evidence["epoch"], finding.evidence["held_epoch"]) == (best + 1, best + 1)
    assert finding.effect == pytest.approx(abs(seen.evaluate()["loss"] - logged[best]), rel=1e-3)


def test_d_the_order_decides_what_a_file_holds(tmp_path: Path) -> None:
    def callbacks() -> list[Any]:
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        path = str(tmp_path / "best.weights.h5")
        saved = keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True, save_weights_only=True)
        return [saved, swap]

    def in_file(seen: Seen) -> list[np.ndarray]:
        copy = keras.models.clone_model(seen.model)
        copy.load_weights(tmp_path / "best.weights.h5")
        return copy.get_weights()

    seen, first = run(*callbacks())
    finding = seen.finding(RULE)
    best = int(np.argmin([log["val_loss"] for log in seen.witness.logs]))
    assert equal(in_file(seen), first.weights[best])
    assert (finding.status, finding.evidence["saved"], finding.evidence["epoch"]) == ("failed", "raw", best + 1)
    assert finding.evidence["saved_value"] == pytest.approx(seen.evaluate(in_file(seen))["loss"], rel=1e-5)
    assert "ModelCheckpoint" in blocks(finding.advice)[0]

    seen, first = run(*callbacks()[::-1])
    assert equal(in_file(seen), by_hand(first.weights)[best])
    assert seen.finding(RULE).status == "passed"


def test_d_control_the_average_is_there_when_early_stopping_copies_it() -> None:
    seen, first = run(keras.callbacks.SwapEMAWeights(swap_on_epoch=True), stopping())
    best = int(np.argmin([log["val_loss"] for log in seen.witness.logs]))
    assert equal(seen.model.get_weights(), by_hand(first.weights)[best])
    assert seen.finding(RULE).status == "passed"


class StopsAfterFour(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = epoch == 3


def test_e_an_early_stop_leaves_the_raw_weights() -> None:
    seen, first = run(keras.callbacks.SwapEMAWeights(swap_on_epoch=True), StopsAfterFour())
    finding = seen.finding(RULE)
    assert len(first.weights) == 4 and equal(seen.model.get_weights(), first.weights[-1])
    assert (finding.status, finding.evidence["computed_with"], finding.evidence["held"]) == ("failed", "average", "raw")
    assert finding.evidence["held_epoch"] == 4
    assert finding.effect == pytest.approx(abs(seen.evaluate()["loss"] - seen.witness.logs[-1]["val_loss"]), rel=1e-3)


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [keras.callbacks.SwapEMAWeights()],
        lambda: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
        lambda: [keras.callbacks.SwapEMAWeights(), StopsAfterFour()],
    ],
    ids=["swap", "swap on epoch, to the planned end", "swap, stopped early"],
)
def test_control_the_average_is_scored_and_held(callbacks: Any) -> None:
    seen, first = run(*callbacks())
    assert equal(seen.model.get_weights(), by_hand(first.weights)[-1])
    finding = seen.finding(RULE)
    assert finding.status == "passed"
    assert finding.evidence["held_value"] == pytest.approx(seen.witness.logs[-1]["val_loss"], rel=1e-5)


def test_without_an_average_there_is_nothing_to_judge() -> None:
    finding = fit(stopping(), batch=64, validation=True).finding(RULE)
    assert finding.status == "not-applicable"
    assert "use_ema" in finding.title


def test_without_validation_it_says_so() -> None:
    finding = fit(optimizer=ema()).finding(RULE)
    assert finding.status == "not-applicable"
    assert "No validation value" in finding.title


class Zero(keras.callbacks.Callback):
    def on_train_end(self, logs: Any = None) -> None:
        self.model.set_weights([np.zeros_like(w) for w in self.model.get_weights()])


def test_weights_of_somebody_else_are_neither() -> None:
    seen, _ = run(Zero())
    assert seen.finding(RULE).status == "not-applicable"


def test_an_older_trace_does_not_say_which_variables_are_averages(tmp_path: Path) -> None:
    from diagnose import Tracer

    tracer = Tracer(tmp_path / "fit.diag")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(ema(), "mse")
    model.fit(np.ones((4, 1)), np.ones(4), verbose=0, callbacks=[tracer])
    with read_trace(tracer.path) as trace:
        trace.header = msgspec.structs.replace(trace.header, optimizer_variables=())
        finding = ema_order.check(Facts(trace, (), None))
    assert finding.status == "not-applicable"
    assert "does not say" in finding.title
