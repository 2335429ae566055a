"""Traced fits for replay, and oracles for them: plain NumPy training, and plain Keras callbacks that keep copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from diagnose import Tracer

BACKEND = keras.config.backend()


def rows(n: int = 10, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype("float32")
    return x, (x @ [[1.0], [-2.0], [0.5]] + 0.3 * rng.normal(size=(n, 1))).astype("float32")


def labels(n: int = 22, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, y = rows(n, seed)
    return x, (y > 0).astype("float32")


def linear(rate: float = 0.1) -> Any:
    """y = x w + b from fixed weights, mean squared error."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(rate), loss="mse", metrics=["mae"])
    model.set_weights([np.array([[0.3], [0.2], [-0.4]], "float32"), np.array([0.1], "float32")])
    return model


def classifier(*middle: Any, compiled: dict[str, Any] | None = None, **dense: Any) -> Any:
    keras.utils.set_random_seed(11)
    layers = [keras.Input((3,)), keras.layers.Dense(6, activation="tanh", **dense), *middle]
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    metrics = ["accuracy", keras.metrics.AUC(num_thresholds=20, name="auc")]
    model.compile(
        **{
            "optimizer": keras.optimizers.Adam(0.05),
            "loss": "binary_crossentropy",
            "metrics": metrics,
            **(compiled or {}),
        }
    )
    return model


class Copies(keras.callbacks.Callback):
    """The weights at the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])


def fit(folder: Path, model: Any, *callbacks: Any, **arguments: Any) -> tuple[Tracer, Any]:
    """Fits with a tracer last; returns it and Keras's history."""
    tracer = Tracer(folder / "fit.diag")
    history = model.fit(**{"epochs": 3, "batch_size": 4, "verbose": 0, **arguments}, callbacks=[*callbacks, tracer])
    return tracer, history.history


class Sgd:
    """Linear regression by plain gradient descent in float64: the losses at every stage of every step."""

    def __init__(self, x: np.ndarray, y: np.ndarray, *, rate: float, batch: int, epochs: int) -> None:
        x, y = x.astype(float), y.astype(float)
        w, b = np.array([[0.3], [0.2], [-0.4]], "float32").astype(float), float(np.float32(0.1))
        rate = float(np.float32(rate))
        self.parts = [slice(i, i + batch) for i in range(0, len(x), batch)]
        self.sizes = [len(x[p]) for p in self.parts]
        self.before: list[list[float]] = []
        self.after: list[list[float]] = []
        self.at_end: list[list[float]] = []
        self.mae_before: list[list[float]] = []
        for _ in range(epochs):
            before, after, mae = [], [], []
            for p in self.parts:
                error = x[p] @ w + b - y[p]
                before.append(float(np.mean(error**2)))
                mae.append(float(np.mean(np.abs(error))))
                w = w - rate * 2 * x[p].T @ error / len(error)
                b = b - rate * 2 * float(np.mean(error))
                after.append(float(np.mean((x[p] @ w + b - y[p]) ** 2)))
            self.before.append(before)
            self.after.append(after)
            self.mae_before.append(mae)
            self.at_end.append([float(np.mean((x[p] @ w + b - y[p]) ** 2)) for p in self.parts])

    def mean(self, values: list[float]) -> float:
        """Over rows, as Keras weights batches."""
        return float(np.average(values, weights=self.sizes))
