"""Control: a budget of updates ends the run with the last batch of an epoch, and the log is that of whole epochs.

What the user sees: the loss falls slowly from epoch to epoch, and the last line goes on like those before it.

The same run as `stopped_inside_epoch`, but the budget is worth three epochs of 40 updates: the flag is set in the same
batch hook, when no batch of the epoch is left.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "control_of": "stopped-inside-epoch",
    "failed": [],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(800, 8)).astype("float32")
noise = rng.normal(size=800)
y = x @ rng.normal(size=8)
y[:640] += noise[:640] * np.linspace(0.0, 3.0, 640)
y = y.astype("float32")
x_train, y_train = x[:640], y[:640]
x_val, y_val = x[640:], y[640:]


class Budget(keras.callbacks.Callback):
    def __init__(self, updates):
        super().__init__()
        self.left = updates

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.model.stop_training = True


model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.01), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=16,
    epochs=100,
    shuffle=False,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[Budget(updates=120)],
)

losses = history.history["loss"]
print(f"logged loss of the last two epochs: {losses[-2]:.4f}, {losses[-1]:.4f}")
print(f"evaluate on the training rows: {model.evaluate(x_train, y_train, verbose=0):.4f}")
