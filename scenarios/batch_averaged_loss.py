"""A loss that holds each row against the others of its batch: `evaluate` returns far less than fit logged a moment ago.

What the user sees: `val_loss` of the last epoch is 2.7; `evaluate` on the very same validation rows, with the very same
weights, returns 2.1. Asked of contrastive and retrieval losses again and again; keras-team/keras#5794 has it for a
metric.

Why: with more rows in a batch there are more wrong answers to choose from. Fit went over the validation rows in batches
of 64, `evaluate` takes 32 unless it is told otherwise.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "shows": "batch-averaged-metric", "failed": ["batch-averaged-metric"]}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(512, 8)).astype("float32")
y = np.tanh(x @ rng.normal(size=(8, 4)) + 0.5 * rng.normal(size=(512, 4))).astype("float32")
x_train, y_train, x_val, y_val = x[:320], y[:320], x[320:], y[320:]


def found_in_batch(y_true, y_pred):
    own = keras.ops.arange(keras.ops.shape(y_pred)[0])
    likeness = keras.ops.matmul(y_pred, keras.ops.transpose(y_true))
    return keras.losses.sparse_categorical_crossentropy(own, likeness, from_logits=True)


model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(4)])
model.compile(keras.optimizers.Adam(0.01), loss=found_in_batch)

history = model.fit(x_train, y_train, batch_size=64, epochs=6, verbose=2, validation_data=(x_val, y_val))

print(f"val_loss logged by fit: {history.history['val_loss'][-1]:.4f}")
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, verbose=0):.4f}")
