"""What the diagnosis of a long fit costs, as a ratio against the fit itself, untraced.

    python benchmarks/analysis.py [--epochs 100]

A small CNN on the digits that scikit-learn ships (`pip install scikit-learn`), EarlyStopping on a training value.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def make() -> Any:
    """The compiled model, the same each time."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    import keras
    from sklearn.datasets import load_digits

    from diagnose import Tracer

    digits = load_digits()
    x, y = (digits.images / 16.0).astype("float32")[..., None], digits.target.astype("int32")

    def fit(*callbacks: Any) -> float:
        stopping = keras.callbacks.EarlyStopping("loss", patience=options.epochs, restore_best_weights=True)
        model = make()
        started = time.perf_counter()
        model.fit(x, y, batch_size=32, epochs=options.epochs, verbose=0, callbacks=[stopping, *callbacks])
        return time.perf_counter() - started

    untraced = fit()
    tracer = Tracer()
    traced = fit(tracer)
    started = time.perf_counter()
    diagnosis = tracer.diagnose()
    analysis = time.perf_counter() - started
    print(diagnosis)
    print(
        f"\n{keras.backend.backend()}, Keras {keras.__version__}, {options.epochs} epochs of {len(x)} rows: untraced "
        f"{untraced:.1f} s, traced {traced:.1f} s, diagnosis {analysis:.1f} s = {analysis / untraced:.3f} of the fit"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
