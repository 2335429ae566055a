"""A tiny model whose every fit leaves something to compare: losses, weights, optimizer, as plain bytes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

ROWS, BATCH = 20, 8
STEPS = 3


def rows() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("float32")
    return x, (x[:, :1] > 0).astype("float32")


def model(seed: int = 0, *, metrics: tuple[Any, ...] = (), noisy: bool = False) -> Any:
    """`noisy`: with layers that behave otherwise in training."""
    keras.utils.set_random_seed(seed)
    noise = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)] if noisy else []
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), *noise, keras.layers.Dense(1)])
    made.compile("adam", "mse", metrics=list(metrics))
    return made


def fit(seed: int = 0, callbacks: Any = None, epochs: int = 2, trained: Any = None) -> tuple[Any, list[float]]:
    """A fresh model after a fit, and the losses of its epochs."""
    trained = model(seed) if trained is None else trained
    x, y = rows()
    history = trained.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
    return trained, history.history["loss"]


def left(trained: Any) -> list[bytes]:
    """All that training made of a model, bit for bit."""
    held = [*trained.variables, *trained.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v.value)).tobytes() for v in held]
