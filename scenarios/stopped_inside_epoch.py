"""A budget of updates ends the run in the middle of an epoch, and the last line of the log looks like a breakthrough.

What the user sees: the loss falls slowly from epoch to epoch, and in the last line it is suddenly a small part of what
it was. `evaluate` on the same rows knows nothing of it. Learning-rate finders and time budgets stop like this.

Why: the callback sets `stop_training` in `on_train_batch_end`, so the last epoch covers 12 of its 40 batches. The rows
are sorted, as they come from the file, and the noise grows along it: the first ones are the easy ones.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "stopped-inside-epoch",
    "failed": ["stopped-inside-epoch"],
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
    callbacks=[Budget(updates=132)],
)

losses = history.history["loss"]
print(f"logged loss of the last two epochs: {losses[-2]:.4f}, {losses[-1]:.4f}")
print(f"evaluate on the training rows: {model.evaluate(x_train, y_train, verbose=0):.4f}")
