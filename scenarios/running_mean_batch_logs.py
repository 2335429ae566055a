"""A callback notes the loss of every batch, and draws a curve far smoother and later than the batches were.

What the user sees: the losses noted in `on_train_batch_end` fall slowly and smoothly, and jump at each new epoch.
`evaluate` right after a batch is nowhere near what the curve says. Reported in tf#36400, keras#13530 and keras#17167.

Why: what Keras hands to `on_train_batch_end` is not the batch's loss, but the mean over the epoch so far. At the end of
the first epoch it still carries the first batches, whose loss was many times higher.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "running-mean-batch-logs",
    "failed": ["running-mean-batch-logs"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(600, 8)).astype("float32")
y = (4 + x @ rng.normal(size=8) + 0.3 * rng.normal(size=600)).astype("float32")
x_train, y_train = x[:480], y[:480]
x_val, y_val = x[480:], y[480:]


class BatchLosses(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs["loss"])


model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.05), loss="mse")

curve = BatchLosses()
model.fit(
    x_train,
    y_train,
    batch_size=16,
    epochs=2,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[curve],
)

print(f"noted after the last batch of epoch 1: {curve.losses[29]:.4f}")
print(f"noted after the first batch of epoch 2: {curve.losses[30]:.4f}")
print(f"evaluate after fit: {model.evaluate(x_train, y_train, verbose=0):.4f}")
