"""NaN and infinity are values that were logged: named as such, with where they began, and never "not in the logs"."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Diagnosis, Tracer
from diagnose.report.ledger_view import build_ledgers
from tests.rules.advice import blocks, cures, paste

RULE = "missing-monitor"


def fit(callbacks: list[Any], *, bad_label: int | None = None, bad: float = math.nan, **arguments: Any) -> Any:
    """A fit with one label that is no number: row 90, of validation, or an earlier one. Returns diagnosis, history and
    the weights at the end of each epoch, noted by a callback of the test's own."""
    keras.utils.set_random_seed(2)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(100, 4)).astype("float32")
    y = (x @ rng.normal(size=(4, 1))).astype("float32")
    if bad_label is not None:
        y[bad_label] = bad
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    weights: list[Any] = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))
    tracer = Tracer()
    data = {"validation_data": (x[80:], y[80:]), "shuffle": False, "batch_size": 20, "epochs": 10, **arguments}
    history = model.fit(x[:80], y[:80], verbose=0, callbacks=[*callbacks, note, tracer], **data).history
    return tracer.diagnose(), history, weights, model


def stopping(monitor: str = "val_loss", **more: Any) -> Any:
    return keras.callbacks.EarlyStopping(monitor, **{"patience": 3, "restore_best_weights": True, **more})


def finding(diagnosis: Diagnosis) -> Any:
    return next(f for f in diagnosis.findings if f.rule == RULE)


def test_validation_that_is_nan_in_every_epoch() -> None:
    diagnosis, history, weights, model = fit([stopping()], bad_label=90)
    assert len(history["val_loss"]) == 4 and all(map(math.isnan, history["val_loss"]))
    for held, first in zip(model.get_weights(), weights[0], strict=True):
        np.testing.assert_array_equal(held, first)  # Keras kept the first epoch
    found = finding(diagnosis)
    assert found.status == "failed"
    assert found.title.startswith("'val_loss' was logged as NaN in 4 epochs")
    assert "the model holds the end of epoch 1. It stopped training after epoch 4." in found.title
    assert found.title.endswith("First, val_loss was NaN in epoch 1; no batch of training was.")
    assert found.evidence["kept_epoch"] == 1 and found.evidence["first_batch"] is None
    r = diagnosis.restoration
    assert r is not None and (r.verdict, r.best_epoch, r.restored_epoch, r.restored_version) == ("aligned", 1, 1, 4)
    assert r.best_logged is not None and math.isnan(r.best_logged) and r.confirmed is True
    assert diagnosis.headline == found.title
    assert "never saw" not in repr(diagnosis) + r.sentence + diagnosis.headline


def test_its_advice_finds_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    diagnosis, *_ = fit([stopping()], bad_label=90)
    (code,) = blocks(finding(diagnosis).advice)
    y_val = np.zeros((20, 1), "float32")
    y_val[10] = math.nan
    assert "EarlyStopping" in code  # the user's own call
    scope: dict[str, Any] = {"np": np}
    exec(code.split("model.fit")[0], scope)
    scope["numbers"](np.zeros((20, 4)), y_val)
    assert capsys.readouterr().out == "rows without a number: [10]\n"


def test_training_that_becomes_nan_is_named_by_its_batch() -> None:
    """Row 50 is in the third batch of every epoch; from its update on, everything is NaN."""
    diagnosis, history, _, _ = fit([stopping("loss")], bad_label=50)
    assert all(map(math.isnan, history["loss"]))
    found = finding(diagnosis)
    assert found.status == "failed"
    assert "First, loss was NaN in epoch 1; in training, loss was NaN in batch 3 of epoch 1 (step 2)." in found.title
    assert found.evidence["first_batch"]["step"] == 2
    assert found.advice == finding_advice(diagnosis, "missing-monitor") and "numbers(x, y)" in found.advice


def test_without_a_callback_the_headline_says_where_it_began() -> None:
    diagnosis, history, _, _ = fit([], bad_label=50, epochs=2)
    assert math.isnan(history["loss"][-1])
    assert diagnosis.headline == (
        "fit logged loss NaN for epoch 2. What came first: loss was NaN in epoch 1; loss was NaN in batch 3 of epoch 1 "
        "(step 2). It began in the labels: y[50] of the arrays given to fit is not finite."
    )


