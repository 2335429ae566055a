"""Control: batch normalization whose moving averages have caught up: fit and evaluate agree.

What the user sees: the accuracy that fit logs, `val_accuracy`, and what `evaluate` returns for the training rows are
about the same.

The same run as `batch_norm_gap`, but with momentum 0.8 in place of the default 0.99. After 40 updates nothing is left
of the initial mean and variance, and an average over many batches of 512 rows is close to the statistics of each.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "batch-norm-gap",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(loc=50.0, scale=10.0, size=(3072, 3)).astype("float32")
y = (x[:, 0] + x[:, 1] + rng.normal(scale=8.0, size=3072) > 100).astype("float32")
x_train, y_train = x[:2048], y[:2048]
x_val, y_val = x[2048:], y[2048:]

model = keras.Sequential(
    [
        keras.Input((3,)),
        keras.layers.BatchNormalization(momentum=0.8),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.03), loss="binary_crossentropy", metrics=["accuracy"])

history = model.fit(x_train, y_train, batch_size=512, epochs=10, verbose=2, validation_data=(x_val, y_val))

print(f"accuracy logged by fit: {history.history['accuracy'][-1]:.4f}")
loss, accuracy = model.evaluate(x_train, y_train, verbose=0)
print(f"evaluate on the same rows: loss {loss:.4f}, accuracy {accuracy:.4f}")
