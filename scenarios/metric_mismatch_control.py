"""Control: a metric that fits, and data so easy that it is 1.0 all the same.

What the user sees: `binary_accuracy` is 1.0 in nearly every epoch, and so is the count by hand.

Nobody reported this one: it is the nearest healthy neighbour of `metric_mismatch`. A metric may be perfect because the
model is: its value alone proves nothing against it.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "metric-mismatch",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
y = rng.integers(0, 2, size=(320, 1))
x = (np.where(y, 3.0, -3.0) + 0.3 * rng.normal(size=(320, 3))).astype("float32")
x_val, y_val = x[256:], y[256:]
x, y = x[:256], y[:256]

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.05),
    loss="binary_crossentropy",
    metrics=["binary_accuracy"],
)

history = model.fit(x, y, batch_size=32, epochs=8, validation_data=(x_val, y_val), verbose=2)

by_hand = np.mean((model.predict(x_val, verbose=0) > 0.5) == y_val)
for name, values in sorted(history.history.items()):
    print(f"{name}: {values[-1]:.3f}")
print(f"validation predictions that are right, counted by hand: {by_hand:.3f}")
