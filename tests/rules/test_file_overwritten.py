from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import file_overwritten
from tests.rules.advice import cures, paste

RULE = file_overwritten.NAME


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def model() -> Any:
    keras.utils.set_random_seed(1)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.05), "mse")
    return made


def fit(made: Any, *callbacks: Any, rate: float = 0.05, epochs: int = 3) -> tuple[Any, list[float]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype("float32")
    y = x[:, :1] * 2
    made.optimizer.learning_rate = rate
    tracer = Tracer()
    history = made.fit(
        x[:30], y[:30], validation_data=(x[30:], y[30:]), epochs=epochs, verbose=0, callbacks=[*callbacks, tracer]
    )
    return next(f for f in tracer.diagnose().findings if f.rule == RULE), history.history["val_loss"]


def best(name: str = "best.keras", **more: Any) -> Any:
    return keras.callbacks.ModelCheckpoint(name, monitor="val_loss", save_best_only=True, **more)


def test_fails_where_a_later_fit_wrote_a_worse_model() -> None:
    made = model()
    first, then = fit(made, best(), epochs=6)
    assert first.status == "not-applicable"
    finding, now = fit(made, best(), rate=1.5)
    assert min(now) > min(then), "the second fit is worse"
    assert finding.status == "failed" and finding.effect == pytest.approx(min(now) - min(then))
    assert finding.evidence["replaced_value"] == pytest.approx(min(then))
    assert finding.evidence["saved_value"] == pytest.approx(min(now))
    loaded = keras.models.load_model("best.keras")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype("float32")[30:]
    assert loaded.evaluate(x, x[:, :1] * 2, verbose=0) == pytest.approx(min(now), rel=1e-5)


def test_passes_where_the_later_model_is_better() -> None:
    made = model()
    fit(made, best())
    assert fit(made, best())[0].status == "passed"


def test_does_not_apply_where_the_earlier_file_was_moved_or_is_another() -> None:
    made = model()
    fit(made, best(), epochs=6)
    os.replace("best.keras", "first.keras")
    assert fit(made, best(), rate=1.5)[0].status == "not-applicable"
    assert fit(made, best("other.keras"), rate=1.5)[0].status == "not-applicable"
    assert fit(made)[0].status == "not-applicable"


def test_does_not_apply_where_the_later_fit_saved_nothing() -> None:
    made = model()
    _, then = fit(made, best(), epochs=6)
    finding, _ = fit(made, best(initial_value_threshold=min(then)), rate=1.5)
    assert finding.status == "not-applicable"


def test_does_not_apply_to_another_model() -> None:
    """A model for each fold, one file, which is done with after each."""
    fit(model(), best(), epochs=6)
    finding, _ = fit(model(), best(), rate=1.5)
    assert finding.status == "not-applicable" and "another model's" in finding.title


def test_fails_where_another_callback_of_the_fit_writes_over_the_best() -> None:
    class Grow(keras.callbacks.Callback):
        """From the third epoch on the model gets worse."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.05 if epoch < 2 else 1.5

    finding, values = fit(model(), Grow(), best("m.keras"), keras.callbacks.ModelCheckpoint("m.keras"), epochs=4)
    assert values[-1] > min(values)
    assert finding.status == "failed" and finding.evidence["replaced_trace"] is None
    assert finding.evidence["replaced_value"] == pytest.approx(min(values))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype("float32")
    given = {"x": x[:30], "y": x[:30, :1] * 2, "x_val": x[30:], "y_val": x[30:, :1] * 2}
    code = finding.advice.replace("callbacks = [", "callbacks = [grow, ")
    again = model()
    again.optimizer.learning_rate = 0.05
    paste(code, fill={"epochs=...": "epochs=4, verbose=0"}, grow=Grow(), model=again, **given)
    assert on_validation("m.keras") == pytest.approx(min(values), rel=1e-5)
    assert on_validation("m-last.keras") == pytest.approx(values[-1], rel=1e-5)


def on_validation(file: str) -> float:
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")[30:]
    return float(keras.models.load_model(file).evaluate(x, x[:, :1] * 2, verbose=0))


@cures(RULE)
def test_advice_keeps_the_best_of_each_fit() -> None:
    """The user's own call, with a file for each fit."""
    made, file = model(), "kept/best-{epoch:02d}.keras"
    saving = {"monitor": "val_loss", "save_best_only": True}
    fit(made, keras.callbacks.ModelCheckpoint(file, **saving), epochs=1)
    finding, _ = fit(made, keras.callbacks.ModelCheckpoint(file, **saving), rate=1.5, epochs=1)
    assert finding.status == "failed"
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    given = {"x": x[:30], "y": x[:30, :1] * 2, "x_val": x[30:], "y_val": x[30:, :1] * 2}
    again, values = model(), []
    for number, rate in enumerate((0.05, 1.5), start=1):
        again.optimizer.learning_rate = rate
        fill = {"number = 2": f"number = {number}", "epochs=...": "epochs=1, verbose=0"}
        paste(finding.advice, fill=fill, model=again, **given)
        values.append(again.evaluate(given["x_val"], given["y_val"], verbose=0))
    assert values[1] > values[0]
    for number, value in enumerate(values, start=1):
        assert on_validation(f"kept/best-01-{number}.keras") == pytest.approx(value, rel=1e-5)


class Saves(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the model to a file by itself."""

    def __init__(self, file: str, hook: str, method: str = "save") -> None:
        super().__init__()
        setattr(self, hook, lambda *args: getattr(self.model, method)(file))


class Worse(keras.callbacks.Callback):  # type: ignore[misc]
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.05 if epoch < 1 else 1.5


@pytest.mark.parametrize(
    ("hook", "method", "file"),
    [("on_epoch_end", "save", "m.keras"), ("on_train_end", "save_weights", "m.weights.h5")],
)
def test_fails_where_a_callback_of_ones_own_writes_over_the_best(hook: str, method: str, file: str) -> None:
    saving = best(file, save_weights_only=method == "save_weights")
    finding, values = fit(model(), Worse(), saving, Saves(file, hook, method), epochs=2)
    assert values[1] > values[0]
    assert finding.status == "failed" and finding.evidence["callback"] == "Saves"
    assert finding.evidence["replaced_value"] == pytest.approx(values[0])
    assert finding.evidence["saved_value"] == pytest.approx(values[1])
    assert "m-best" in finding.advice and "Saves" in finding.advice


def test_a_file_of_its_own_is_nobodys_loss() -> None:
    finding, _ = fit(model(), Worse(), best("m.keras"), Saves("last.keras", "on_epoch_end"), epochs=2)
    assert finding.status == "not-applicable"


def test_what_keras_saves_for_itself_is_no_file_of_a_callback() -> None:
    finding, _ = fit(model(), keras.callbacks.BackupAndRestore("backup"), epochs=2)
    assert finding.status == "not-applicable" and "No callback was seen to write a file" in finding.title
