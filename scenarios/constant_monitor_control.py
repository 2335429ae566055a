"""Control: the same metric adds its hits up, and early stopping sees it grow.

What the user sees: `hits` that changes from epoch to epoch, as the loss does.

Nobody reported this one: it is the nearest healthy neighbour of `constant_monitor`.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": "aligned", "control_of": "constant-monitor", "failed": []}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")


class Hits(keras.metrics.Mean):
    def __init__(self, name="hits", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        hits = keras.ops.cast(keras.ops.equal(y_true > 0.5, y_pred > 0.5), "float32")
        super().update_state(hits, sample_weight)


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
