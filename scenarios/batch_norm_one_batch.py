"""One batch per epoch and batch normalization: two causes at once carry the logged loss away from evaluate.

What the user sees: with all rows in one batch, without shuffling to worry about and without dropout, `fit` and
`evaluate` still disagree by far on the very same rows. Reported in tf#38486.

Why: the loss that fit logs is that of the weights before the epoch's only update (one update of Adam at this rate is
worth something), and it was computed with the statistics of the batch. `evaluate` uses the weights after the update,
and moving averages that eight updates have hardly moved away from their initial 0 and 1. Either explanation alone is
incomplete.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "batch-norm-gap",
    "failed": ["batch-norm-gap", "one-step-epoch"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(loc=50.0, scale=10.0, size=(256, 3)).astype("float32")
y = (x[:, 0] + x[:, 1] + rng.normal(scale=8.0, size=256) > 100).astype("float32")

model = keras.Sequential(
    [
        keras.Input((3,)),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.1), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(x, y, batch_size=len(x), epochs=8, verbose=2)

print(f"loss logged by fit: {history.history['loss'][-1]:.4f}")
loss, accuracy = model.evaluate(x, y, verbose=0)
print(f"evaluate on the same rows: loss {loss:.4f}, accuracy {accuracy:.4f}")
