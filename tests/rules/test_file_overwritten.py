from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from diagnose import Tracer
from diagnose.rules import file_overwritten
from tests.rules.advice import blocks

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
    assert 'f"fit-{number}.keras"' in blocks(finding.advice)[0]
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


def test_fails_where_another_callback_of_the_fit_writes_over_the_best() -> None:
    class Grow(keras.callbacks.Callback):
        """From the third epoch on the model gets worse."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.05 if epoch < 2 else 1.5

    finding, values = fit(model(), Grow(), best("m.keras"), keras.callbacks.ModelCheckpoint("m.keras"), epochs=4)
    assert values[-1] > min(values)
    assert finding.status == "failed" and finding.evidence["replaced_trace"] is None
    assert finding.evidence["replaced_value"] == pytest.approx(min(values))
    assert "last.keras" in blocks(finding.advice)[0]
