"""The models that are measured, each with its rows: made of a seed, the same each time. Keras is imported when one is
made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Training:
    """A compiled model, rows for it, and how many of them make a step."""

    model: Any
    x: np.ndarray
    y: np.ndarray
    batch: int

    @property
    def steps(self) -> int:
        """Of one epoch."""
        return len(self.x) // self.batch

    def fit(self, epochs: int = 1, callbacks: Sequence[Any] = ()) -> Any:
        """Returns Keras's History."""
        return self.model.fit(
            self.x, self.y, batch_size=self.batch, epochs=epochs, verbose=0, callbacks=list(callbacks) or None
        )

    def first(self, steps: int) -> Training:
        """The same with epochs of so many steps."""
        return Training(self.model, self.x[: steps * self.batch], self.y[: steps * self.batch], self.batch)


def _sequential(
    shape: tuple[int, ...], layers: Sequence[Any], optimizer: str, loss: str, dtype: str = "float32"
) -> Any:
    import keras

    model = keras.Sequential([keras.Input(shape, dtype=dtype), *layers])
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def _seeded() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return keras.layers, np.random.default_rng(0)


def least(steps: int) -> Training:
    """9 parameters, batches of 8 rows of 8 floats: nearly all of a step is Keras's own."""
    make, rng = _seeded()
    x = rng.normal(size=(steps * 8, 8)).astype("float32")
    model = _sequential((8,), [make.Dense(1, activation="sigmoid")], "sgd", "binary_crossentropy")
    return Training(model, x, (x[:, 0] > 0).astype("float32"), 8)


def tiny_mlp(steps: int) -> Training:
    """2.8 thousand parameters, batches of 32 rows of 20 floats."""
    make, rng = _seeded()
    x = rng.normal(size=(steps * 32, 20)).astype("float32")
    layers = [*(make.Dense(32, activation="relu") for _ in range(3)), make.Dense(1, activation="sigmoid")]
    model = _sequential((20,), layers, "adam", "binary_crossentropy")
    return Training(model, x, (x[:, 0] * x[:, 1] > 0).astype("float32"), 32)


def small_cnn(steps: int) -> Training:
    """About 0.1 million parameters with batch-norm and dropout, batches of 64 images of 28 x 28."""
    make, rng = _seeded()
    x = rng.normal(size=(steps * 64, 28, 28, 1)).astype("float32")
    layers = [
        make.Conv2D(16, 3, activation="relu"),
        make.BatchNormalization(),
        make.MaxPooling2D(),
        make.Conv2D(32, 3, activation="relu"),
        make.MaxPooling2D(),
        make.Flatten(),
        make.Dropout(0.3),
        make.Dense(120, activation="relu"),
        make.Dense(10, activation="softmax"),
    ]
    model = _sequential((28, 28, 1), layers, "adam", "sparse_categorical_crossentropy")
    return Training(model, x, rng.integers(0, 10, len(x)), 64)


def wide_mlp(steps: int) -> Training:
    """4.7 million parameters (19 MB): beyond what is kept of every update by default."""
    make, rng = _seeded()
    x = rng.normal(size=(steps * 128, 256)).astype("float32")
    layers = [*(make.Dense(2048, activation="relu") for _ in range(2)), make.Dense(10, activation="softmax")]
    model = _sequential((256,), layers, "sgd", "sparse_categorical_crossentropy")
    return Training(model, x, rng.integers(0, 10, len(x)), 128)


def large_mlp(steps: int) -> Training:
    """25 million parameters, and twice as many numbers of Adam's: 300 MB in all."""
    make, rng = _seeded()
    x = rng.normal(size=(steps * 64, 256)).astype("float32")
    layers = [make.Dense(n, activation="relu") for n in (4096, 4096, 1700)]
    model = _sequential(
        (256,), [*layers, make.Dense(10, activation="softmax")], "adam", "sparse_categorical_crossentropy"
    )
    return Training(model, x, rng.integers(0, 10, len(x)), 64)


def small_rnn(steps: int) -> Training:
    """About 72 thousand parameters, batches of 64 sequences of 40 words."""
    make, rng = _seeded()
    x = rng.integers(0, 2000, size=(steps * 64, 40)).astype("int32")
    layers = [make.Embedding(2000, 32), make.LSTM(32), make.Dense(1, activation="sigmoid")]
    model = _sequential((40,), layers, "adam", "binary_crossentropy", "int32")
    return Training(model, x, (x[:, 0] > 1000).astype("float32"), 64)


def digits_cnn(steps: int) -> Training:
    """A small CNN over images of 8 x 8 in ten classes, each a drawing of its class with noise, in batches of 32."""
    make, rng = _seeded()
    y = rng.integers(0, 10, steps * 32)
    x = rng.random((10, 8, 8, 1))[y] + rng.normal(scale=0.5, size=(len(y), 8, 8, 1))
    layers = [
        make.Conv2D(32, 3, activation="relu"),
        make.BatchNormalization(),
        make.Conv2D(64, 3, activation="relu"),
        make.Flatten(),
        make.Dropout(0.3),
        make.Dense(10, activation="softmax"),
    ]
    model = _sequential((8, 8, 1), layers, "adam", "sparse_categorical_crossentropy")
    return Training(model, x.astype("float32"), y, 32)


MODELS: dict[str, Callable[[int], Training]] = {
    "least": least,
    "tiny MLP": tiny_mlp,
    "small CNN": small_cnn,
    "small RNN": small_rnn,
    "4.7 M": wide_mlp,
    "25 M": large_mlp,
    "digits CNN": digits_cnn,
}
"""By the name they have in tables; each takes the number of steps that an epoch of it has."""
