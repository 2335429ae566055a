"""Control: one unit with a sigmoid and binary crossentropy: the weights move.

What the user sees: a loss that falls.

The model of `loss_says_nothing`, with the activation and the loss for one unit.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "loss-says-nothing",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(256, 6)).astype("float32")
y = (x[:, :1] + x[:, 1:2] > 0).astype("float32")

model = keras.Sequential(
    [keras.Input((6,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]
)
model.compile(keras.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["mae"])
history = model.fit(x[:192], y[:192], validation_data=(x[192:], y[192:]), batch_size=32, epochs=4, verbose=2)
print(f"loss of the last epoch: {history.history['loss'][-1]:.4f}")
