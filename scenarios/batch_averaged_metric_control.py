"""Control: F1 by Keras's own class is the same number in batches of any size.

What the user sees: the same classifier, but `keras.metrics.F1Score` in the place of a plain function. `evaluate` gives
one value in batches of 8 and in a single batch, and it is the F1 of the predictions.

Why: the class adds up hits, false alarms and misses over all batches, and computes the score from the sums.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "batch-averaged-metric", "failed": []}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
y = (np.arange(360) < 36).astype("float32")
rng.shuffle(y)
x = rng.normal(size=(360, 4)).astype("float32") + 1.2 * y[:, None]
y = y[:, None]
x_train, y_train, x_val, y_val = x[:240], y[:240], x[240:], y[240:]

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
f1 = keras.metrics.F1Score(threshold=0.5, average="micro", name="f1")
model.compile(optimizer=keras.optimizers.Adam(0.05), loss="binary_crossentropy", metrics=[f1])

history = model.fit(x_train, y_train, batch_size=8, epochs=5, verbose=2, validation_data=(x_val, y_val))

print(f"f1 logged for the last epoch: {history.history['f1'][-1]:.4f}")
print(f"evaluate in batches of 8: {model.evaluate(x_train, y_train, batch_size=8, verbose=0)[1]:.4f}")
print(f"evaluate in one batch: {model.evaluate(x_train, y_train, batch_size=240, verbose=0)[1]:.4f}")
