"""The watched metric is never updated: it is 0 in every epoch, and early stopping ends the fit at its patience.

What the user sees: `hits: 0.0000` in every epoch, training stops after the fourth, and the first epoch's weights are
restored. The loss was still falling.

Why: the metric's `update_state` computes the hits and never adds them up, so what fit reads stays as it was reset.
Reported in many forms, keras#4506 among them.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "shows": "constant-monitor", "failed": ["constant-monitor"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")


class Hits(keras.metrics.Mean):
    def __init__(self, name="hits", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        _ = keras.ops.cast(keras.ops.equal(y_true > 0.5, y_pred > 0.5), "float32")


model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="binary_crossentropy", metrics=[Hits()])
stopping = keras.callbacks.EarlyStopping(monitor="val_hits", mode="max", patience=4, restore_best_weights=True)
history = model.fit(
    x[:160],
    y[:160].reshape(-1, 1),
    batch_size=40,
    epochs=12,
    validation_data=(x[160:], y[160:].reshape(-1, 1)),
    callbacks=[stopping],
    verbose=2,
)
print(f"{len(history.epoch)} epochs, loss {history.history['loss'][-1]:.3f}")
