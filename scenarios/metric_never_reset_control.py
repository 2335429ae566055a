"""Control: the same metric with Keras's own `reset_state`, and each epoch's value is its own.

What the user sees: `own_error` that falls as the loss does.

Nobody reported this one: it is the nearest healthy neighbour of `metric_never_reset`.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "metric-never-reset", "failed": []}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(200, 12)).astype("float32")
y = (x @ rng.normal(size=12) + rng.normal(size=200) > 0).astype("float32")


class OwnError(keras.metrics.Mean):
    def __init__(self, name="own_error", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(keras.ops.abs(keras.ops.cast(y_true, "float32") - y_pred), sample_weight)


model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(optimizer=keras.optimizers.SGD(0.05), loss="binary_crossentropy", metrics=[OwnError()])
print(f"untrained: {model.evaluate(x, y.reshape(-1, 1), batch_size=40, verbose=0)[1]:.3f}")
history = model.fit(x, y.reshape(-1, 1), batch_size=40, epochs=6, verbose=2)
print(f"own_error {np.round(history.history['own_error'], 3).tolist()}")
