"""Small real fits that the rule and verdict tests share. Each returns a diagnosis and what an untraced observer saw."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np

from diagnose import Diagnosis, Tracer


class Witness(keras.callbacks.Callback):
    """Notes weights and logs by itself: the tests' own record, independent of the tracer."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []
        self.logs: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])
        self.logs.append({k: float(v) for k, v in (logs or {}).items()})


@dataclass
class Seen:
    diagnosis: Diagnosis
    witness: Witness
    model: Any
    x: np.ndarray
    y: np.ndarray
    path: Path

    def finding(self, rule: str) -> Any:
        return next(f for f in self.diagnosis.findings if f.rule == rule)

    def evaluate(self, weights: list[np.ndarray] | None = None) -> dict[str, float]:
        """Keras's own evaluate on a copy of the model."""
        copy = copy_of(self.model)
        copy.set_weights(self.model.get_weights() if weights is None else weights)
        return {k: float(v) for k, v in copy.evaluate(self.x, self.y, verbose=0, return_dict=True).items()}


@lru_cache(maxsize=4)
def copy_of(model: Any) -> Any:
    """A compiled copy, for any weights: TensorFlow traces its `evaluate` once."""
    copy = keras.models.clone_model(model)
    copy.compile(loss=model.loss, metrics=["accuracy"])
    return copy


def data(rows: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(rows, 3)).astype("float32")
    y = (x[:, 0] - 0.5 * x[:, 1] + 0.3 * rng.normal(size=rows) > 0).astype("float32")
    return x, y


def fit(
    *callbacks: Any,
    rate: float = 0.5,
    batch: int = 16,
    epochs: int = 5,
    validation: bool = False,
    layers: tuple[Any, ...] = (),
    optimizer: Any = None,
    freeze: bool = False,
    **arguments: Any,
) -> Seen:
    """A logistic regression on 64 rows, traced and witnessed. `freeze`: whatever an optimizer could change."""
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, activation="sigmoid")])
    for v in model.trainable_variables if freeze else ():
        v.trainable = False
    model.compile(optimizer or keras.optimizers.SGD(rate, momentum=0.9), "binary_crossentropy", metrics=["accuracy"])
    witness, tracer = Witness(), Tracer()
    if validation:
        arguments["validation_data"] = (x, y)
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[*callbacks, witness, tracer], **arguments)
    return Seen(tracer.diagnose(), witness, model, x, y, tracer.path)
