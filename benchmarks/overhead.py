"""What tracing costs: the same fit traced and untraced, in turns, in one process. Prints ratios; asserts nothing.

    python benchmarks/overhead.py [--repeats 7] [--backend tensorflow|jax|torch]

For each model: median seconds per step untraced, median of the per-pair ratios traced / untraced with their
quartiles, time
spent in the tracer on the training thread per step, and bytes of trace per step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def tiny_mlp() -> tuple[Any, np.ndarray, np.ndarray, int]:
    """2.8 thousand parameters, batches of 32 rows of 20 floats."""
    import keras

    rng = np.random.default_rng(0)
    x = rng.normal(size=(6400, 20)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, x, y, 32


def small_cnn() -> tuple[Any, np.ndarray, np.ndarray, int]:
    """About 0.1 million parameters with batch-norm and dropout, batches of 64 images of 28 x 28."""
    import keras

    rng = np.random.default_rng(0)
    x = rng.normal(size=(3200, 28, 28, 1)).astype("float32")
    y = rng.integers(0, 10, 3200)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(120, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y, 64


def wide_mlp() -> tuple[Any, np.ndarray, np.ndarray, int]:
    """About 5 million parameters (20 MB): beyond the default limit, so weights are kept at epoch ends only."""
    import keras

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2560, 256)).astype("float32")
    y = rng.integers(0, 10, 2560)
    model = keras.Sequential(
        [
            keras.Input((256,)),
            keras.layers.Dense(2048, activation="relu"),
            keras.layers.Dense(2048, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y, 128


MODELS: dict[str, Callable[[], tuple[Any, np.ndarray, np.ndarray, int]]] = {
    "tiny MLP": tiny_mlp,
    "small CNN": small_cnn,
    "wide MLP": wide_mlp,
}


class HookTime:
    """Adds up the time spent in the tracer's hooks around train steps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, owner: type, name: str) -> None:
        original = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        setattr(owner, name, timed)


def measure(name: str, repeats: int, hooks: HookTime) -> str:
    from diagnose import Tracer

    model, x, y, batch = MODELS[name]()
    epochs = 2
    steps = epochs * (len(x) // batch)
    folder = Path(tempfile.mkdtemp(prefix="diagnose-benchmark-"))

    def fit(tracer: Any) -> float:
        start = time.perf_counter()
        model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[tracer] if tracer else None)
        return time.perf_counter() - start

    fit(None)
    fit(Tracer(folder / "warm.diag"))
    plain, ratios = [], []
    hooks.seconds = 0.0
    for i in range(repeats):
        path = folder / "fit.diag"
        if i % 2:
            untraced, traced = fit(None), fit(Tracer(path))
        else:
            traced, untraced = fit(Tracer(path)), fit(None)
        plain.append(untraced / steps)
        ratios.append(traced / untraced)
    low, _, high = statistics.quantiles(ratios, n=4)
    size = path.stat().st_size / steps
    return (
        f"| {name} | {model.count_params():,} | {statistics.median(plain) * 1e3:.2f} ms | "
        f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}) | "
        f"{hooks.seconds / repeats / steps * 1e6:.0f} µs | {size / 1e3:.0f} kB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--backend")
    parser.add_argument("--only", choices=MODELS)
    options = parser.parse_args()
    if options.backend:
        os.environ["KERAS_BACKEND"] = options.backend
    import keras

    from diagnose.record import recorder

    hooks = HookTime()
    hooks.around(recorder.Recorder, "before_step")
    hooks.around(recorder.Recorder, "after_step")
    print(f"Keras {keras.__version__} on {keras.config.backend()}, {os.cpu_count()} cores\n")
    print("| model | parameters | step untraced | ratio traced / untraced | in the tracer, per step | trace per step |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in [options.only] if options.only else MODELS:
        print(measure(name, options.repeats, hooks), flush=True)


if __name__ == "__main__":
    main()
