"""Made the traces of format 1 beside it, and noted in `fits.json` what the fits themselves said. Run once, with the
last code that wrote format 1 (Keras 3.15.1, TensorFlow 2.21), in an empty folder; kept to say what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from diagnose import Tracer

X = np.random.default_rng(0).normal(size=(30, 3)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")


def model(learning_rate: float) -> Any:
    keras.utils.set_random_seed(3)
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1, activation="sigmoid")])
    made.compile(keras.optimizers.SGD(learning_rate), "binary_crossentropy", metrics=["accuracy"])
    return made


class Busy(keras.callbacks.Callback):  # type: ignore[misc]
    """Does what callbacks seldom do: halves weights inside an epoch, resets metrics, lowers the rate, ends training."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 0:
            self.model.layers[-1].kernel.assign(self.model.layers[-1].kernel / 2)
            for metric in self.model.metrics:
                metric.reset_state()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs["mine"] = 7.0
        self.model.optimizer.learning_rate = 0.05
        if epoch == 2:
            self.model.stop_training = True


def main() -> None:
    """Writes the three traces and what is known of their fits."""
    found = {}
    stopping = keras.callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True)
    two = keras.Input((3,), name="x")
    several = keras.Model(two, [keras.layers.Dense(1, name="a")(two), keras.layers.Dense(1, name="b")(two)])
    several.compile(keras.optimizers.SGD(0.1), ["mse", "mse"], weighted_metrics=[["mae"], ["mae"]])
    weights = [np.linspace(0, 1, 30), np.ones(30)]
    targets = [Y, 1 - Y]
    fits: dict[str, tuple[Any, Any, dict[str, Any], list[Any]]] = {
        "validation": (model(0.3), Y, {"validation_split": 0.2}, []),
        "early-stopping": (model(4.0), Y, {}, [stopping]),
        "unusual": (several, targets, {"sample_weight": weights}, [
            keras.callbacks.ModelCheckpoint("best-{epoch}.weights.h5", "loss", save_best_only=True,
                                            save_weights_only=True), Busy(),
        ]),
    }  # fmt: skip
    for name, (made, y, arguments, callbacks) in fits.items():
        tracer = Tracer(f"{name}.diag", max_bytes=2_000_000)
        history = made.fit(X, y, batch_size=8, epochs=5, verbose=0, callbacks=[*callbacks, tracer], **arguments)
        diagnosis = tracer.diagnose()
        found[name] = {
            "history": history.history,
            "weights": [w.tolist() for w in made.get_weights()],
            "evaluated": made.evaluate(X, y, verbose=0, return_dict=True) if name != "unusual" else None,
            "verdict": None if diagnosis.restoration is None else diagnosis.restoration.verdict,
            "failed": sorted({f.rule for f in diagnosis.findings if f.status == "failed"}),
        }
    Path("fits.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
