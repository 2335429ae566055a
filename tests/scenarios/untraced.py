"""Runs scripts without `diagnose`, each in a process of its own, and writes down what their fits did. Must not import
the package under test.

    python untraced.py SCRIPT OUT.json [SCRIPT OUT.json ...]

For each `fit`: the history, the metrics of each epoch's last weights over the fit's own rows and over its validation
rows (plain `evaluate`, after the fit, in inference mode), the same for the weights that the fit left, and the epochs
whose weights are equal to those, bit for bit.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

FITS: list[dict[str, Any]] = []
plain_fit = keras.Model.fit


class RecordWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights of each epoch's end, as they are before any other callback sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])


def fit(self: Any, x: Any, y: Any, **kwargs: Any) -> Any:
    recorder = RecordWeights()
    callbacks = [recorder, *kwargs.pop("callbacks", [])]
    history = plain_fit(self, x, y, callbacks=callbacks, **kwargs)
    final = [np.array(w) for w in self.get_weights()]
    validation = kwargs.get("validation_data")

    def values(weights: list[np.ndarray], rows: Any) -> dict[str, float] | None:
        if rows is None:
            return None
        self.set_weights(weights)
        got: dict[str, float] = self.evaluate(*rows, batch_size=len(rows[0]), verbose=0, return_dict=True)
        return {name: float(value) for name, value in got.items()}

    FITS.append(
        {
            "history": {name: [float(v) for v in series] for name, series in history.history.items()},
            "epochs": [values(w, (x, y)) for w in recorder.weights],
            "validation": [values(w, validation) for w in recorder.weights],
            "final": values(final, (x, y)),
            "final_validation": values(final, validation),
            "final_is_epoch": [
                epoch
                for epoch, weights in enumerate(recorder.weights, start=1)
                if all(np.array_equal(a, b) for a, b in zip(weights, final, strict=True))
            ],
        }
    )
    self.set_weights(final)
    return history


def main(words: list[str]) -> int:
    for script, out in zip(words[::2], words[1::2], strict=True):
        child = os.fork()  # Keras is imported once for all
        if child == 0:
            sys.argv = [script]
            keras.Model.fit = fit
            runpy.run_path(script, run_name="__main__")
            Path(out).write_text(json.dumps(FITS))
            return 0
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
