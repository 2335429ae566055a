"""A callback evaluates in the middle of every epoch, and the loss logged for the epoch drops without a reason.

What the user sees: with the callback, `loss` in the log is about that of the validation rows, far below what the same
run logs without it, although the callback only looks. Reported in keras#16526 and tf#42994.

Why: `evaluate` sets the model's metrics to zero and adds up its own rows in them, and fit then goes on adding to the
same sums. What is logged covers the rows that were evaluated and the batches after them, not the epoch. Here the
training targets are noisier than the carefully checked validation targets.
"""

import sys

import keras
import numpy as np

EXPECTED = {
    "verdict": None,
    "shows": "evaluate-inside-epoch",
    "failed": ["evaluate-inside-epoch"],
}

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
keras.utils.set_random_seed(seed)

rng = np.random.default_rng(seed)
x = rng.normal(size=(912, 8)).astype("float32")
y = x @ rng.normal(size=8)
y[:512] += rng.normal(size=512)
y = y.astype("float32")
x_train, y_train = x[:512], y[:512]
x_val, y_val = x[512:], y[512:]


class LookInBetween(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch % 10 == 9:
            loss = self.model.evaluate(x_val, y_val, verbose=0)
            print(f"after batch {batch + 1}: validation loss {loss:.4f}")


model = keras.Sequential(
    [
        keras.Input((8,)),
        keras.layers.Dense(1),
    ]
)
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.02), loss="mse")

history = model.fit(
    x_train,
    y_train,
    batch_size=32,
    epochs=4,
    verbose=2,
    validation_data=(x_val, y_val),
    callbacks=[LookInBetween()],
)

print(f"logged loss of the last epoch: {history.history['loss'][-1]:.4f}")
print(f"evaluate on the training rows: {model.evaluate(x_train, y_train, verbose=0):.4f}")
