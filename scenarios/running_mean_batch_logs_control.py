"""Control: the callback takes the running mean apart, and notes each batch's own loss.

What the user sees: a noisy curve that falls within the first epoch and goes on where it was at the start of the second.

The same run as `running_mean_batch_logs`, but the mean over the epoch so far is multiplied by the batches it covers,
and what they had before is taken off. All batches have the same size, so this is exact.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "running-mean-batch-logs",
    "failed": [],
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

    def on_epoch_begin(self, epoch, logs=None):
        self.before = 0.0

    def on_train_batch_end(self, batch, logs=None):
        so_far = logs["loss"] * (batch + 1)
        self.losses.append(so_far - self.before)
        self.before = so_far


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
