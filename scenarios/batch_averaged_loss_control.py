"""Control: the same loss, and `evaluate` in batches of the size that fit took.

What the user sees: `evaluate` on the validation rows returns the `val_loss` that fit logged last.
"""

import sys

import keras
import numpy as np

EXPECTED = {"verdict": None, "control_of": "batch-averaged-metric", "failed": []}

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
print(f"evaluate on the validation rows: {model.evaluate(x_val, y_val, batch_size=64, verbose=0):.4f}")
