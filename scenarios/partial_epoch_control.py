"""Control: `steps_per_epoch` that covers all rows; epochs differ in the order of the rows only.

What the user sees: the loss settles after some epochs, and `evaluate` over all rows returns nearly the same.

Nobody reported this one: it is the nearest healthy neighbour of `partial_epoch`. The same rows of four noisy sessions,
with `steps_per_epoch=16`: all 16 batches, shuffled.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "partial-epoch",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(640, 4)).astype("float32")
noise = np.repeat([0.5, 1.0, 1.5, 2.5], 128) * rng.normal(size=512)
y = x @ [1.0, -2.0, 0.5, 1.5] + np.concatenate([noise, rng.normal(size=128)])
x, y, x_val, y_val = x[:512], y[:512].astype("float32"), x[512:], y[512:].astype("float32")

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.05), loss="mse")

history = model.fit(
    x,
    y,
    batch_size=32,
    epochs=14,
    steps_per_epoch=16,
    validation_data=(x_val, y_val),
    verbose=2,
)

print("logged loss:", " ".join(f"{loss:.2f}" for loss in history.history["loss"]))
print(f"evaluate on all rows: {model.evaluate(x, y, verbose=0):.2f}")
