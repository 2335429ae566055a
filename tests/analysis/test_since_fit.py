"""What the script puts into the model after its fit; against copies that a callback of the test kept."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from diagnose import Diagnosis, Tracer
from tests.rules.runs import Witness, data


class Best(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights of the smallest val_loss, for the script to put back."""

    best = np.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["val_loss"] < self.best:
            self.best, self.epoch, self.kept = logs["val_loss"], epoch + 1, self.model.get_weights()


def fit() -> tuple[Any, Best, Witness, Tracer]:
    keras.utils.set_random_seed(3)
    x, y = data()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.SGD(30.0, momentum=0.9), "binary_crossentropy")
    best, witness, tracer = Best(), Witness(), Tracer()
    model.fit(x, y, batch_size=16, epochs=4, verbose=0, validation_data=(x, y), callbacks=[best, witness, tracer])
    return model, best, witness, tracer


def rule(diagnosis: Diagnosis) -> Any:
    return next(f for f in diagnosis.findings if f.rule == "no-restore")


def test_what_the_script_puts_back_is_no_missing_restore() -> None:
    model, best, witness, tracer = fit()
    assert best.epoch < 4
    left = rule(tracer.diagnose())
    assert left.status == "failed" and "self.model.set_weights(self.kept)" in left.advice

    model.set_weights(best.kept)
    diagnosis = tracer.diagnose()
    assert rule(diagnosis).status == "passed" and diagnosis.measurements.since_fit == 4 * best.epoch
    assert diagnosis.restoration is not None
    assert diagnosis.restoration.sentence.endswith(
        f"After fit, the script put other weights into the model: now it holds version {4 * best.epoch}, the end of "
        f"epoch {best.epoch}."
    )

    model.set_weights([np.mean(parts, axis=0) for parts in zip(*witness.weights[1:], strict=True)])
    diagnosis = tracer.diagnose()
    assert diagnosis.restoration is not None and rule(diagnosis).status == "failed"
    assert diagnosis.restoration.sentence.endswith("now it holds the mean of the weights at the ends of epochs 2–4.")
