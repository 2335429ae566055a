"""A model's own steps get what Keras hands them: x by itself, a tuple, a dict, as fit and evaluate do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.replay.fits import BACKEND, fit, rows

pytestmark = pytest.mark.skipif(BACKEND == "jax", reason="own steps take other arguments there")


class TellsApart(keras.Model):
    """Its loss says how its data came."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3)
        self.mean_loss = keras.metrics.Mean(name="loss")

    @property
    def metrics(self) -> list[Any]:
        return [self.mean_loss]

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def test_step(self, data: Any) -> Any:
        kind = 3.0 if isinstance(data, dict) else 2.0 if isinstance(data, (tuple, list)) else 1.0
        x = data["a"] if isinstance(data, dict) else data[0] if isinstance(data, (tuple, list)) else data
        self.mean_loss.update_state(10 * kind + keras.ops.mean((self.dense(x) - x) ** 2))
        return {"loss": self.mean_loss.result()}

    def train_step(self, data: Any) -> Any:
        return self.test_step(data)


def model() -> Any:
    keras.utils.set_random_seed(2)
    found = TellsApart()
    found(np.zeros((1, 3), "float32"))
    found.compile(optimizer="sgd")
    return found


@pytest.mark.parametrize(("kind", "tens"), [("an array", 1), ("a dict", 3), ("with targets", 2)])
def test_re_evaluated_and_replayed_as_keras_hands_it_on(kind: str, tens: int, tmp_path: Path) -> None:
    x, y = rows(12)
    data: dict[str, Any] = {"x": {"a": x} if kind == "a dict" else x, "y": y if kind == "with targets" else None}
    tells = model()
    diagnosis = fit(tmp_path, tells, **data)[0].diagnose()
    oracle = tells.evaluate(**data, batch_size=4, verbose=0, return_dict=True)["loss"]
    assert oracle // 10 == tens
    assert diagnosis.replay is not None
    assert (diagnosis.replay.steps, diagnosis.replay.reproduced) == (9, 9)
    assert diagnosis.epoch_rows[-1].reevaluated["loss"] == pytest.approx(oracle, rel=1e-6)
    assert diagnosis.measurements.evaluated["loss"] == pytest.approx(oracle, rel=1e-6)


def test_data_given_for_evaluation_is_handed_on_as_evaluate_does(tmp_path: Path) -> None:
    x, _ = rows(12)
    tells = model()
    diagnosis = fit(tmp_path, tells, x=x)[0].diagnose(evaluate=(x, None))
    oracle = tells.evaluate(x, verbose=0, return_dict=True)["loss"]
    assert diagnosis.epoch_rows[-1].reevaluated["loss"] == pytest.approx(oracle, rel=1e-6)
