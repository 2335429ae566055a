"""Control: the same fit with no label missing.

What the user sees: the loss falls in every epoch, and `evaluate` gives a number.

Why: every label is a number, and so are the losses and the weights.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "not-finite", "failed": []}

MISSING = False

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(240, 5)).astype("float32")
y = (x @ rng.normal(size=(5, 1)) + 0.1 * rng.normal(size=(240, 1))).astype("float32")
if MISSING:
    y[120] = np.nan

model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(12, activation="relu"), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")

history = model.fit(
    x[:200], y[:200], batch_size=20, epochs=4, shuffle=False, verbose=2, validation_data=(x[200:], y[200:])
)

print("losses:", [round(v, 4) for v in history.history["loss"]])
print("evaluate:", model.evaluate(x[200:], y[200:], verbose=0))