def test_infinite_is_no_number_to_go_by_either() -> None:
    diagnosis, history, _, _ = fit([stopping()], bad_label=90, bad=math.inf)
    assert all(map(math.isinf, history["val_loss"]))
    found = finding(diagnosis)
    assert found.status == "failed" and "'val_loss' was logged as inf in 4 epochs" in found.title
    assert "val_loss was infinite in epoch 1" in found.title


def test_stopping_that_does_not_restore_keeps_the_last() -> None:
    diagnosis, _, _, _ = fit([stopping(restore_best_weights=False)], bad_label=90)
    r = diagnosis.restoration
    assert r is not None and r.verdict == "not-restored" and finding(diagnosis).evidence["kept_epoch"] is None
    assert (
        r.sentence == "Nothing was restored: EarlyStopping saw 'val_loss' as NaN only, and NaN compares with nothing."
    )
    assert next(f for f in diagnosis.findings if f.rule == "no-restore").status == "not-applicable"


def test_control_one_number_is_enough() -> None:
    diagnosis, _, _, _ = fit([stopping()])
    assert finding(diagnosis).status == "passed"


def test_a_value_that_is_no_number_is_not_called_missing() -> None:
    class Text(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["grade"] = "good"

    saving = keras.callbacks.EarlyStopping("grade", mode="min", patience=99, start_from_epoch=99)
    diagnosis, _, _, _ = fit([Text(), saving], epochs=2)
    r = diagnosis.restoration
    assert r is not None and r.sentence == "Nothing was restored: EarlyStopping saw no number in 'grade'."


def of_rule(diagnosis: Diagnosis, rule: str = "not-finite") -> Any:
    return next(f for f in diagnosis.findings if f.rule == rule)


def first_bad(weights: list[Any]) -> int | None:
    return next((i for i, held in enumerate(weights, 1) if not all(np.isfinite(w).all() for w in held)), None)


def test_rule_names_the_step_and_the_weights() -> None:
    diagnosis, history, weights, _ = fit([], bad_label=50, epochs=3)
    found = of_rule(diagnosis)
    assert first_bad(weights) == 1 and all(map(math.isnan, history["loss"]))
    assert found.status == "failed"
    assert found.title.startswith("loss was NaN in epoch 1; loss was NaN in batch 3 of epoch 1 (step 2). 3 of 3 epochs")
    assert "from version 3 on (epoch 1)" in found.title  # step 2 makes version 3
    assert found.evidence["first_weights"]["version"] == 3
    assert len(blocks(found.advice)) == 1


def test_rule_weights_that_overflow_later() -> None:
    """A rate so large that the weights leave the numbers, some epochs after the first."""
    diagnosis, history, weights, _ = fit([Rate(1e30, 3)], epochs=5)
    found, epoch = of_rule(diagnosis), first_bad(weights)
    assert epoch is not None and epoch > 1 and found.status == "failed"
    assert found.evidence["first_weights"]["epoch"] == epoch
    logged = next(i for i, v in enumerate(history["loss"], 1) if not math.isfinite(v))
    assert found.evidence["first_logged"]["epoch"] <= logged


def test_rule_validation_alone() -> None:
    diagnosis, _, weights, _ = fit([], bad_label=90, epochs=2)
    found = of_rule(diagnosis)
    assert first_bad(weights) is None
    assert found.status == "failed" and "The weights stayed finite." in found.title
    origin = found.evidence["origin"]  # row 90 is the eleventh of validation
    assert (origin["cause"], origin["rows"], origin["step"]) == ("labels", (10,), None)
    assert "in the validation labels: y[10] is not finite" in found.title
    assert (found.evidence["rows"], found.evidence["inputs"], found.evidence["labels"]) == (1, 0, 1)


@cures("not-finite")
@pytest.mark.parametrize("row", [50, 90], ids=["training", "validation"])
def test_advice_trains_and_validates_over_numbers(row: int) -> None:
    """As many epochs of numbers as without the row. Oracle: the loss by NumPy over the other rows."""
    diagnosis, _, _, model = fit([], bad_label=row, epochs=2)
    found = of_rule(diagnosis)
    named = "labels: y[50] of the arrays given to fit" if row == 50 else "validation labels: y[10]"
    assert f"It began in the {named} is not finite." in found.title
    rng = np.random.default_rng(3)
    x = rng.normal(size=(100, 4)).astype("float32")
    y = (x @ rng.normal(size=(4, 1))).astype("float32")
    y[row] = math.nan
    again = keras.models.clone_model(model)
    again.compile(keras.optimizers.Adam(), "mse")
    given = {"x": x[:80], "y": y[:80], "x_val": x[80:], "y_val": y[80:]}
    fill = {"epochs=...": "epochs=2, verbose=0"}
    history = paste(found.advice, fill=fill, model=again, **given)["model"].history.history
    assert all(np.isfinite(values).all() for values in history.values())
    error = keras.ops.convert_to_numpy(again(x[80:])) - y[80:]
    assert history["val_loss"][-1] == pytest.approx(float(np.nanmean(error**2)), rel=1e-4)


def test_advice_for_updates_that_were_too_large() -> None:
    """All rows are numbers: the user's own optimizer, with a tenth of the rate and gradients cut off."""
    x, y = np.full((40, 2), 30.0, "float32"), np.ones((40, 1), "float32")
    x[::2] *= -1

    def build_model() -> Any:
        keras.utils.set_random_seed(2)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    model, tracer = build_model(), Tracer()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    assert not np.isfinite(model.fit(x, y, epochs=6, verbose=0, callbacks=[tracer]).history["loss"]).all()
    found = of_rule(tracer.diagnose())
    assert "All rows of that batch are finite numbers." in found.title and "SGD(0.01, clipnorm=1.0)" in found.advice
    fill = {"epochs=...": "epochs=6, verbose=0", "loss=..., metrics=[...]": "loss='mse'"}
    again = paste(found.advice, fill=fill, build_model=build_model, x=x, y=y)["model"]
    assert len(again.history.history["loss"]) == 6 and np.isfinite(again.history.history["loss"]).all()


def finding_advice(diagnosis: Diagnosis, rule: str) -> str:
    return str(of_rule(diagnosis, rule).advice)


def test_rule_names_who_wrote_such_weights() -> None:
    class Poison(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.set_weights([np.full_like(w, math.nan) for w in self.model.get_weights()])

    diagnosis, _, weights, _ = fit([Poison()], epochs=2)
    origin = of_rule(diagnosis).evidence["origin"]
    assert first_bad(weights) == 2
    assert (origin["cause"], origin["name"], origin["step"]) == ("weights", "Poison", 4)


def test_rule_weights_that_grow_are_training_that_diverged() -> None:
    diagnosis, _, _, _ = fit([Rate(1e12, 1)], epochs=2)
    found = of_rule(diagnosis)
    assert found.evidence["origin"]["largest"] > 1e6 and "training diverged" in found.title


def test_rule_control() -> None:
    diagnosis, _, _, _ = fit([], epochs=2)
    assert of_rule(diagnosis).status == "passed"


def test_nothing_passes_on_what_is_not_finite_and_the_ledger_says_so() -> None:
    diagnosis, _, _, _ = fit([stopping("loss")], bad_label=50, epochs=3)
    passed = [f.rule for f in diagnosis.findings if f.status == "passed" and f.metric == "loss"]
    assert passed == []
    moving = of_rule(diagnosis, "moving-average-of-weights")
    assert (moving.status, moving.title) == (
        "not-applicable",
        "loss is NaN or infinite, so there is nothing to measure.",
    )
    drawn, others = build_ledgers(diagnosis)
    assert drawn and all("no gap to take apart" in x.title for x in (*drawn, *others))
    assert {row.kind for x in drawn for row in x.rows} == {"logged", "evaluated"}


class Rate(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, rate: float, epoch: int) -> None:
        super().__init__()
        self.rate, self.epoch = rate, epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 == self.epoch:
            self.model.optimizer.learning_rate = self.rate
