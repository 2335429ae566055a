"""One unit with a softmax: the loss is 0 from the first epoch on, and nothing is ever learned.

What the user sees: `loss: 0.0000e+00` in every epoch, and an accuracy that never moves. Asked in many forms.

Why: softmax over one unit is 1 for every row, and categorical crossentropy of that is 0. So is its gradient.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "loss-says-nothing",
    "failed": ["loss-says-nothing", "metric-mismatch"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(256, 6)).astype("float32")
y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")

model = keras.Sequential(
    [keras.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1, activation="softmax")]
)
model.compile(keras.optimizers.Adam(0.01), loss="categorical_crossentropy", metrics=["mae"])
history = model.fit(x[:192], y[:192], validation_data=(x[192:], y[192:]), batch_size=32, epochs=4, verbose=2)
print(f"loss of the last epoch: {history.history['loss'][-1]:.4f}")
